"""Peer grading with a memory: the default form of the Vancouver consensus.

One consultation has N·(N−1) grades, too few to know a reviewer. So each item's grade is the generalised
least-squares mean of its reviewers' grades less their remembered biases, weighted by the remembered
covariance (own errors, what a family shares, and how uncertain the biases themselves are). With no memory it
is the plain mean; where a family's sharing matters and cannot be told, too, and the result says so.

There is one step and no rounds: messages back to the reviewers would estimate their variances anew from the
N − 1 grades of this one consultation, beside a memory that counts for at least six.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from shared.memory import PRIOR_VARIANCE, Pool, Reviewer
from shared.vancouver import ItemGrade, ReviewerMeasure, checked, population_std

UNIFORM_SPREAD = math.sqrt(1 / 12)
"""Std of grades uniform in [0, 1]: against it a reviewer is held that overlaps with nobody."""


@dataclass(frozen=True)
class PeerGrades:
    """Grades by item, measures by reviewer, and the form: `memory`, or `mean` with its reason."""

    items: dict[int, ItemGrade]
    reviewers: dict[int, ReviewerMeasure]
    form: str
    reason: str | None


@dataclass(frozen=True)
class Seat:
    """Who a reviewer is in the memory."""

    model: str
    family: str


def grade_peers(
    grades: Iterable[tuple[int, int, float]], seats: Mapping[int, Seat], pool: Pool | None
) -> PeerGrades:
    """Consensus of grades (reviewer, item, grade in [0, 1]); seats name the reviewers.

    An item's variance is that of its grade as estimated; a reviewer's variance is the mean square of its
    grades less bias against the final grades, and its reliability max(0, 1 − √variance / (√2 · std of all
    grades)), 1 where all grades are equal. A reviewer whose items nobody else graded would look perfect: the
    memory's variance, else the prior's, stands for it, against the spread of uniform grades.
    Raises `BadGrade`.
    """
    edges = checked(grades, 1.0)
    reviewers = sorted({u for u, _ in edges})
    reason = _why_mean(reviewers, seats, pool)
    known = {u: _known(seats[u], pool) for u in reviewers} if pool is not None and reason is None else None
    by_item: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for (u, i), g in edges.items():
        by_item[i].append((u, g))
    items = {
        i: _mean(given) if known is None or pool is None else _weighted(given, known, pool)
        for i, given in sorted(by_item.items())
    }
    spread = population_std(list(edges.values()))
    residuals: dict[int, list[float]] = {u: [] for u in reviewers}
    compared: set[int] = set()  # reviewers of an item that somebody else graded, too
    for (u, i), g in edges.items():
        residuals[u].append((g - (known[u].bias if known else 0.0) - items[i].grade) ** 2)
        if len(by_item[i]) > 1:
            compared.add(u)
    measures = {}
    for u in reviewers:
        if u in compared:
            variance, against = math.fsum(residuals[u]) / len(residuals[u]), spread
        else:
            variance, against = _prior_variance(known[u] if known else None, pool), UNIFORM_SPREAD
        reliability = max(0.0, 1 - math.sqrt(variance) / (math.sqrt(2) * against)) if spread > 0 else 1.0
        measures[u] = ReviewerMeasure(reliability, variance, known[u].bias if known else 0.0)
    return PeerGrades(items, measures, "mean" if known is None else "memory", reason)


def _prior_variance(reviewer: Reviewer | None, pool: Pool | None) -> float:
    if reviewer is None or pool is None:
        return PRIOR_VARIANCE
    return reviewer.variance + pool.shared.get(reviewer.family, pool.shared_pool)


def _why_mean(reviewers: list[int], seats: Mapping[int, Seat], pool: Pool | None) -> str | None:
    if pool is None:
        return "no_memory"
    families = [seats[u].family for u in reviewers]
    together = {family for family, members in Counter(families).items() if members > 1}
    return "sharing_not_told" if together - pool.told else None


def _known(seat: Seat, pool: Pool) -> Reviewer:
    stranger = Reviewer(seat.family, 0.0, pool.bias_variance, pool.variance, 0.0)
    return pool.reviewers.get(seat.model, stranger)


def _mean(given: list[tuple[int, float]]) -> ItemGrade:
    """Plain mean; its variance from the scatter, the largest there is (0.25) for a single grade."""
    values = [g for _, g in given]
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return ItemGrade(mean, 0.25)
    return ItemGrade(mean, math.fsum((g - mean) ** 2 for g in values) / (len(values) - 1) / len(values))


def _weighted(given: list[tuple[int, float]], known: Mapping[int, Reviewer], pool: Pool) -> ItemGrade:
    """Generalised least squares: weights C⁻¹1 of C = diag(own) + what each family shares, in closed form.

    Plain floats, exactly summed: no linear algebra library, whose last bits depend on the machine.
    """
    own = {u: 1 / (known[u].variance + known[u].bias_variance) for u, _ in given}
    damped = {
        family: 1
        + pool.shared.get(family, pool.shared_pool)
        * math.fsum(own[u] for u in own if known[u].family == family)
        for family in {known[u].family for u in own}
    }
    weights = {u: own[u] / damped[known[u].family] for u in own}
    total = math.fsum(weights.values())
    grade = math.fsum(weights[u] * (g - known[u].bias) for u, g in given) / total
    return ItemGrade(min(1.0, max(0.0, grade)), 1 / total)
