"""Vancouver peer grading (de Alfaro & Shavlovsky, "CrowdGrader", UCSC-SOE-13-11), reference form.

A bipartite graph of reviewers u and items i with grades g(u, i). Each round, items first:

- item → reviewer: the mean of the messages (g, v) that the item holds, weights 1 / (p + v); its variance is
  Σ w² v with normalised weights;
- reviewer → item: the reviewer's variance, the weighted mean of (g(u, j) − bias − grade_j)² over what it has
  received, weights 1 / (p + var_j), and its grade less its bias (0 without de-biasing).

*Inclusive* (the published code's default) uses all messages; *exclusive* (the paper) leaves out, in a message
to a vertex, what came from that vertex, where at least two are held. Arrays over edges throughout: a round
costs O(edges) in a few vector operations. What the other edges of a vertex hold is
merged by pairs: a total less the edge's own would cancel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

ROUNDS = 20
"""Part of the definition: de-biasing with exclusion does not settle."""
PRECISION = 1e-6
"""p on grades in [0, 1]; on [0, S] it is S² times this (1e-4 for the published 0…10)."""
START_VARIANCE = 0.01
"""Of every message at the start, on [0, 1]; on [0, S] S² times this."""

Array = NDArray[np.float64]
U = TypeVar("U", bound=Hashable)
I = TypeVar("I", bound=Hashable)  # noqa: E741 - the paper's letter


class BadGrade(ValueError):
    """A grade is not a finite number on the scale; the message names reviewer and item, not the grade."""


@dataclass(frozen=True)
class ItemGrade:
    """Consensus grade of an item and its variance, on the input's scale."""

    grade: float
    variance: float


@dataclass(frozen=True)
class ReviewerMeasure:
    """Reliability in [0, 1]; variance ≥ 0 and bias on the input's scale."""

    reliability: float
    variance: float
    bias: float


@dataclass(frozen=True)
class Consensus(Generic[U, I]):
    """What comes of a graph: one entry an item and one a reviewer, in sorted order."""

    items: dict[I, ItemGrade]
    reviewers: dict[U, ReviewerMeasure]


def vancouver(
    grades: Iterable[tuple[U, I, float]],
    *,
    scale: float = 1.0,
    exclusive: bool = False,
    debias: bool = False,
    rounds: int = ROUNDS,
) -> Consensus[U, I]:
    """The reference form on grades in [0, scale].

    A second grade of the same reviewer for the same item replaces the first; the order of the grades changes
    nothing else. The reference's answers are kept at the edges: all grades equal means reliability 0.
    Raises `BadGrade`.
    """
    edges = checked(grades, scale)
    if not edges:
        return Consensus({}, {})
    reviewers, of_reviewer = _index([u for u, _ in edges])
    items, of_item = _index([i for _, i in edges])
    g = np.array(list(edges.values()), dtype=float)
    by_item, by_reviewer = _Groups(of_item, exclusive), _Groups(of_reviewer, exclusive)
    precision, variance = PRECISION * scale**2, np.full_like(g, START_VARIANCE * scale**2)
    sent, bias = g, np.zeros_like(g)
    got_grade, got_variance = g, variance
    for _ in range(rounds):
        weight = 1 / (precision + variance)
        total, graded, spread = by_item.gather(weight, weight * sent, weight**2 * variance)
        got_grade, got_variance = graded / total, spread / total**2
        weight, off = 1 / (precision + got_variance), g - got_grade
        if debias:
            total, first = by_reviewer.gather(weight, weight * off)
            bias = first / total
            variance = by_reviewer.squares(weight, off, bias) / total
        else:
            total, second = by_reviewer.gather(weight, weight * off**2)
            variance = second / total
        sent = g - bias
    weight = 1 / (precision + variance)
    total, graded, spread = by_item.sum(weight, weight * sent, weight**2 * variance)
    final, final_variance = graded / total, spread / total**2
    weight = 1 / (precision + got_variance)
    # the bias against what was received, the variance against the final grades: as the reference does
    total, first = by_reviewer.sum(weight, weight * (g - got_grade))
    bias_u = first / total if debias else np.zeros(len(reviewers))
    (second,) = by_reviewer.sum(weight * (g - bias_u[of_reviewer] - final[of_item]) ** 2)
    variance_u = second / total
    std = population_std(g)
    return Consensus(
        {i: ItemGrade(float(final[k]), float(final_variance[k])) for k, i in enumerate(items)},
        {
            u: ReviewerMeasure(_reliability(v, std), v, float(bias_u[k]))
            for k, u in enumerate(reviewers)
            for v in [float(variance_u[k])]
        },
    )


def checked(grades: Iterable[tuple[U, I, float]], scale: float) -> dict[tuple[U, I], float]:
    """Edge → grade in canonical order, the last of several kept. Raises `BadGrade`."""
    edges: dict[tuple[U, I], float] = {}
    for u, i, grade in grades:
        if not 0 <= grade <= scale:  # nor is NaN
            raise BadGrade(f"the grade of {u} for {i} is not a number from 0 to {scale:g}")
        edges[u, i] = float(grade)
    return dict(sorted(edges.items()))


def population_std(values: Sequence[float] | Array) -> float:
    """Of all grades; exactly 0 if they are equal or there are none (rounding must not make a spread)."""
    grades = np.asarray(values, dtype=float)
    return float(np.std(grades)) if grades.size and np.ptp(grades) > 0 else 0.0


def _reliability(variance: float, spread: float) -> float:
    return max(0.0, 1 - math.sqrt(variance) / (math.sqrt(2) * spread)) if spread > 0 else 0.0


def _index(names: list[U]) -> tuple[list[U], NDArray[np.intp]]:
    distinct = sorted(set(names))  # type: ignore[type-var]
    place = {name: k for k, name in enumerate(distinct)}
    return distinct, np.array([place[name] for name in names])


class _Groups:
    """Edges grouped by one of their ends; what a message is made of is gathered per edge."""

    def __init__(self, vertex: NDArray[np.intp], exclusive: bool) -> None:
        self.vertex, self.exclusive = vertex, exclusive
        self.order = np.argsort(vertex, kind="stable")
        degree = np.bincount(vertex)
        self.start = np.cumsum(degree) - degree
        # m vertices of one degree d: their edges (d, m)
        self.blocks = [
            self.order[self.start[degree == d] + np.arange(d)[:, None]]
            for d in (np.unique(degree) if exclusive else ())
        ]

    def sum(self, *values: Array) -> Array:
        """Per vertex, over its edges: one row for each of the values."""
        return np.array([np.add.reduceat(v[self.order], self.start) for v in values])

    def gather(self, *values: Array) -> Array:
        """Per edge, over those whose messages count for it."""
        if not self.exclusive:
            return np.asarray(self.sum(*values)[:, self.vertex])
        rows = np.array(values)
        found = np.empty_like(rows)
        for edges in self.blocks:
            for row, sums in zip(found, _others(np.take(rows, edges, axis=1), np.add), strict=True):
                row[edges] = sums  # twice as fast as all rows at once
        return found

    def squares(self, weight: Array, off: Array, bias: Array) -> Array:
        """Per edge, the weighted squares of (off − bias), the bias being the edge's own."""
        if not self.exclusive:
            return np.asarray(self.sum(weight * (off - bias) ** 2)[0, self.vertex])
        rows = np.array([weight, off, np.zeros_like(off)])
        found = np.empty_like(off)
        for edges in self.blocks:
            total, mean, about_mean = _others(np.take(rows, edges, axis=1), _merged)
            found[edges] = about_mean + total * (mean - bias[edges]) ** 2
        return found


def _others(held: Array, merged: Callable[[Array, Array], Array]) -> Array:
    """Of each of d along axis 1 all others, merged; what is alone stands for itself.

    Those of a pair are merged with its sibling: O(d), and nothing is taken from a total, which would cancel.
    """
    d = held.shape[1]
    if d < 3:
        return held[:, ::-1]
    left, right, last = held[:, 0 : d - 1 : 2], held[:, 1:d:2], held[:, d - d % 2 :]
    above = _others(np.concatenate([merged(left, right), last], axis=1), merged)
    found = np.empty_like(held)
    found[:, 0 : d - 1 : 2] = merged(above[:, : d // 2], right)
    found[:, 1:d:2] = merged(above[:, : d // 2], left)
    found[:, d - d % 2 :] = above[:, d // 2 :]
    return found


def _merged(one: Array, other: Array) -> Array:
    """Weight, weighted mean and squares about it of two sets together (Chan, Golub and LeVeque 1979)."""
    weight, apart = one[0] + other[0], other[1] - one[1]
    share = other[0] / weight
    return np.array([weight, one[1] + apart * share, one[2] + other[2] + apart**2 * one[0] * share])
