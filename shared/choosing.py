"""Who sits, from what was learned: PERFORMANCE and CHEMISTRY (algorithms, section 4).

PERFORMANCE: the best by value. CHEMISTRY: the set of the highest score = expected value (members and pairs)
+ optimism · its standard error - penalties for time, price and lost seats. The best of many estimates is too
high by construction; so the number of sets within one standard error is part of the choice.

Ties: among sets whose expected difference is within one standard error of that difference, the cheaper, as
long as little is given up for it: where history is thin nearly all sets are within one standard error, and
the cheapest is expected to be much worse. Then, among those as cheap, the more varied in family. Variety is
an argument about pairs, so it decides only what the doubt about pairs leaves open: where pairs are known not
to matter, it does not outweigh a better member.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from shared.chemistry.ensemble_value import Ints, difference_se, known_of, values
from shared.chemistry.snapshot import Basis, Learned
from shared.errors import NotEnoughModels
from shared.family_mix import Families, how_many
from shared.seeding import shuffled
from shared.selection import Candidate, Strategy

EXACT = 200_000
"""Subsets up to which all are looked at; above, hill climbing."""

RESTARTS = 20
ALTERNATIVES = 10
_SAME = 1e-12  # scores and prices that differ by rounding are equal


@dataclass(frozen=True)
class Dials:
    """What weighs how much; see the settings of the same names."""

    explore_share: float = 0.05
    optimism: float = 0.1
    penalty_per_minute: float = 0.01
    penalty_per_usd: float = 0.05
    penalty_failure: float = 0.1
    price_tie: float = 0.01


@dataclass(frozen=True)
class Choice:
    """Who was chosen and why. `value` is what is promised: on the basis' scale, in [0, 1], no penalties.

    parts: `value` = `members` + `pairs`; `score` = value + `optimism` - `latency` - `price` - `failures`;
    `minutes`, `usd` and `lost_seats` are what these three are for; `unknown_prices` counts members whose
    price was taken as the dearest known, `unknown_latencies` likewise the slowest.
    """

    strategy: Strategy
    models: tuple[str, ...]  # sorted
    basis: Basis
    value: float
    value_se: float
    parts: Mapping[str, float]
    near_equal: int  # other sets within one standard error of the difference
    alternatives: tuple[Choice, ...] = ()
    weakest: str = ""  # whose seat a model without history takes
    without_history: tuple[str, ...] = ()  # candidates, sorted
    exact: bool = True  # all sets were looked at


def choose(
    strategy: str,
    n: int,
    candidates: Sequence[Candidate],
    learned: Learned | None,
    dials: Dials,
    usd: Mapping[str, float | None],
    families: Families = "any",
) -> Choice | None:
    """Whom to draw among these candidates, by what is known of them; None where history does not say.

    `usd`: expected price of one consultation's seat by model, None (or absent) where unknown: then the
    dearest known is assumed. None for a strategy that does not learn, without history, or where fewer than n
    models with history may sit together. Deterministic; the candidates' order has no influence.
    """
    if strategy not in (Strategy.PERFORMANCE, Strategy.CHEMISTRY) or learned is None:
        return None
    with_history = sorted((c for c in candidates if c.name in learned.models), key=lambda c: c.name)
    if len(with_history) < n:
        return None
    try:
        wanted = how_many(families, n, {c.name: c.family for c in with_history})
    except NotEnoughModels:
        return None
    bench = _Bench(with_history, learned, dials, usd, wanted)
    if strategy == Strategy.PERFORMANCE:
        subsets, exact = bench.top(n), False
    else:
        subsets, exact = bench.subsets(n)
    unknown = tuple(sorted(c.name for c in candidates if c.name not in learned.models))
    found = bench.best(Strategy(strategy), subsets)
    return replace(found, without_history=unknown, exact=exact or strategy == Strategy.PERFORMANCE)


class _Bench:
    """The candidates with a history as arrays, sorted by name, and what a set of them is worth."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        learned: Learned,
        dials: Dials,
        usd: Mapping[str, float | None],
        wanted: int | None,
    ) -> None:
        self.names = [c.name for c in candidates]
        self.dials, self.wanted = dials, wanted
        self.known = known_of(self.names, learned, {c.name: c.family for c in candidates})
        places = sorted({c.family for c in candidates})
        self.family = np.array([places.index(c.family) for c in candidates])
        of = [learned.models[name] for name in self.names]
        self.minutes, self.no_latency = _filled(
            [None if m.latency_s is None else m.latency_s / 60 for m in of]
        )
        self.usd, self.no_price = _filled([usd.get(name) for name in self.names])
        self.failure = np.array([m.failure_rate for m in of])
        # best first; ties by name, as the sort is stable
        self.rank = np.argsort(-self.known.value, kind="stable")

    def subsets(self, n: int) -> tuple[Ints, bool]:
        """Every allowed set where they are few, else those that climbing saw; and whether it is all."""
        size = len(self.names)
        if math.comb(size, n) <= EXACT:
            found = np.array(list(combinations(range(size), n)), dtype=int)
            return found[self._allowed(found)], True
        return self._climbed(n), False

    def top(self, n: int) -> Ints:
        """The best n by value as one row; with a wish for families, the set of the highest sum of values."""
        ranks = [int(k) for k in self.rank]
        if self.wanted is None:
            chosen = ranks[:n]
        elif self.wanted == 1:
            groups = [[k for k in ranks if self.family[k] == f][:n] for f in sorted(set(self.family))]
            chosen = max((g for g in groups if len(g) == n), key=lambda g: float(self.known.value[g].sum()))
        else:
            firsts = [next(k for k in ranks if self.family[k] == f) for f in sorted(set(self.family))]
            chosen = [k for k in ranks if k in firsts][:n]
            chosen += [k for k in ranks if k not in chosen][: n - len(chosen)]
        return np.array([sorted(chosen)], dtype=int)

    def best(self, strategy: Strategy, subsets: Ints) -> Choice:
        """The choice among these sets, with its ties and alternatives."""
        valued = values(self.known, subsets)
        minutes = self.minutes[subsets].max(axis=1)
        price = self.usd[subsets].sum(axis=1)
        lost = self.failure[subsets].sum(axis=1)
        dials = self.dials
        columns = {
            "members": valued.alone,
            "pairs": valued.value - valued.alone,
            "value": valued.value,
            "optimism": dials.optimism * valued.se,
            "latency": dials.penalty_per_minute * minutes,
            "price": dials.penalty_per_usd * price,
            "failures": dials.penalty_failure * lost,
            "minutes": minutes,
            "usd": price,
            "lost_seats": lost,
            "unknown_prices": self.no_price[subsets].sum(axis=1).astype(float),
            "unknown_latencies": self.no_latency[subsets].sum(axis=1).astype(float),
        }
        columns["score"] = score = (
            columns["value"]
            + columns["optimism"]
            - (columns["latency"] + columns["price"] + columns["failures"])
        )
        order = np.argsort(-score, kind="stable")  # ties by name: subsets come in the order of names
        first = int(order[0])
        behind = score[first] - score
        near = behind <= difference_se(self.known, valued, first) + _SAME
        floor = price[near & (behind <= dials.price_tie + _SAME)].min()
        cheap = near & (np.abs(price - floor) <= _SAME)
        start = int(order[np.argmax(cheap[order])])  # the best of the cheapest
        no_worse = valued.alone >= valued.alone[start] - _SAME
        doubtful = score[start] - score <= self._pair_doubt(subsets, start) + _SAME
        open_ = cheap & no_worse & doubtful
        variety = np.array([len(set(row)) for row in self.family[subsets[open_]].tolist()])
        most = np.flatnonzero(open_)[variety == variety.max()]
        chosen = int(most[np.argmax(score[most])])

        def made(k: int) -> Choice:
            members = [int(m) for m in subsets[k]]
            weakest = max(members, key=lambda m: int(np.flatnonzero(self.rank == m)[0]))
            return Choice(
                strategy,
                tuple(self.names[m] for m in members),
                self.known.basis,
                float(valued.value[k]),
                float(valued.se[k]),
                {name: float(column[k]) for name, column in columns.items()},
                int(near.sum()) - 1,
                weakest=self.names[weakest],
            )

        others = [int(k) for k in order[: ALTERNATIVES + 1] if k != chosen][:ALTERNATIVES]
        return replace(made(chosen), alternatives=tuple(made(k) for k in others))

    def _pair_doubt(self, subsets: Ints, start: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Standard error of each set's difference from `start` that comes from the effects of pairs alone."""
        certain = replace(self.known, value_se=np.zeros_like(self.known.value_se))
        return difference_se(certain, values(certain, subsets), start)

    def _allowed(self, subsets: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        if self.wanted is None:
            return np.ones(len(subsets), dtype=bool)
        ordered = np.sort(self.family[subsets], axis=1)
        return np.asarray((np.diff(ordered, axis=1) != 0).sum(axis=1) + 1 == self.wanted)

    def _climbed(self, n: int) -> Ints:
        """Hill climbing by exchanges from the best by value and seeded starts; all sets it looked at."""
        size = len(self.names)
        seen: set[tuple[int, ...]] = set()
        starts = [self.top(n)[0].tolist()]
        starts += [self._repaired(shuffled(range(size), k, "climb"), n) for k in range(RESTARTS)]
        for start in starts:
            here = tuple(sorted(start))
            while True:
                around = [
                    tuple(sorted((*(m for m in here if m != out), new)))
                    for out in here
                    for new in range(size)
                    if new not in here
                ]
                rows = np.array([here, *around], dtype=int)
                rows = rows[self._allowed(rows)]
                seen.update(map(tuple, rows.tolist()))
                best = tuple(rows[int(np.argmax(self._score(rows)))].tolist())
                if best == here:
                    break
                here = best
        return np.asarray(sorted(seen))

    def _score(self, rows: Ints) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        valued, dials = values(self.known, rows), self.dials
        penalties = dials.penalty_per_minute * self.minutes[rows].max(axis=1)
        penalties += dials.penalty_per_usd * self.usd[rows].sum(axis=1)
        penalties += dials.penalty_failure * self.failure[rows].sum(axis=1)
        return np.asarray(valued.value + dials.optimism * valued.se - penalties)

    def _repaired(self, order: list[int], n: int) -> list[int]:
        """The first n in this order that have the families asked for."""
        if self.wanted is None:
            return order[:n]
        if self.wanted == 1:
            sizes = np.bincount(self.family)
            family = next(self.family[k] for k in order if sizes[self.family[k]] >= n)
            return [k for k in order if self.family[k] == family][:n]
        firsts = {int(self.family[k]): k for k in reversed(order)}
        taken = sorted(firsts.values(), key=order.index)[:n]
        return taken + [k for k in order if k not in taken][: n - len(taken)]


def _filled(
    known: Sequence[float | None],
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Unknown numbers as the largest known (0 if none is), and which were unknown."""
    missing = np.array([k is None for k in known])
    largest = max((k for k in known if k is not None), default=0.0)
    return np.array([largest if k is None else float(k) for k in known]), missing
