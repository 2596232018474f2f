"""The cost-based chemistry of every pair: an exact maximum over all contexts in polynomial time.

chem(a, b) = max over contexts X of |I| / C, where I = cost(X∪{a,b}) − cost(X∪{a}) − cost(X∪{b}) + cost(X) and
C = cost(X∪{a,b}); a context counts only if all four costs are above 0 (arXiv 2510.03930, section 3).

With the used models by falling quality and a before b, what stands ahead of b matters to I by its
count k alone:

    I = −π_b / ((k+1)(k+2)) + Σ over chosen x behind b of 2 π_x / (r(r+1)(r+2)),   r = rank of x within X,

and C is a sum of π_x / rank too. Both are sums along a path through the states (models passed, chosen so far,
has one of them a penalty), so the best X for s·I − λ·C is a dynamic programme, and raising λ to the ratio of
that X until none is above it (Dinkelbach 1967) ends at the maximum. O(n⁴) for all pairs of n models.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
import numpy.typing as npt

from shared.chemistry.cost import USAGE, Rated, penalty, ranked

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

TOLERANCE = 1e-11
"""Ratios this close are equal. Penalties span 1e-22…1e-1: below it, rounding of the large hides the small."""

_CHUNK = 256  # pairs at a time, so that memory is bounded: a chunk of 60 models takes 15 MB


@dataclass(frozen=True)
class Strongest:
    """The largest |I| / C of a pair, at most 1, and the context where it is reached, sorted by name.

    sign: −1 synergy (together they cost less than apart), +1 antagonism, 0 where no context shows any.
    """

    value: float
    sign: int
    context: tuple[str, ...]


def strongest(
    models: Sequence[Rated], *, usage: float = USAGE, empty_context: bool
) -> dict[tuple[str, str], Strongest]:
    """The chemistry of all pairs (a, b), a < b by name, within 2e-11; absent where no context counts.

    empty_context: the reference form, where a set without a used model costs 1; else such a set costs nothing
    and is no context. Of contexts equal within `TOLERANCE` the smallest is named, then the one whose last
    member comes earliest by falling quality and name (then the last but one, and so on).

    Raises ValueError if a name comes twice or a number is outside its range.
    """
    for model in models:
        if not (0 <= model.quality <= 10 and 0 <= model.accuracy <= 1):
            raise ValueError(f"{model.name}: quality must be in 0…10 and accuracy in 0…1")
    if len({m.name for m in models}) != len(models):
        raise ValueError("each model may come once")
    used = ranked(models, usage)
    costs = {m.name: penalty(m) for m in used}
    alone = {}
    for a, b in combinations(used, 2) if empty_context else ():
        if costs[a.name] > 0 and costs[b.name] > 0:
            ratio = (1 - costs[b.name] / 2) / (costs[a.name] + costs[b.name] / 2)
            alone[_key(a, b)] = Strongest(min(1.0, ratio), 1, ())
    found = _with_contexts(used, {pair for pair, one in alone.items() if one.value == 1})
    for pair, one in alone.items():
        if pair not in found or one.value >= found[pair].value - TOLERANCE:
            found[pair] = one
    for a, b in combinations(models, 2):
        if a.name in costs and b.name in costs:
            continue
        # An unused model changes no cost: I = 0 in every context that counts.
        if empty_context and costs.get(a.name) != 0 and costs.get(b.name) != 0:
            found[_key(a, b)] = _NOTHING
        else:
            others = (m.name for m in used if m not in (a, b) and costs[m.name] > 0)
            for first in islice(others, 1):
                found[_key(a, b)] = Strongest(0.0, 0, (first,))
    return dict(sorted(found.items()))


_NOTHING = Strongest(0.0, 0, ())


def _key(a: Rated, b: Rated) -> tuple[str, str]:
    return (a.name, b.name) if a.name < b.name else (b.name, a.name)


def _with_contexts(used: Sequence[Rated], done: Set[tuple[str, str]]) -> dict[tuple[str, str], Strongest]:
    """The maximum over contexts of at least one used model, for pairs of used models that are not done."""
    penalties = np.array([penalty(m) for m in used])
    places = np.array(
        [(i, j) for i, j in combinations(range(len(used)), 2) if _key(used[i], used[j]) not in done],
        dtype=np.intp,
    ).reshape(-1, 2)
    positive = penalties > 0
    places = places[positive.sum() > positive[places].sum(axis=1)]  # a third model has a penalty
    found = {}
    for start in range(0, len(places), _CHUNK):
        chunk = places[start : start + _CHUNK]
        for (a, b), (value, sign, context) in zip(chunk.tolist(), _maximum(penalties, chunk), strict=True):
            names = tuple(sorted(used[x].name for x in np.flatnonzero(context).tolist()))
            found[_key(used[a], used[b])] = Strongest(value, sign, names)
    return found


def _maximum(penalties: Floats, places: Ints) -> list[tuple[float, int, Flags]]:
    """Value, sign and context (flags by rank) of each pair; `places` [pairs, 2]: ranks of a and b, a < b."""
    layers = _Layers(penalties, places)
    everyone = np.arange(len(places))
    best, signs = np.zeros(len(places)), np.ones(len(places))
    for sign in (1.0, -1.0):
        rows = everyone
        while len(rows):
            total = layers.forward(rows, np.full(len(rows), sign), best[rows] + TOLERANCE)
            size = total[-1, 1].argmax(axis=1)
            contexts = layers.walk(total, rows, size, np.zeros(len(rows)))
            difference, cost = layers.terms(rows, contexts)
            ratio = sign * difference / cost
            better = (total[-1, 1, np.arange(len(rows)), size] > 0) & (ratio > best[rows])
            rows, ratio = rows[better], ratio[better]
            best[rows], signs[rows] = ratio, sign
    total = layers.forward(everyone, signs, best - TOLERANCE)
    size = (total[-1, 1] >= 0).argmax(axis=1)  # the first, so the smallest
    contexts = layers.walk(total, everyone, size, total[-1, 1, everyone, size])
    difference, cost = layers.terms(everyone, contexts)
    values = np.where(best > TOLERANCE, np.minimum(np.abs(difference) / cost, 1.0), 0.0)
    kept = np.where(values > 0, np.sign(difference), 0.0)
    return [(float(v), int(s), c) for v, s, c in zip(values, kept, contexts, strict=True)]


class _Layers:
    """The layered graph of each pair: a layer a model by rank, states (has one a penalty, chosen so far)."""

    def __init__(self, penalties: Floats, places: Ints) -> None:
        self.penalties = penalties
        rank, (a, b) = np.arange(len(penalties)), places.T[:, :, None]
        # Ahead of both 0, a itself 1, between 2, b itself 3, behind both 4.
        self.role = 2 * ((rank > a).astype(np.intp) + (rank > b)) + (rank == a) + (rank == b)
        self.member = (rank == a) | (rank == b)
        k = np.arange(len(penalties) - 1.0)  # chosen before this model
        zero, behind = np.zeros_like(k), 2 / ((k + 1) * (k + 2) * (k + 3))
        # The share of a model's penalty in I and in C, by role and k.
        self.difference = np.array([zero, zero, zero, -1 / ((k + 1) * (k + 2)), behind])
        self.cost = np.array([1 / (k + 1), 1 / (k + 1), 1 / (k + 2), 1 / (k + 2), 1 / (k + 3)])

    def forward(self, rows: Ints, sign: Floats, ratio: Floats) -> Floats:
        """Best s·I − λ·C of every state: [models passed, has one a penalty, pair, chosen so far]."""
        sizes = self.cost.shape[1]
        total = np.full((len(self.penalties) + 1, 2, len(rows), sizes), -np.inf)
        total[0, 0, :, 0] = 0
        for x, own in enumerate(self.penalties):
            role, member = self.role[rows, x], self.member[rows, x, None]
            reach = min(x + 1, sizes)
            share = sign[:, None] * self.difference[role, :reach] - ratio[:, None] * self.cost[role, :reach]
            gain = own * share
            before, after = total[x, :, :, :reach], total[x + 1]
            after[:, :, :reach] = before + np.where(member, gain, 0.0)
            grown = min(reach, sizes - 1)  # a and b are never chosen
            chosen = before[:, :, :grown] + np.where(member, -np.inf, gain)[:, :grown]
            if own > 0:
                chosen[1] = np.maximum(chosen[0], chosen[1])
                chosen[0] = -np.inf
            after = after[:, :, 1 : grown + 1]
            np.maximum(after, chosen, out=after)
        return total

    def walk(self, total: Floats, rows: Ints, size: Ints, slack: Floats) -> Flags:
        """The context of `size` models that loses at most `slack`, leaving out models from the last on."""
        here, count, slack = np.arange(len(rows)), size.copy(), slack.copy()
        penalised = np.ones(len(rows), dtype=np.intp)
        contexts = np.zeros((len(rows), len(self.penalties)), dtype=np.bool_)
        for x in range(len(self.penalties) - 1, -1, -1):
            loss = total[x + 1, penalised, here, count] - total[x, penalised, here, count]
            member = self.member[rows, x]
            skipped = ~member & (loss <= slack)
            slack = np.where(skipped, slack - loss, slack)
            chosen = ~member & ~skipped
            contexts[:, x] = chosen
            count = count - chosen
            if self.penalties[x] > 0:
                penalised = np.where(chosen, total[x, :, here, count].argmax(axis=1), penalised)
        return contexts

    def terms(self, rows: Ints, contexts: Flags) -> tuple[Floats, Floats]:
        """I and C of each pair in its context."""
        before = contexts.cumsum(axis=1) - contexts
        penalties = self.penalties * (contexts | self.member[rows])
        role = self.role[rows]
        return (
            (penalties * self.difference[role, before]).sum(axis=1),
            (penalties * self.cost[role, before]).sum(axis=1),
        )
