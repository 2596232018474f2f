"""Pair effects without outcomes: a ridge linear model of the consensus' quality (algorithms, section 3 d).

Quality / 10 of an ensemble less the mean of its members' values = an intercept + who sits + what their pairs
have in common (one family or two, the pair of families, the pair), each averaged over the ensemble.
Every group of terms has a ridge of its own, found by type-II maximum likelihood (MacKay 1992);
where it comes out as nothing, the effects are 0.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations

import numpy as np

from shared.chemistry.aggregates import EnsembleSums
from shared.chemistry.wrong_together import Effects, Pair, families_of

_ROUNDS = 60
_NOTHING = 1e-7  # variance on [0, 1]: a standard deviation of 0.0003


def quality_effects(
    histories: Sequence[tuple[Sequence[EnsembleSums], Mapping[str, float]]], family: Mapping[str, str]
) -> Effects:
    """Effects on quality / 10 from the ensembles of several kinds, each with its models' values in [0, 1]."""
    columns: dict[tuple[str, Hashable], int] = {}
    rows: list[dict[int, float]] = []
    y: list[float] = []
    n: list[float] = []
    within, freedom = 0.0, 0.0
    together: dict[Pair, float] = {}
    for k, (ensembles, value) in enumerate(histories):
        for e in ensembles:
            if e.consultations <= 0 or len(e.members) < 2 or any(m not in value for m in e.members):
                continue
            row: dict[int, float] = {}
            pairs = list(combinations(sorted(e.members), 2))
            terms: list[tuple[tuple[str, Hashable], float]] = [(("intercept", k), 1.0)]
            terms += [(("model", m), 1 / len(e.members)) for m in e.members]
            for pair in pairs:
                together[pair] = together.get(pair, 0.0) + e.consultations
                both = families_of(pair, family)
                share = 1 / len(pairs)
                terms += [(("class", both[0] == both[1]), share), (("families", both), share)]
                terms.append((("pair", pair), share))
            for term, share in terms:
                at = columns.setdefault(term, len(columns))
                row[at] = row.get(at, 0.0) + share
            rows.append(row)
            mean = e.quality / e.consultations
            y.append(mean / 10 - float(np.mean([value[m] for m in e.members])))
            n.append(e.consultations)
            within += max(e.quality_squares - e.consultations * mean**2, 0.0) / 100
            freedom += max(e.consultations - 1, 0.0)
    if not rows:
        return Effects()
    design = np.zeros((len(rows), len(columns)))
    for i, row in enumerate(rows):
        design[i, list(row)] = list(row.values())
    noise = max(within / freedom, 1e-4) if freedom > 0 else max(float(np.var(y)), 1e-4)
    of = [kind for kind, _ in columns]
    coefficients, covariance, found = _ridge(design, np.array(y), np.array(n) / noise, of)
    return _effects(columns, coefficients, covariance, found, together, family)


def _ridge(
    design: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    y: np.ndarray[tuple[int], np.dtype[np.float64]],
    weight: np.ndarray[tuple[int], np.dtype[np.float64]],
    of: Sequence[str],
) -> tuple[
    np.ndarray[tuple[int], np.dtype[np.float64]],
    np.ndarray[tuple[int, int], np.dtype[np.float64]],
    dict[str, float],
]:
    """Posterior mean and covariance of the coefficients, and the variance found for each group of them."""
    gram, right = design.T @ (design * weight[:, None]), design.T @ (weight * y)
    groups = {name: np.array([k for k, o in enumerate(of) if o == name]) for name in dict.fromkeys(of)}
    variance = {name: 1.0 if name == "intercept" else 0.01 for name in groups}
    prior = np.zeros(len(of))
    for _ in range(_ROUNDS):
        for name, at in groups.items():
            prior[at] = max(variance[name], 1e-12)
        root = np.sqrt(prior)  # stays well-conditioned as a variance goes to 0
        inner = np.linalg.inv(np.eye(len(of)) + root[:, None] * gram * root)
        covariance = root[:, None] * inner * root
        mean = covariance @ right
        for name, at in groups.items():
            if name != "intercept" and variance[name] > 0:
                determined = len(at) - inner[at, at].sum()
                found = float((mean[at] ** 2).sum() / max(determined, 1e-12))
                variance[name] = found if found > _NOTHING else 0.0
    return mean, covariance, variance


def _effects(
    columns: Mapping[tuple[str, Hashable], int],
    mean: np.ndarray[tuple[int], np.dtype[np.float64]],
    covariance: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    found: Mapping[str, float],
    together: Mapping[Pair, float],
    family: Mapping[str, str],
) -> Effects:
    def combined(*terms: tuple[str, Hashable]) -> tuple[float, float]:
        at = [columns[t] for t in terms if t in columns and found[t[0]] > 0]
        return float(mean[at].sum()), max(float(covariance[np.ix_(at, at)].sum()), 0.0) ** 0.5

    names = sorted(set(family.values()))
    of_families: dict[Pair, tuple[float, float]] = {}
    for k, f in enumerate(names):
        for g in names[k:]:
            value, se = combined(("class", f == g), ("families", (f, g)))
            new = found["pair"] + (0.0 if ("families", (f, g)) in columns else found["families"])
            of_families[f, g] = value, (se**2 + new) ** 0.5
    of_pairs = {}
    for pair in sorted(together):
        both = families_of(pair, family)
        of_pairs[pair] = combined(("class", both[0] == both[1]), ("families", both), ("pair", pair))
    return Effects(
        of_pairs,
        of_families,
        dict(together),
        {
            "same_or_other_family": found["class"] ** 0.5,
            "pair_of_families": found["families"] ** 0.5,
            "pair": found["pair"] ** 0.5,
        },
    )
