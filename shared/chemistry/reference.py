"""Chemistry as published (arXiv 2510.03930), deterministic: for validation, never for choosing who sits.

A model stands by its best-accuracy row, a set without a used model costs 1, and the recommendation climbs
from past configurations. The published code breaks ties by the order of a hash set, here
size and names do.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from itertools import combinations
from typing import Protocol

from shared.chemistry.cost import USAGE, Rated
from shared.chemistry.pairs import strongest

FLOOR = 0.1
"""Least accuracy of a model: below it the reference raises it before the usage test."""
ALPHA = BETA = 0.5
STEPS = 10
_DIGITS = 11  # losses that agree in these decimals differ by the order of their sums alone
_EQUAL = 10.0**-_DIGITS

Table = Mapping[tuple[str, str], float]


class Row(Protocol):
    """What is read of a row of history."""

    @property
    def model(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def trial(self) -> str: ...
    @property
    def strategy(self) -> str: ...
    @property
    def quality(self) -> float | None: ...
    @property
    def accuracy(self) -> float | None: ...


def best_rows(rows: Iterable[Row]) -> dict[str, dict[str, tuple[Rated, str]]]:
    """By task and model: the row of the best accuracy (the first of equals) as (rated, its trial).

    Rows whose strategy was CHEMISTRY, or without quality or accuracy, are skipped; accuracy is at least
    FLOOR. Tasks are told apart by their name alone.
    """
    best: dict[str, dict[str, tuple[Rated, str]]] = {}
    for row in rows:
        if row.strategy == "CHEMISTRY" or row.quality is None or row.accuracy is None:
            continue
        of_task, accuracy = best.setdefault(row.task, {}), max(row.accuracy, FLOOR)
        if row.model not in of_task or accuracy > of_task[row.model][0].accuracy:
            of_task[row.model] = Rated(row.model, row.quality, accuracy), row.trial
    return best


def past_configurations(best: Mapping[str, tuple[Rated, str]]) -> list[frozenset[str]]:
    """The partition of one task's models by the trial of their best row, in order of their names."""
    by_trial: dict[str, set[str]] = {}
    for model, (_, trial) in best.items():
        by_trial.setdefault(trial, set()).add(model)
    return sorted((frozenset(models) for models in by_trial.values()), key=sorted)


def table(models: Sequence[Rated], usage: float = USAGE) -> dict[tuple[str, str], float]:
    """Chemistry of every pair (a, b), a < b, in [0, 1]; absent where no context counts. Floors accuracy."""
    floored = [Rated(m.name, m.quality, max(m.accuracy, FLOOR)) for m in models]
    found = strongest(floored, usage=usage, empty_context=True)
    return {pair: one.value for pair, one in found.items()}


def recommend(
    models: Sequence[Rated],
    past: Collection[Set[str]],
    chemistry: Table,
    *,
    usage: float = USAGE,
) -> frozenset[str] | None:
    """The ensemble of least loss that hill climbing reaches from past configurations; None: no answer.

    Starts are the past configurations of at least two models with a pair above 0 and a finite loss. Each
    step goes to the best of all sets with one model added, removed or swapped, of at least two models, if
    that is strictly better; at most STEPS. Of equal sets the smaller, then the first by names.

    Without any chemistry: if all models are used ("all good") the best single one, else ("all bad") none.
    """
    names = sorted(m.name for m in models)
    if not chemistry:
        if not models or any(m.accuracy <= usage for m in models):
            return None
        return frozenset({min(models, key=lambda m: (-m.accuracy, -m.quality, m.name)).name})
    loss = Loss(names, chemistry)
    reached = []
    for start in past:
        paired = any(chemistry.get(pair, 0.0) > 0 for pair in combinations(sorted(start), 2))
        if not paired or math.isinf(loss(start)):
            continue
        here = frozenset(start)
        for _ in range(STEPS):
            near = min(_neighbours(here, names), key=loss.order, default=here)
            if not loss(near) < loss(here) - _EQUAL:
                break
            here = near
        reached.append(here)
    return min(reached, key=loss.order, default=None)


def _neighbours(here: frozenset[str], names: Sequence[str]) -> Iterator[frozenset[str]]:
    outside = [name for name in names if name not in here]
    yield from (here | {name} for name in outside)
    if len(here) > 2:
        yield from (here - {name} for name in here)
    yield from (here - {one} | {other} for one in here for other in outside)


class Loss:
    """α (max inter − inter) + (1 − α)(max total − intra) + β |X|; infinite where a bracket is negative.

    intra: Σ chemistry of the pairs within X; inter: Σ across the cut X | rest; max total: Σ over all pairs;
    max inter: Σ across the halves that dealing the models, sorted by total chemistry, alternately gives.
    """

    def __init__(self, names: Sequence[str], chemistry: Table) -> None:
        self.chemistry = chemistry
        totals = {name: math.fsum(v for pair, v in chemistry.items() if name in pair) for name in names}
        dealt = sorted(names, key=lambda name: (-totals[name], name))
        self.max_inter, _ = self._sums(frozenset(dealt[::2]))
        self.max_total = math.fsum(chemistry.values())

    def __call__(self, chosen: Set[str]) -> float:
        """The loss of a set of models."""
        inter, intra = self._sums(chosen)
        across, within = self.max_inter - inter, self.max_total - intra
        if across < -_EQUAL or within < -_EQUAL:
            return math.inf
        return ALPHA * max(across, 0.0) + (1 - ALPHA) * max(within, 0.0) + BETA * len(chosen)

    def order(self, chosen: Set[str]) -> tuple[float, int, list[str]]:
        """By loss, then size, then names."""
        return round(self(chosen), _DIGITS), len(chosen), sorted(chosen)

    def _sums(self, chosen: Set[str]) -> tuple[float, float]:
        counts = [(len({*pair} & chosen), value) for pair, value in self.chemistry.items()]
        return math.fsum(v for c, v in counts if c == 1), math.fsum(v for c, v in counts if c == 2)
