"""Which models sit together (algorithms, section 4): LOCAL, REMOTE, RANDOM and a fixed list.

The candidates are those the source's policy allows. The seed, the probability of the drawn set and who was
allowed are part of the draw, so that history can be reweighted later.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from shared.errors import NotEnoughModels, SettingsError
from shared.registry import Model
from shared.seeding import shuffled

SIZES = range(2, 13)
"""Sizes of an ensemble: 2 to 12."""


class Strategy(StrEnum):
    """How an ensemble is chosen."""

    LOCAL = "LOCAL"
    REMOTE = "REMOTE"
    RANDOM = "RANDOM"
    FIXED = "FIXED"


@dataclass(frozen=True)
class Candidate:
    """What a draw and a policy must know of a model."""

    name: str
    family: str
    location: Literal["local", "remote"]
    simulated: bool


def candidate(model: Model) -> Candidate:
    """A model of the registry as a draw and a policy see it."""
    return Candidate(model.name, model.family, model.location, model.simulated)


@dataclass(frozen=True)
class Draw:
    """A drawn ensemble. `probability` is that of the set, whoever sits where; None where it is not known."""

    models: tuple[str, ...]  # in the order of the seats
    probability: float | None
    allowed: tuple[str, ...]  # who could have been drawn, sorted
    seed: int
    strategy: Strategy


def draw(
    strategy: str,
    n: int,
    candidates: Iterable[Candidate],
    seed: int,
    fixed: Sequence[str] = (),
) -> Draw:
    """Draw n models (2 to 12), uniformly over the sets and the seats; the candidates' order has no influence.

    FIXED takes the models of `fixed` in that order, whatever n is; all must be candidates. Raises
    `NotEnoughModels` with the numbers and a remedy, `SettingsError` for an unknown strategy, a size out of
    range or a name given twice.
    """
    if strategy not in Strategy.__members__:
        raise SettingsError(f"unknown strategy {strategy!r}: one of {', '.join(Strategy)}")
    chosen = Strategy(strategy)
    size = len(fixed) if chosen is Strategy.FIXED else n
    if size not in SIZES:
        raise SettingsError(f"an ensemble has {SIZES.start} to {SIZES.stop - 1} models, not {size}")
    pool = {
        c.name
        for c in candidates
        if chosen in (Strategy.RANDOM, Strategy.FIXED) or c.location == chosen.lower()
    }
    allowed = tuple(sorted(pool))
    if chosen is Strategy.FIXED:
        return Draw(_fixed(fixed, pool), 1.0, allowed, seed, chosen)
    if len(pool) < size:
        raise NotEnoughModels(
            f"{chosen} needs {size} models and the source's policy and the registry leave {len(pool)}: "
            "ask for a smaller ensemble, another strategy, or allow more models for this source"
        )
    models = tuple(shuffled(pool, seed, "ensemble")[:size])
    return Draw(models, 1 / math.comb(len(pool), size), allowed, seed, chosen)


def substitutes(strategy: str, allowed: Iterable[str], seated: Collection[str], *, seed: int) -> list[str]:
    """Who takes a seat that is lost, in order: the same draw, gone on with. A fixed list has nobody else.

    `allowed` are those of the draw, `seated` who sits or has sat.
    """
    if strategy == Strategy.FIXED:
        return []
    return [name for name in shuffled(allowed, seed, "ensemble") if name not in seated]


def _fixed(fixed: Sequence[str], pool: set[str]) -> tuple[str, ...]:
    if len(set(fixed)) != len(fixed):
        raise SettingsError("the fixed list names a model twice: each may sit once")
    if missing := [name for name in fixed if name not in pool]:
        raise NotEnoughModels(
            f"FIXED names {len(fixed)} models, of which {len(missing)} are not in the registry or not "
            f"allowed by the source's policy ({', '.join(missing)}): correct the list, or allow them"
        )
    return tuple(fixed)
