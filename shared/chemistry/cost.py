"""What an ensemble costs: the penalties of its used models, the best ranked first (arXiv 2510.03930)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

USAGE = 0.5
"""A model is used if its accuracy is above this."""


@dataclass(frozen=True)
class Rated:
    """A model in one kind of task: quality in 0…10, accuracy in [0, 1]."""

    name: str
    quality: float
    accuracy: float


def penalty(rated: Rated) -> float:
    """π = (1 − q/10)(1 − a), in [0, 1]; 0 for a model that is perfect in either."""
    return (1 - rated.quality / 10) * (1 - rated.accuracy)


def ranked(members: Iterable[Rated], usage: float) -> list[Rated]:
    """The used models by falling quality, ties by name."""
    return sorted((m for m in members if m.accuracy > usage), key=lambda m: (-m.quality, m.name))


def cost(members: Collection[Rated], usage: float, empty: float | None) -> float:
    """Σ π / rank over the used models; without one `empty` (reference form: 1), None standing for 0."""
    used = ranked(members, usage)
    if not used:
        return empty or 0.0
    return sum(penalty(m) / rank for rank, m in enumerate(used, start=1))
