"""Shrinkage of many noisy numbers toward what they share, its strength found from the data (empirical Bayes).

Normal model throughout: an estimate x with known sampling variance s² of a true number that varies around a
prior with variance τ². τ² = 0 is a possible outcome: then the prior alone holds. Sources: Paule & Mandel 1982
(method of moments); Efron & Morris 1973 (empirical Bayes).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_STEPS = (0.0, *np.geomspace(0.1, 1.0, 9).tolist())  # standard deviations, as a share of the largest
_BISECTIONS = 60

EVIDENCE = 1.92
"""Gain in log-likelihood below which a spread is taken for noise: a likelihood ratio test at 5 %."""


def spread(x: Floats, s2: Floats, prior: Floats) -> float:
    """Paule–Mandel estimate of τ² in x ~ N(prior, s² + τ²); `prior` is known. 0 where s² explains it all."""
    r2 = (x - prior) ** 2
    if not len(x) or (r2 / s2).sum() <= len(x):
        return 0.0
    low, high = 0.0, float(r2.sum())
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if (r2 / (s2 + middle)).sum() > len(x) else (low, middle)
    return (low + high) / 2


def toward(x: Floats, s2: Floats, prior: Floats, prior_s2: Floats) -> tuple[Floats, Floats]:
    """Posterior mean and variance of x ~ N(t, s²), t ~ N(prior, prior_s²); an s² of infinity says nothing."""
    total = s2 + prior_s2
    weight = np.divide(prior_s2, total, out=np.zeros_like(total), where=np.isfinite(total))
    return prior + weight * (np.where(np.isfinite(s2), x, prior) - prior), prior_s2 * (1 - weight)


@dataclass(frozen=True)
class Pooled:
    """Posterior of a two-level tree: leaves within groups within classes, around 0."""

    mean: Floats  # of each leaf
    variance: Floats
    groups: dict[Hashable, tuple[float, float]]  # mean and variance of a further leaf of the group
    classes: dict[Hashable, tuple[float, float]]  # mean and variance of a further leaf of the class
    sd: tuple[float, float, float]  # found standard deviations of classes, groups, leaves


def pooled(
    x: Floats,
    s2: Floats,
    group: Sequence[Hashable],
    class_of: dict[Hashable, Hashable],
    largest: float,
) -> Pooled:
    """Leaves x (sampling variances s²) shrunk toward their group, groups toward their class, it toward 0.

    The three variances maximise the marginal likelihood over a grid from 0 to `largest` (a standard
    deviation); each may be 0. Where their log-likelihood is not above that of 0 by `EVIDENCE`, all are 0, and
    so is everything.
    """
    names = sorted(class_of, key=repr)
    classes = sorted(set(class_of.values()), key=repr)
    of_leaf = np.array([names.index(g) for g in group], dtype=int)
    of_group = np.array([classes.index(class_of[g]) for g in names], dtype=int)
    sds = np.array(_STEPS) * largest
    best, needed, c, g, leaf = -np.inf, 0.0, 0.0, 0.0, 0.0
    for of_leaves, of_groups in product(sds.tolist(), repeat=2):
        mean, variance, found = _up(x, s2 + of_leaves**2, of_leaf, len(names))
        top_mean, top_variance, more = _up(mean, variance + of_groups**2, of_group, len(classes))
        known = np.isfinite(top_variance)
        total = top_variance[known] + sds[:, None] ** 2
        likelihood = found + more - 0.5 * (np.log(total) + top_mean[known] ** 2 / total).sum(axis=1)
        k = int(likelihood.argmax())  # ties to the smallest variances
        if likelihood[k] > best + 1e-9:
            best, c, g, leaf = float(likelihood[k]), float(sds[k]), of_groups, of_leaves
        if of_leaves == of_groups == 0.0:
            needed = float(likelihood[0]) + EVIDENCE
    if best < needed:
        c = g = leaf = 0.0
    mean, variance, _ = _up(x, s2 + leaf**2, of_leaf, len(names))
    top_mean, top_variance, _ = _up(mean, variance + g**2, of_group, len(classes))
    zero = np.zeros(len(classes))
    class_mean, class_variance = toward(top_mean, top_variance, zero, zero + c**2)
    group_mean, group_variance = _down(mean, variance, class_mean, class_variance, of_group, g)
    leaf_mean, leaf_variance = _down(x, s2, group_mean, group_variance, of_leaf, leaf)
    return Pooled(
        leaf_mean,
        leaf_variance,
        {n: (float(group_mean[k]), float(group_variance[k] + leaf**2)) for k, n in enumerate(names)},
        {n: (float(class_mean[k]), float(class_variance[k] + g**2 + leaf**2)) for k, n in enumerate(classes)},
        (c, g, leaf),
    )


def _up(x: Floats, v: Floats, of: npt.NDArray[np.int_], n: int) -> tuple[Floats, Floats, float]:
    """Precision-weighted mean and variance of each parent (infinite: no data), log-likelihood of the rest."""
    known = np.isfinite(v)
    weight = np.where(known, 1 / np.where(known, v, 1.0), 0.0)
    x = np.where(known, x, 0.0)
    total = np.bincount(of, weight, n)
    has = total > 0
    variance = np.divide(1.0, total, out=np.full(n, np.inf), where=has)
    mean = np.where(has, np.bincount(of, weight * x, n) * np.where(has, variance, 0.0), 0.0)
    residual = (weight * (x - mean[of]) ** 2).sum()
    logs = np.log(v[known]).sum() - np.log(variance[has]).sum()
    return mean, variance, float(-0.5 * (residual + logs))


def _down(
    x: Floats, v: Floats, above: Floats, above_v: Floats, of: npt.NDArray[np.int_], sd: float
) -> tuple[Floats, Floats]:
    """Posterior of children around their parents' posterior, whose own doubt is carried through."""
    weight = np.where(np.isfinite(v), sd**2 / (sd**2 + np.where(np.isfinite(v), v, 1.0) + 1e-300), 0.0)
    mean = above[of] + weight * (np.where(np.isfinite(v), x, 0.0) - above[of])
    return mean, (1 - weight) * sd**2 + (1 - weight) ** 2 * above_v[of]
