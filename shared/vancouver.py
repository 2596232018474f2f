"""Vancouver peer grading (de Alfaro & Shavlovsky, "CrowdGrader", UCSC-SOE-13-11), reference form.

A bipartite graph of reviewers u and items i with grades g(u, i). Each round, items first:

- item → reviewer: the mean of the messages (g, v) that the item holds, weights 1 / (p + v); its variance is
  Σ w² v with normalised weights;
- reviewer → item: the reviewer's variance, the weighted mean of (g(u, j) − bias − grade_j)² over what it has
  received, weights 1 / (p + var_j), and its grade less its bias (0 without de-biasing).

*Inclusive* (the published code's default) uses all messages; *exclusive* (the paper) leaves out, in a message
to a vertex, what came from that vertex, where at least two are held. Arrays over edges throughout: a round
costs O(Σ degree²) in a few vector operations.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable
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
    by_item = _Groups(of_item, len(items), exclusive)
    by_reviewer = _Groups(of_reviewer, len(reviewers), exclusive)
    precision, variance = PRECISION * scale**2, np.full_like(g, START_VARIANCE * scale**2)
    sent = g
    got_grade, got_variance = g, variance
    for _ in range(rounds):
        got_grade, got_variance = _to_reviewers(by_item, sent, variance, precision)
        bias, variance = _to_items(by_reviewer, g - got_grade, got_variance, precision, debias)
        sent = g - bias
    weight = 1 / (precision + variance)
    total = by_item.sum(weight)
    final = by_item.sum(weight * sent) / total
    final_variance = by_item.sum(weight**2 * variance) / total**2
    weight = 1 / (precision + got_variance)
    total = by_reviewer.sum(weight)
    # the bias against what was received, the variance against the final grades: as the reference does
    bias_u = by_reviewer.sum(weight * (g - got_grade)) / total if debias else np.zeros(len(reviewers))
    variance_u = by_reviewer.sum(weight * (g - bias_u[of_reviewer] - final[of_item]) ** 2) / total
    spread = population_std(edges.values())
    return Consensus(
        {i: ItemGrade(float(final[k]), float(final_variance[k])) for k, i in enumerate(items)},
        {
            u: ReviewerMeasure(_reliability(v, spread), v, float(bias_u[k]))
            for k, u in enumerate(reviewers)
            for v in [float(variance_u[k])]
        },
    )


def checked(grades: Iterable[tuple[U, I, float]], scale: float) -> dict[tuple[U, I], float]:
    """Edge → grade in canonical order, the last of several kept. Raises `BadGrade`."""
    edges: dict[tuple[U, I], float] = {}
    for u, i, grade in grades:
        if not (math.isfinite(grade) and 0 <= grade <= scale):
            raise BadGrade(f"the grade of {u} for {i} is not a number from 0 to {scale:g}")
        edges[u, i] = float(grade)
    return {edge: edges[edge] for edge in sorted(edges)}


def population_std(values: Collection[float]) -> float:
    """Of all grades; exactly 0 if they are equal or there are none (rounding must not make a spread)."""
    return float(np.std(list(values))) if len(set(values)) > 1 else 0.0


def _reliability(variance: float, spread: float) -> float:
    return max(0.0, 1 - math.sqrt(variance) / (math.sqrt(2) * spread)) if spread > 0 else 0.0


def _index(names: list[U]) -> tuple[list[U], NDArray[np.intp]]:
    distinct = sorted(set(names))  # type: ignore[type-var]
    place = {name: k for k, name in enumerate(distinct)}
    return distinct, np.array([place[name] for name in names])


class _Groups:
    """Edges grouped by one of their ends; `pairs` lists, for each edge, those whose messages it gets."""

    def __init__(self, vertex: NDArray[np.intp], n: int, exclusive: bool) -> None:
        self.vertex, self.n = vertex, n
        degree = np.bincount(vertex, minlength=n)
        order = np.argsort(vertex, kind="stable")
        start = np.cumsum(degree) - degree
        edges = np.arange(len(vertex))
        many = degree[vertex]
        self.to = np.repeat(edges, many)
        rank = np.arange(len(self.to)) - np.repeat(np.cumsum(many) - many, many)
        self.of = order[start[vertex[self.to]] + rank]
        if exclusive:  # without itself, where there is another
            kept = (self.of != self.to) | (many[self.to] < 2)
            self.to, self.of = self.to[kept], self.of[kept]

    def sum(self, values: Array) -> Array:
        """Per vertex, over its edges."""
        return np.bincount(self.vertex, values, self.n).astype(np.float64)

    def gather(self, per_pair: Array) -> Array:
        """Per edge, over the pairs that go to it."""
        return np.bincount(self.to, per_pair, len(self.vertex)).astype(np.float64)


def _to_reviewers(by_item: _Groups, sent: Array, variance: Array, precision: float) -> tuple[Array, Array]:
    weight = (1 / (precision + variance))[by_item.of]
    total = by_item.gather(weight)
    grade = by_item.gather(weight * sent[by_item.of]) / total
    return grade, by_item.gather(weight**2 * variance[by_item.of]) / total**2


def _to_items(
    by_reviewer: _Groups, off: Array, got_variance: Array, precision: float, debias: bool
) -> tuple[Array, Array]:
    weight = (1 / (precision + got_variance))[by_reviewer.of]
    total = by_reviewer.gather(weight)
    given = off[by_reviewer.of]
    bias = by_reviewer.gather(weight * given) / total if debias else np.zeros_like(off)
    return bias, by_reviewer.gather(weight * (given - bias[by_reviewer.to]) ** 2) / total
