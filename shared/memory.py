"""The reviewers' memory: each reviewer's bias and variance, and what a family shares, from raw grades alone.

A grade is g(u, i) = q_i + b_u + f(family of u, i) + e(u, i): the item's true grade, the reviewer's bias, an
error its family shares on that item (variance c of the family), and its own (variance s_u). Only differences
of reviewers on the same item are used: q cancels (a flat prior), so no ground truth is needed, and the common
offset of all biases is 0. Estimated by expectation-maximisation with shrinkage (algorithms, section 1,
"Vancouver with a memory"); it needs only counts, sums and products per set of reviewers, so only adding
these up takes longer with more reviews, and no more space.

All grades are in [0, 1], variances in squares of that.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
PSEUDO_REVIEWERS = 4.0
"""So many reviewers the prior variance of biases counts for against the biases found."""
KIND_BIAS = 0.25
"""Share of the biases' variance that is particular to a kind of task."""
INHERITED = 0.25
"""Weight of a predecessor's reviews for the reviewer that replaces it."""
TELLING = 20.0
"""Reviews beside a member of its family, and beside others, before a family's sharing can be told."""
HALF_LIFE_S = 90 * 86_400.0
"""After so many seconds a review counts half."""
ROUNDS = 60
BATCH = 20_000
"""So many items wait until they are added up together."""


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


def estimate(
    reviews: Iterable[RawReview],
    *,
    half_life_s: float = HALF_LIFE_S,
    predecessors: Mapping[str, str] | None = None,
) -> Memory:
    """The memory from raw grades; their order has no influence.

    `predecessors` maps a reviewer to the one it replaces (an earlier version of the model), from whose
    numbers it starts, at `INHERITED` of their weight. A reviewer's second grade for an item replaces the
    first.
    """
    items: dict[str, list[RawReview]] = defaultdict(list)
    for review in reviews:
        items[review.item].append(review)
    sums = Sums(half_life_s)
    for _, given in sorted(items.items()):
        sums.add(given)
    return sums.memory(predecessors)


class Sums:
    """What the memory is estimated from, added up item by item: it grows with the sets of reviewers that met
    in a kind of task, not with their grades."""

    def __init__(self, half_life_s: float = HALF_LIFE_S) -> None:
        self._overall = _Part(half_life_s)
        self._kinds: dict[str, _Part] = defaultdict(lambda: _Part(half_life_s))
        self._added = 0

    def add(self, reviews: Sequence[RawReview]) -> None:
        """All reviews of one item, in any order; an item comes once.

        Up to `BATCH` items their order has no influence on any bit, above that on rounding alone.
        """
        self._overall.add(reviews)
        for kind in {r.kind for r in reviews}:
            self._kinds[kind].add([r for r in reviews if r.kind == kind])
        self._added += 1
        if self._added % BATCH == 0:
            for part in (self._overall, *self._kinds.values()):
                part.settle()

    def memory(self, predecessors: Mapping[str, str] | None = None) -> Memory:
        """The memory from what has been added; predecessors as `estimate` takes them."""
        if not self._kinds:
            return Memory()
        heirs = predecessors or {}
        overall = _fit(self._overall, heirs, Pool())
        if len(self._kinds) == 1:
            return Memory(overall, dict.fromkeys(self._kinds, overall))
        kinds = sorted(self._kinds.items())
        return Memory(overall, {kind: _fit(part, heirs, overall) for kind, part in kinds})


@dataclass
class _Group:
    """All items with the same m reviewers: faded count, sums of grades (m,) and of their products (m, m)."""

    members: tuple[str, ...]
    count: float
    total: Array
    products: Array

    def times(self, share: float) -> _Group:
        return _Group(self.members, share * self.count, share * self.total, share * self.products)


class _Part:
    """The sums of all kinds together, or of one; an item with one grade tells nothing of differences."""

    def __init__(self, half_life_s: float) -> None:
        self.family_of: dict[str, str] = {}
        self._half_life_s = half_life_s
        self._newest = -math.inf
        self._waiting: list[tuple[str, tuple[str, ...], float, list[float]]] = []
        self._sums: dict[tuple[str, ...], tuple[float, _Group]] = {}  # faded as of that time

    def add(self, reviews: Sequence[RawReview]) -> None:
        given = {r.reviewer: r for r in sorted(reviews, key=lambda r: (r.reviewer, r.at, r.grade))}
        self.family_of.update((name, r.family) for name, r in given.items())
        at = max(r.at for r in reviews)
        self._newest = max(self._newest, at)
        if len(given) > 1:
            self._waiting.append((reviews[0].item, tuple(given), at, [r.grade for r in given.values()]))

    def settle(self) -> None:
        """Add up what waits: in batches, since a few large products are far faster than many small ones."""
        rows: dict[tuple[str, ...], list[list[float]]] = defaultdict(list)
        for _, members, at, given in sorted(self._waiting):
            rows[members].append([self._faded(at), *given])
        self._waiting = []
        for members, lines in rows.items():
            table = np.array(lines)
            weight, grades = table[:, :1], table[:, 1:]
            faded = weight * grades
            found = _Group(members, float(weight.sum()), faded.sum(axis=0), faded.T @ grades)
            if members in self._sums:
                at, group = self._sums[members]
                before = group.times(self._faded(at))
                found.count += before.count
                found.total += before.total
                found.products += before.products
            self._sums[members] = self._newest, found

    def groups(self) -> list[_Group]:
        """The sums as of the newest review."""
        self.settle()
        return [group.times(self._faded(at)) for _, (at, group) in sorted(self._sums.items())]

    def _faded(self, at: float) -> float:
        return float(0.5 ** ((self._newest - at) / self._half_life_s))


def _inherited(groups: Sequence[_Group], heirs: Mapping[str, str]) -> Iterator[_Group]:
    """A predecessor's reviews once more, at a share of their weight, as if its heir had given them."""
    for heir, before in sorted(heirs.items()):
        share, ancestor = INHERITED, before
        while ancestor and share > 0.01:  # the predecessor's predecessor, too
            for g in groups:
                if ancestor in g.members and heir not in g.members:
                    members = tuple(heir if name == ancestor else name for name in g.members)
                    yield replace(g.times(share), members=members)
            share, ancestor = share * INHERITED, heirs.get(ancestor, "")


def _told(groups: Sequence[_Group], family_of: Mapping[str, str]) -> frozenset[str]:
    """Families with enough reviews beside a member of their own, and beside others, of three at least."""
    beside: dict[str, float] = defaultdict(float)
    apart: dict[str, float] = defaultdict(float)
    for g in groups:
        families = Counter(family_of[name] for name in g.members)
        for family, members in families.items():
            beside[family] += members * g.count if members > 1 else 0.0
            apart[family] += members * g.count if len(families) > 1 else 0.0
    if len(set(family_of.values())) < 3:
        return frozenset()
    return frozenset(f for f in beside if beside[f] >= TELLING and apart[f] >= TELLING)


@dataclass
class _Stack:
    """G groups of one size: members as places (G, m), counts (G, 1, 1), totals (G, m, 1), products."""

    members: NDArray[np.intp]
    count: Array
    total: Array
    products: Array  # (G, m, m)

    def of(self, matrix: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """The groups' parts of an (n, n) matrix: (G, m, m)."""
        return matrix[self.members[:, :, None], self.members[:, None, :]]

    def add_to(self, matrix: Array, parts: Array) -> None:
        """Add (G, m, m) where it belongs in an (n, n) matrix."""
        np.add.at(matrix, (self.members[:, :, None], self.members[:, None, :]), parts)


def _stacks(groups: Sequence[_Group], names: Sequence[str]) -> list[_Stack]:
    place = {name: k for k, name in enumerate(names)}
    stacks = []
    for size in sorted({len(g.members) for g in groups}):
        these = [g for g in groups if len(g.members) == size]
        stacks.append(
            _Stack(
                members=np.array([[place[name] for name in g.members] for g in these]),
                count=np.array([g.count for g in these])[:, None, None],
                total=np.array([g.total for g in these])[:, :, None],
                products=np.array([g.products for g in these]),
            )
        )
    return stacks


def _fit(part: _Part, heirs: Mapping[str, str], prior: Pool) -> Pool:
    """One pool: the one for all kinds together, or that of a kind, which leans on it (`prior`)."""
    family_of = {name: reviewer.family for name, reviewer in prior.reviewers.items()}
    family_of.update(part.family_of)
    for heir, before in sorted(heirs.items()):
        if before in family_of:
            family_of.setdefault(heir, family_of[before])
    groups = part.groups()
    names, families = sorted(family_of), sorted(set(family_of.values()))
    stacks = _stacks([*groups, *_inherited(groups, heirs)], names)
    member = np.array([[family_of[name] == family for name in names] for family in families], dtype=float)
    found = _expectation_maximisation(names, families, member, stacks, prior)
    return replace(found, told=prior.told | _told(groups, family_of))


def _expectation_maximisation(
    names: Sequence[str], families: Sequence[str], member: Array, stacks: Sequence[_Stack], prior: Pool
) -> Pool:
    """Own variances (n,), shared ones (F,) and the posterior of the biases; `member` (F, n) is 0 or 1."""
    n, same = len(names), member.T @ member
    known = [prior.reviewers.get(name) for name in names]
    centre = np.array([r.bias if r else 0.0 for r in known])
    kind_bias = KIND_BIAS * prior.bias_variance
    doubt = np.array([r.bias_variance + kind_bias if r else prior.bias_variance for r in known])
    centre_own = np.array([r.variance if r else prior.variance for r in known])
    centre_shared = np.array([prior.shared.get(f, prior.shared_pool) for f in families])
    pool_own, pool_shared, bias_variance = prior.variance, prior.shared_pool, prior.bias_variance
    count, shared_count = np.zeros(n), np.zeros(len(families))
    for s in stacks:
        np.add.at(count, s.members, s.count[:, :, 0])
        shared_count += (member[:, s.members].any(axis=2) * s.count[:, 0, 0]).sum(axis=1)
    own, shared, bias, covariance = centre_own, centre_shared, centre, np.diag(doubt)
    for _ in range(ROUNDS):
        errors = np.diag(own) + same * (shared @ member)
        projections = [_projection(s.of(errors)) for s in stacks]
        precision, pull = np.diag(1 / doubt), centre / doubt
        for s, p in zip(stacks, projections, strict=True):
            s.add_to(precision, s.count * p)
            np.add.at(pull, s.members, (p @ s.total)[:, :, 0])
        covariance = np.linalg.inv(precision)
        bias = covariance @ pull
        excess = np.zeros((n, n))  # of the errors' scatter, in units of their precision
        for s, p in zip(stacks, projections, strict=True):
            b = bias[s.members][:, :, None]
            cross = s.total @ b.transpose(0, 2, 1)
            scatter = s.products - cross - cross.transpose(0, 2, 1)
            scatter += s.count * (b @ b.transpose(0, 2, 1) + s.of(covariance))
            s.add_to(excess, p @ scatter @ p - s.count * p)
        own_sum = own * count + own**2 * np.diag(excess)
        shared_sum = shared * shared_count + shared**2 * np.diag(member @ excess @ member.T)
        if not prior.reviewers:  # the pool itself is learned once, over all kinds together
            pool_own = _shrunk(own_sum.sum(), count.sum(), prior.variance, PSEUDO_POOL)
            pool_shared = _shrunk(shared_sum.sum(), shared_count.sum(), prior.shared_pool, PSEUDO_POOL)
            squares = float(bias @ bias + np.trace(covariance))
            bias_variance = _shrunk(squares, n, prior.bias_variance, PSEUDO_REVIEWERS)
            centre_own, centre_shared = np.full(n, pool_own), np.full(len(families), pool_shared)
            doubt = np.full(n, bias_variance)
        own = _shrunk(own_sum, count, centre_own, PSEUDO_REVIEWS)
        shared = _shrunk(shared_sum, shared_count, centre_shared, PSEUDO_SHARED)
    apart = np.eye(n) - 1 / n  # the common offset of all biases is 0: what is not known of it does not count
    met = count + np.array([r.reviews if r else 0.0 for r in known])  # never compared: as a stranger
    spread = np.where(met > 0, np.diag(apart @ covariance @ apart), bias_variance)
    of_family = member.argmax(axis=0)
    return Pool(
        reviewers={
            name: Reviewer(families[of_family[k]], *(float(x[k]) for x in (bias, spread, own, count)))
            for k, name in enumerate(names)
        },
        shared={name: float(shared[k]) for k, name in enumerate(families)},
        shared_pool=float(pool_shared),
        variance=float(pool_own),
        bias_variance=float(bias_variance),
    )


def _shrunk(total: Any, count: Any, centre: Any, pseudo: float) -> Any:
    """A mean of squares, with `pseudo` observations of the centre's size added."""
    return (pseudo * centre + total) / (pseudo + count)


def _projection(errors: NDArray[np.floating[Any]]) -> Array:
    """P = C⁻¹ − C⁻¹ 1 1ᵀ C⁻¹ / (1ᵀ C⁻¹ 1), (G, m, m): the precision once the item's grade is free."""
    inverse = np.linalg.inv(errors)
    rows = inverse.sum(axis=2, keepdims=True)
    return np.asarray(inverse - rows @ rows.transpose(0, 2, 1) / rows.sum(axis=1, keepdims=True))


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
