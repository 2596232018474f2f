"""The expected value of an ensemble, from its members' values and the effects of its pairs.

Outcomes: P(a majority is right) by the second-order Bahadur expansion (Bahadur 1961; third and higher central
moments are 0). With X = number right, m votes needed and covariances c_ij of being right:
P = P_independent + Σ_{i<j} c_ij · ∂²P/∂p_i∂p_j, the second derivative being
P(X_others = m - 2) - P(X_others = m - 1). At N = 3 that is Σ c_ij (1 - 2 p_k), and exact but for one term,
-2 E[(x_1 - p_1)(x_2 - p_2)(x_3 - p_3)]. A pair's effect is -c_ij.
Quality: the mean of the members' values plus the mean of their pairs' effects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from shared.chemistry.snapshot import Basis, Learned

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int_]


@dataclass(frozen=True)
class Known:
    """What is known of n models: values in [0, 1] (n,), effects of pairs (n, n), standard errors."""

    basis: Basis
    value: Floats
    value_se: Floats
    effect: Floats
    effect_se: Floats


@dataclass(frozen=True)
class Valued:
    """Values of many subsets, the parts they consist of, and how they move with what is known.

    by_model: derivatives by the members' values (subsets, N); by_pair: by their pairs' effects, in the order
    of `combinations(range(N), 2)`.
    """

    subsets: Ints
    value: Floats
    alone: Floats  # as if no pair had an effect
    se: Floats
    by_model: Floats
    by_pair: Floats


def votes_needed(n: int) -> int:
    """More than half of n."""
    return n // 2 + 1


def values(known: Known, subsets: Ints) -> Valued:
    """Expected value in [0, 1] of each row of `subsets` (S, N), indices of models; N ≥ 1.

    Standard errors by the delta method, values and effects taken as independent.
    """
    size = subsets.shape[1]
    pairs = list(combinations(range(size), 2))
    p = known.value[subsets]
    if known.basis == "quality":
        alone = p.mean(axis=1)
        by_model = np.full(p.shape, 1 / size)
        by_pair = np.full((len(p), len(pairs)), 1 / max(len(pairs), 1))
    else:
        needed = votes_needed(size)
        alone = _count_pmf(p)[:, needed:].sum(axis=1)
        by_model = np.stack([_others(p, (i,), needed - 1) for i in range(size)], axis=1)
        by_pair = np.empty((len(p), len(pairs)))
        for k, pair in enumerate(pairs):
            by_pair[:, k] = _others(p, pair, needed - 1) - _others(p, pair, needed - 2)
    value, variance = alone.copy(), (by_model**2 * known.value_se[subsets] ** 2).sum(axis=1)
    for k, (i, j) in enumerate(pairs):
        at = subsets[:, i], subsets[:, j]
        value += by_pair[:, k] * known.effect[at]
        variance += by_pair[:, k] ** 2 * known.effect_se[at] ** 2
    return Valued(subsets, np.clip(value, 0.0, 1.0), alone, np.sqrt(variance), by_model, by_pair)


def difference_se(known: Known, valued: Valued, best: int) -> Floats:
    """Standard error of value[best] - value, each row; what moves both sets alike cancels."""
    n, size = len(known.value), valued.subsets.shape[1]
    by_model, by_pair = np.zeros(n), np.zeros((n, n))
    members = valued.subsets[best]
    by_model[members] = valued.by_model[best]
    for k, (i, j) in enumerate(combinations(range(size), 2)):
        by_pair[members[i], members[j]] = by_pair[members[j], members[i]] = valued.by_pair[best, k]
    variance = valued.se[best] ** 2 + valued.se**2
    at = valued.subsets
    variance -= 2 * (valued.by_model * by_model[at] * known.value_se[at] ** 2).sum(axis=1)
    for k, (i, j) in enumerate(combinations(range(size), 2)):
        pair = at[:, i], at[:, j]
        variance -= 2 * valued.by_pair[:, k] * by_pair[pair] * known.effect_se[pair] ** 2
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))


def known_of(names: Sequence[str], learned: Learned, family: Mapping[str, str] | None = None) -> Known:
    """What is learned of these models, as arrays. `family`: where the registry knows better."""
    n, of = len(names), [learned.models[name] for name in names]
    families = [m.family if family is None else family[name] for name, m in zip(names, of, strict=True)]
    effect, se = np.zeros((n, n)), np.zeros((n, n))
    for i, j in combinations(range(n), 2):
        effect[i, j], se[i, j] = learned.effect(names[i], names[j], families[i], families[j])
    value, value_se = np.array([m.value for m in of]), np.array([m.value_se for m in of])
    return Known(learned.basis, value, value_se, effect + effect.T, se + se.T)


def beside(names: Sequence[str], staying: Sequence[str], learned: Learned) -> dict[str, float]:
    """Expected value of the ensemble that each of these makes with those who stay; all must be known."""
    if not names:
        return {}
    known = known_of([*staying, *names], learned)
    rows = [[*range(len(staying)), len(staying) + k] for k in range(len(names))]
    return dict(zip(names, values(known, np.array(rows)).value.tolist(), strict=True))


def _count_pmf(p: Floats) -> Floats:
    """Poisson binomial: P(k of the columns are right), (S, columns + 1)."""
    pmf = np.zeros((len(p), p.shape[1] + 1))
    pmf[:, 0] = 1.0
    for column in p.T:
        pmf[:, 1:] = pmf[:, 1:] * (1 - column[:, None]) + pmf[:, :-1] * column[:, None]
        pmf[:, 0] *= 1 - column
    return pmf


def _others(p: Floats, without: tuple[int, ...], count: int) -> Floats:
    """P(exactly `count` of the other columns are right)."""
    left = np.delete(p, without, axis=1)
    if not 0 <= count <= left.shape[1]:
        return np.zeros(len(p))
    return _count_pmf(left)[:, count]
