"""Do two models err together more often than their own rates say? Pooled by pair of families.

Of each pair: the mean of (wrong_a - q_a)(wrong_b - q_b), the covariance of being wrong, q the model's own
rate in that kind of task; kinds are added up after that, so that a hard kind is no shared blind spot.
Sampling variance as if errors were independent. Pairs are shrunk toward their pair of families, that toward
what its like has in common (one family, or two), and that toward 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from shared.chemistry.aggregates import PairSums
from shared.chemistry.pooling import pooled, spread, toward

LARGEST_SD = 0.25
"""Largest spread of pair effects that is looked for: a covariance of two events is at most a quarter."""

LEAST_VARIANCE = 0.01
"""Of one model's error, p (1 - p): below, a few observations would look exact."""

OFTEN = 20.0
"""Times a pair must have sat together in a kind of task before that kind says anything of its own."""

Pair = tuple[str, str]


@dataclass(frozen=True)
class Effects:
    """Effects (above 0: less often wrong together) with standard errors: of pairs, of pairs of families."""

    pairs: Mapping[Pair, tuple[float, float]] = field(default_factory=dict)
    families: Mapping[Pair, tuple[float, float]] = field(default_factory=dict)
    together: Mapping[Pair, float] = field(default_factory=dict)
    strength: Mapping[str, float] = field(default_factory=dict)  # standard deviations found

    def of(self, pair: Pair, family: Mapping[str, str]) -> tuple[float, float]:
        """A pair's own, else its families', else 0."""
        if pair in self.pairs:
            return self.pairs[pair]
        f, g = sorted((family[pair[0]], family[pair[1]]))
        return self.families.get((f, g), (0.0, 0.0))


def wrong_together(
    histories: Sequence[tuple[Sequence[PairSums], Mapping[str, float]]],
    family: Mapping[str, str],
    lean: Effects | None = None,
) -> Effects:
    """Effects from the pairs of several kinds, each with its models' P(right).

    With `lean`, one kind's: pairs that sat together often enough in it are shrunk toward those of other
    kinds. (A variance from a handful of answers is no variance: one coincidence would look certain.)
    """
    together: dict[Pair, float] = defaultdict(float)
    excess: dict[Pair, float] = defaultdict(float)
    noise: dict[Pair, float] = defaultdict(float)
    for rows, right in histories:
        for p in rows:
            wrong_a, wrong_b = 1 - right[p.a], 1 - right[p.b]
            key, n = (p.a, p.b), p.together
            together[key] += n
            excess[key] += p.wrong_both - wrong_b * p.wrong_a - wrong_a * p.wrong_b + n * wrong_a * wrong_b
            noise[key] += n * _variance(wrong_a) * _variance(wrong_b)
    keys = sorted(key for key, n in together.items() if n > 0 and (lean is None or n >= OFTEN))
    if not keys:
        return lean or Effects()
    counts = np.array([together[k] for k in keys])
    x = -np.array([excess[k] for k in keys]) / counts
    s2 = np.array([noise[k] for k in keys]) / counts**2
    if lean is not None:
        return _leaning(keys, x, s2, together, family, lean)
    groups = [families_of(key, family) for key in keys]
    found = pooled(x, s2, groups, {g: g[0] == g[1] for g in groups}, LARGEST_SD)
    names = sorted(set(family.values()))
    like = {g: found.classes.get(g[0] == g[1], (0.0, 0.0)) for g in _family_pairs(names)}
    families = {**like, **{families_of(k, family): found.groups[families_of(k, family)] for k in keys}}
    return Effects(
        {k: (float(m), float(v) ** 0.5) for k, m, v in zip(keys, found.mean, found.variance, strict=True)},
        {g: (m, v**0.5) for g, (m, v) in families.items()},
        dict(together),
        dict(zip(("same_or_other_family", "pair_of_families", "pair"), found.sd, strict=True)),
    )


def _leaning(
    keys: list[Pair],
    x: np.ndarray[tuple[int], np.dtype[np.float64]],
    s2: np.ndarray[tuple[int], np.dtype[np.float64]],
    together: Mapping[Pair, float],
    family: Mapping[str, str],
    lean: Effects,
) -> Effects:
    """One kind's pairs around those of the other kinds, as far as they differ more than by chance."""
    priors = np.array([lean.of(k, family) for k in keys])
    prior, doubt = priors[:, 0], priors[:, 1] ** 2
    own = spread(x, s2 + doubt, prior)
    mean, variance = toward(x, s2, prior, doubt + own)
    here = {k: (float(m), float(v) ** 0.5) for k, m, v in zip(keys, mean, variance, strict=True)}
    return Effects({**lean.pairs, **here}, lean.families, dict(together), {**lean.strength, "kind": own**0.5})


def families_of(pair: Pair, family: Mapping[str, str]) -> Pair:
    """The pair's families in order."""
    f, g = family[pair[0]], family[pair[1]]
    return (min(f, g), max(f, g))


def _family_pairs(names: Sequence[str]) -> list[Pair]:
    return [(f, g) for k, f in enumerate(names) for g in names[k:]]


def _variance(wrong: float) -> float:
    return max(wrong * (1 - wrong), LEAST_VARIANCE)
