"""The default form of the cost-based chemistry: no empty context, means over the whole history, signed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from shared.chemistry.cost import USAGE, Rated
from shared.chemistry.pairs import Strongest, strongest
from shared.chemistry.snapshot import ModelLearned

PSEUDO_RUNS = 20.0
"""A model's mean counts as if so many further runs had shown the mean of all models' runs."""


class Measured(Protocol):
    """What is read of a row of history."""

    @property
    def model(self) -> str: ...
    @property
    def quality(self) -> float | None: ...
    @property
    def accuracy(self) -> float | None: ...


def strongest_default(
    models: Mapping[str, ModelLearned], usage: float = USAGE
) -> dict[tuple[str, str], Strongest]:
    """The chemistry of all pairs (a, b), a < b; models without a known quality or accuracy are left out."""
    known = [
        Rated(name, m.quality, m.accuracy)
        for name, m in models.items()
        if m.quality is not None and m.accuracy is not None
    ]
    return strongest(known, usage=usage, empty_context=False)


def shrunk_means(rows: Iterable[Measured]) -> list[Rated]:
    """Each model's mean quality (0…10) and accuracy ([0, 1]) over its rows of one task, by name.

    (Σ x + k m) / (n + k) with k = PSEUDO_RUNS and m the mean of all rows: few runs say little. Rows that lack
    either number do not count.
    """
    sums: dict[str, tuple[float, float, int]] = {}
    for row in rows:
        if row.quality is not None and row.accuracy is not None:
            quality, accuracy, runs = sums.get(row.model, (0.0, 0.0, 0))
            sums[row.model] = quality + row.quality, accuracy + row.accuracy, runs + 1
    total = sum(runs for *_, runs in sums.values())
    overall = [sum(one[part] for one in sums.values()) / max(total, 1) for part in (0, 1)]
    return [
        Rated(
            name,
            min(10.0, (quality + PSEUDO_RUNS * overall[0]) / (runs + PSEUDO_RUNS)),
            min(1.0, (accuracy + PSEUDO_RUNS * overall[1]) / (runs + PSEUDO_RUNS)),
        )
        for name, (quality, accuracy, runs) in sorted(sums.items())
    ]
