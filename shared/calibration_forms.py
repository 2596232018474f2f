"""The forms that a calibrator may have, and how each is fitted: isotonic, and ridge logistic up to splines.

P(right) is far from linear in what a consultation tells of itself: where the reviewers contradict each other,
a low reliability and a low grade say different things than either alone. The bends of the splines, each also
times the other features, take that up ("Multivariate Adaptive Regression Splines", Friedman 1991, has such
terms); what calibrates is that the form fits, so no correction is laid over it.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared import logistic

Array = NDArray[np.float64]

COLUMNS = ("grade", "deviation", "agreement", "reliability", "n")
SCORES = ("grade", "agreement")
"""What the isotonic form may stand on."""
PENALTY = 1.0
"""Of the logistic form's coefficients, on standardised features: one pseudo-case's worth."""
KNOTS = (0.2, 0.4, 0.6, 0.8)
"""Quantiles of a feature at which its spline bends."""


@dataclass(frozen=True)
class Logistic:
    """Ridge logistic regression on features less `centre`, divided by `scale`; with `products` also on the
    squares and products of all but n; with `knots` (standardised, of each feature but n) also on linear
    splines of these, and on each bend times each other feature."""

    intercept: float
    coefficients: tuple[float, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    products: bool
    knots: tuple[tuple[float, ...], ...] = ()

    def logit(self, row: Sequence[float]) -> float:
        """log P / (1 − P). Plain floats, exactly summed: no linear algebra whose last bits depend on the
        machine."""
        scaled = [(x - c) / s for x, c, s in zip(row, self.centre, self.scale, strict=True)]
        terms = _terms(scaled, self.products, self.knots)
        return math.fsum([self.intercept, *(b * x for b, x in zip(self.coefficients, terms, strict=True))])

    def probability(self, row: Sequence[float]) -> float:
        """P(right)."""
        eta = self.logit(row)
        return 1 / (1 + math.exp(-eta)) if eta > -700 else 0.0


@dataclass(frozen=True)
class Isotonic:
    """A step function that never falls: from `starts[k]` on, P is `values[k]`; below the first, its value.

    It stands on one score: a feature, or (`inner`) the logit of a logistic form.
    """

    score: str
    starts: tuple[float, ...]
    values: tuple[float, ...]
    inner: Logistic | None = None

    def probability(self, row: Sequence[float]) -> float:
        """P(right)."""
        value = self.inner.logit(row) if self.inner else row[COLUMNS.index(self.score)]
        return self.values[max(bisect_right(self.starts, value) - 1, 0)]


Form = Isotonic | Logistic


def _isotonic_on(name: str) -> Callable[[Array, Array], Form]:
    return lambda x, y: isotonic(name, x[:, COLUMNS.index(name)], y)


def _isotonic_on_logistic(x: Array, y: Array) -> Form:
    inner = ridge(x, y, products=True)
    return isotonic("logistic", np.array([inner.logit(row) for row in x.tolist()]), y, inner)


FORMS: Mapping[str, Callable[[Array, Array], Form]] = {
    **{f"isotonic on {name}": _isotonic_on(name) for name in SCORES},
    "isotonic on the logistic": _isotonic_on_logistic,
    "logistic": lambda x, y: ridge(x, y),
    "logistic with products": lambda x, y: ridge(x, y, products=True),
    "logistic with splines": lambda x, y: ridge(x, y, products=True, splines=True),
}
"""Each fits features x (cases, columns) and outcomes y (cases,) in {0, 1}."""


def isotonic(score: str, column: Array, y: Array, inner: Logistic | None = None) -> Isotonic:
    """Pool adjacent violators (Ayer et al., 1955). One case of the base rate at either end keeps the ends
    from certainty."""
    starts, place = np.unique(column, return_inverse=True)
    right, count = np.bincount(place, weights=y), np.bincount(place).astype(float)
    for end in (0, -1):
        right[end] += y.mean()
        count[end] += 1
    blocks: list[tuple[float, float, float]] = []  # first score, right, cases
    for start, k, m in zip(starts.tolist(), right.tolist(), count.tolist(), strict=True):
        block = (start, k, m)
        while blocks and blocks[-1][1] * block[2] >= block[1] * blocks[-1][2]:
            before = blocks.pop()
            block = (before[0], before[1] + block[1], before[2] + block[2])
        blocks.append(block)
    return Isotonic(score, tuple(b[0] for b in blocks), tuple(b[1] / b[2] for b in blocks), inner)


def ridge(x: Array, y: Array, *, products: bool = False, splines: bool = False) -> Logistic:
    """Features x (cases, columns), outcomes y (cases,) in {0, 1}."""
    centre, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)  # a column that is always the same says nothing
    scaled = [*((x - centre) / scale).T]
    knots = tuple(tuple(np.unique(np.quantile(kept, KNOTS)).tolist()) for kept in scaled[:-1] if splines)
    found = logistic.fit(np.column_stack(_terms(scaled, products, knots)), y, PENALTY)
    coefficients, centres, scales = (tuple(values.tolist()) for values in (found.coefficients, centre, scale))
    return Logistic(found.intercept, coefficients, centres, scales, products, knots)


def _terms(scaled: Sequence[Any], products: bool, knots: Sequence[tuple[float, ...]]) -> list[Any]:
    """All terms of one row (floats), or of all rows at once (columns)."""
    kept, terms = list(scaled[:-1]), list(scaled)  # n has no terms but itself
    if products:
        terms += [x * y for x, y in itertools.combinations_with_replacement(kept, 2)]
    for at, own in enumerate(knots):
        for knot in own:
            bend = (kept[at] - knot) * (kept[at] > knot)
            terms += [bend, *(bend * other for other in kept[:at] + kept[at + 1 :])]
    return terms
