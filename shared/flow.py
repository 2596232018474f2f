"""What a consultation needs next, decided from its stored state alone.

First dispatch, `advance` and recovery ask the same question; the answer is a `Step`. Nothing here knows of
Celery or SQL.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

OwedState = Literal["owed", "answered", "excused", "void"]


@dataclass(frozen=True)
class Owed:
    """One owed answer as the flow sees it."""

    id: uuid.UUID
    kind: Literal["generation", "review"]
    seat: int
    state: OwedState
    location: Literal["remote", "local"]  # of the model that holds the seat
    crashes: int = 0
    ready: bool = True  # False: it waits in the database (`not_before`)
    answer_id: uuid.UUID | None = None


@dataclass(frozen=True)
class Ask:
    """Send these owed answers to the models; what is not ready stays in the database."""

    kind: Literal["generation", "review"]
    owed: tuple[Owed, ...]


@dataclass(frozen=True)
class OweReviews:
    """Every seat has answered or is excused: fix who reviews whom. Holds seat → generation."""

    generations: dict[int, uuid.UUID]


@dataclass(frozen=True)
class Conclude:
    """All answers and reviews are in (or excused)."""


@dataclass(frozen=True)
class Fail:
    """It cannot end well: `reason` is stored."""

    reason: str


Step = Ask | OweReviews | Conclude | Fail


def quorum(n: int) -> int:
    """Fewest answers with which an ensemble of n goes on: max(2, ⌈n / 2⌉)."""
    return max(2, math.ceil(n / 2))


def next_step(n: int, owed: Sequence[Owed]) -> Step:
    """The next step of an open consultation of n seats, given all its owed answers."""
    generations = [o for o in owed if o.kind == "generation"]
    waiting = tuple(o for o in generations if o.state == "owed")
    if waiting:
        return Ask("generation", tuple(o for o in waiting if o.ready))
    answered = {o.seat: o.answer_id for o in generations if o.state == "answered" and o.answer_id is not None}
    if len(answered) < quorum(n):
        return Fail("no_quorum")
    reviews = [o for o in owed if o.kind == "review"]
    if not reviews:
        return OweReviews(answered)
    waiting = tuple(o for o in reviews if o.state == "owed")
    if waiting:
        return Ask("review", tuple(o for o in waiting if o.ready))
    return Conclude()
