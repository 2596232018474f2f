"""The reviewers' memory: each reviewer's bias and variance, and what a family shares, from raw grades alone.

A grade is g(u, i) = q_i + b_u + f(family of u, i) + e(u, i): the item's true grade, the reviewer's bias, an
error its family shares on that item (variance c of the family), and its own (variance s_u). Only differences
of reviewers on the same item are used: q cancels (a flat prior), so no ground truth is needed, and the common
offset of all biases is 0. Estimated by expectation-maximisation with shrinkage (algorithms, section 1,
"Vancouver with a memory"); it needs only counts, sums and products per set of reviewers, so its cost does not
grow with the number of reviews.

All grades are in [0, 1], variances in squares of that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PRIOR_VARIANCE = 0.02
"""Variance of a reviewer about whom nothing is known."""
PRIOR_BIAS_VARIANCE = 0.0075
"""Variance of the biases of such reviewers."""
PRIOR_SHARED = 0.3
"""Share of an unknown reviewer's variance that its family shares."""
PSEUDO_REVIEWS = 6.0
"""So many reviews the pool's variance counts for against a reviewer's own."""
PSEUDO_SHARED = 20.0
"""So many reviews the pool's shared variance counts for against a family's own."""
PSEUDO_POOL = 20.0
"""So many reviews the prior counts for against the pool."""
TELLING = 20.0
"""Reviews beside a member of its family, and beside others, before a family's sharing can be told."""
HALF_LIFE_S = 90 * 86_400.0
"""After so many seconds a review counts half."""
ROUNDS = 60


@dataclass(frozen=True)
class RawReview:
    """One stored grade: `at` in seconds (any origin), names opaque."""

    item: str
    reviewer: str
    family: str
    kind: str
    grade: float
    at: float


@dataclass(frozen=True)
class Reviewer:
    """What is known of one: bias and its uncertainty, own variance, faded count of reviews."""

    family: str
    bias: float
    bias_variance: float
    variance: float
    reviews: float


@dataclass(frozen=True)
class Pool:
    """One kind of task: its reviewers, what families share, and what holds for those not seen."""

    reviewers: Mapping[str, Reviewer] = field(default_factory=dict)
    shared: Mapping[str, float] = field(default_factory=dict)  # family → variance
    shared_pool: float = PRIOR_SHARED * PRIOR_VARIANCE
    variance: float = (1 - PRIOR_SHARED) * PRIOR_VARIANCE
    bias_variance: float = PRIOR_BIAS_VARIANCE
    told: frozenset[str] = frozenset()  # families whose sharing can be told


@dataclass(frozen=True)
class Memory:
    """A snapshot's content: one pool for all kinds together, and one for each kind, leaning on it.

    The empty memory (number 0) knows nothing: consensus grades are then plain means.
    """

    overall: Pool | None = None
    kinds: Mapping[str, Pool] = field(default_factory=dict)

    def pool(self, kind: str) -> Pool | None:
        """What holds for a kind of task; None if nothing is known at all."""
        return self.kinds.get(kind, self.overall)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; floats survive bit for bit."""
        if self.overall is None:
            return {}
        return {
            "overall": _pool_to_json(self.overall),
            "kinds": {kind: _pool_to_json(pool) for kind, pool in sorted(self.kinds.items())},
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Memory:
        """The inverse of `to_json`."""
        if not body:
            return cls()
        kinds = {kind: _pool_from_json(pool) for kind, pool in body["kinds"].items()}
        return cls(_pool_from_json(body["overall"]), kinds)


def estimate(reviews: Sequence[RawReview], *, half_life_s: float = HALF_LIFE_S) -> Memory:
    """The memory from raw grades; their order has no influence."""
    if not reviews:
        return Memory()
    overall = _fit(reviews, half_life_s, None)
    by_kind: dict[str, list[RawReview]] = defaultdict(list)
    for review in reviews:
        by_kind[review.kind].append(review)
    if len(by_kind) == 1:
        return Memory(overall, dict.fromkeys(by_kind, overall))
    return Memory(overall, {kind: _fit(rows, half_life_s, overall) for kind, rows in sorted(by_kind.items())})


@dataclass
class _Group:
    """All items with the same set of reviewers: faded count, sum of grades, sum of products."""

    members: NDArray[np.intp]
    count: float
    total: Array  # (m,)
    products: Array  # (m, m)


def _groups(
    reviews: Iterable[RawReview], place: Mapping[str, int], newest: float, half_life_s: float
) -> list[_Group]:
    items: dict[str, dict[int, RawReview]] = defaultdict(dict)
    for review in sorted(reviews, key=lambda r: (r.item, r.reviewer, r.at, r.grade)):
        items[review.item][place[review.reviewer]] = review
    groups: dict[tuple[int, ...], _Group] = {}
    for rows in items.values():
        members = tuple(sorted(rows))
        if len(members) < 2:
            continue  # one grade tells nothing about differences
        grades = np.array([rows[m].grade for m in members])
        age_s = newest - max(rows[m].at for m in members)
        weight = 0.5 ** (age_s / half_life_s)
        group = groups.get(members)
        if group is None:
            m = len(members)
            group = groups[members] = _Group(np.array(members), 0.0, np.zeros(m), np.zeros((m, m)))
        group.count += weight
        group.total += weight * grades
        group.products += weight * np.outer(grades, grades)
    return [groups[members] for members in sorted(groups)]


def _fit(reviews: Sequence[RawReview], half_life_s: float, parent: Pool | None) -> Pool:
    family_of = {r.reviewer: r.family for r in reviews}
    names = sorted(family_of)
    families = sorted(set(family_of.values()))
    family = np.array([families.index(family_of[name]) for name in names])
    newest = max(r.at for r in reviews)
    groups = _groups(reviews, {name: k for k, name in enumerate(names)}, newest, half_life_s)
    return _expectation_maximisation(names, families, family, groups, parent or Pool())


def _expectation_maximisation(
    names: Sequence[str], families: Sequence[str], family: NDArray[np.intp], groups: list[_Group], prior: Pool
) -> Pool:
    n = len(names)
    known = [prior.reviewers.get(name) for name in names]
    centre = np.array([r.bias if r else 0.0 for r in known])  # a kind leans on all kinds together
    centre_variance = np.array([r.variance if r else prior.variance for r in known])
    centre_shared = np.array([prior.shared.get(f, prior.shared_pool) for f in families])
    count = np.zeros(n)
    beside = np.zeros(len(families))  # reviews beside a member of the family
    for g in groups:
        count[g.members] += g.count
        same = family[g.members][:, None] == family[g.members][None, :]
        np.fill_diagonal(same, val=False)
        for member in g.members[same.any(axis=1)]:
            beside[family[member]] += g.count / 2
    tau2, pool_variance, pool_shared = prior.bias_variance, prior.variance, prior.shared_pool
    own, shared, bias = centre_variance.copy(), centre_shared.copy(), centre.copy()
    spread = np.full(n, tau2)
    for _ in range(ROUNDS):
        precision = np.diag(np.full(n, 1 / tau2))
        pull = centre / tau2
        projections = []
        for g in groups:
            p = _projection(own[g.members], shared, family[g.members])
            projections.append(p)
            precision[np.ix_(g.members, g.members)] += g.count * p
            pull[g.members] += p @ g.total
        covariance = np.linalg.inv(precision)
        bias = covariance @ pull
        spread = np.diag(covariance)
        own_sum, shared_sum, shared_count = np.zeros(n), np.zeros(len(families)), np.zeros(len(families))
        for g, p in zip(groups, projections, strict=True):
            m = g.members
            b = bias[m]
            scatter = g.products - np.outer(g.total, b) - np.outer(b, g.total) + g.count * np.outer(b, b)
            scatter += g.count * covariance[np.ix_(m, m)]
            explained = p @ scatter @ p
            d = own[m]
            np.add.at(own_sum, m, d**2 * np.diag(explained) + g.count * (d - d**2 * np.diag(p)))
            for f in np.unique(family[m]):
                h = (family[m] == f).astype(float)
                c = shared[f]
                shared_sum[f] += c**2 * (h @ explained @ h) + g.count * (c - c**2 * (h @ p @ h))
                shared_count[f] += g.count
        if not prior.reviewers:  # the pool itself is learned once, over all kinds
            total = count.sum()
            pool_variance = (PSEUDO_POOL * prior.variance + own_sum.sum()) / (PSEUDO_POOL + total)
            pool_shared = (PSEUDO_POOL * prior.shared_pool + shared_sum.sum()) / (
                PSEUDO_POOL + shared_count.sum()
            )
            centre_variance = np.full(n, pool_variance)
            centre_shared = np.full(len(families), pool_shared)
            tau2 = (4 * prior.bias_variance + float(bias @ bias + spread.sum())) / (4 + n)
        own = (PSEUDO_REVIEWS * centre_variance + own_sum) / (PSEUDO_REVIEWS + count)
        shared = (PSEUDO_SHARED * centre_shared + shared_sum) / (PSEUDO_SHARED + shared_count)
    apart = count.sum() - beside.sum()
    told = {
        name
        for k, name in enumerate(families)
        if len(families) >= 3 and beside[k] >= TELLING and apart >= TELLING
    }
    return Pool(
        reviewers={
            name: Reviewer(
                families[family[k]], float(bias[k]), float(spread[k]), float(own[k]), float(count[k])
            )
            for k, name in enumerate(names)
        },
        shared={name: float(shared[k]) for k, name in enumerate(families)},
        shared_pool=float(pool_shared),
        variance=float(pool_variance),
        bias_variance=float(tau2),
        told=frozenset(told) | prior.told,
    )


def _projection(own: Array, shared: Array, family: NDArray[np.intp]) -> Array:
    """P = C⁻¹ − C⁻¹ 1 1ᵀ C⁻¹ / (1ᵀ C⁻¹ 1): the precision of what is left once the item's grade is free."""
    inverse = np.linalg.inv(np.diag(own) + np.where(family[:, None] == family, shared[family], 0))
    rows = inverse.sum(axis=1)
    return np.asarray(inverse - np.outer(rows, rows) / rows.sum())


def _pool_to_json(pool: Pool) -> dict[str, Any]:
    return {
        "reviewers": {name: vars(reviewer) for name, reviewer in sorted(pool.reviewers.items())},
        "shared": dict(sorted(pool.shared.items())),
        "shared_pool": pool.shared_pool,
        "variance": pool.variance,
        "bias_variance": pool.bias_variance,
        "told": sorted(pool.told),
    }


def _pool_from_json(body: Mapping[str, Any]) -> Pool:
    return Pool(
        reviewers={name: Reviewer(**values) for name, values in body["reviewers"].items()},
        shared=dict(body["shared"]),
        shared_pool=body["shared_pool"],
        variance=body["variance"],
        bias_variance=body["bias_variance"],
        told=frozenset(body["told"]),
    )
