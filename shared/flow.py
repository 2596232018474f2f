"""What a consultation needs next, decided from its stored state alone.

    generations: a lost seat is replaced ─► enough answered ─► reviews ─► conclude
                 nobody to replace it    ─► on with the quorum, held while models are away, else failed

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
Kind = Literal["generation", "review"]
NO_MODELS = "no models"


@dataclass(frozen=True)
class Owed:
    """One owed answer as the flow sees it."""

    id: uuid.UUID
    kind: Kind
    seat: int
    state: OwedState
    location: Literal["remote", "local"]  # of the model that holds the seat
    model: str = ""  # its name in models.toml
    occupancy: int = 1
    about: uuid.UUID | None = None  # the generation under review
    crashes: int = 0
    ready: bool = True  # False: it waits in the database (`not_before`)
    busy: bool = False  # somebody works on it
    away_s: float | None = None  # for so long its model has been away; None: it was not, when last looked at
    answer_id: uuid.UUID | None = None
    reason: str | None = None  # why excused, or the last error


@dataclass(frozen=True)
class Bench:
    """Who cannot be asked now, and who could take a seat, in the strategy's order.

    A model is away while its circuit breaker is open or an operator has paused it.
    """

    away: frozenset[str] = frozenset()
    substitutes: tuple[str, ...] = ()  # allowed, here, and never seated in this consultation
    doubtful: tuple[str, ...] = ()  # as those, but away
    patience_s: float = math.inf  # a model that is away is waited for so long; urgent: 0
    most: int = 0  # substitutions of one seat

    def lost(self, owed: Owed) -> bool:
        """Whether this answer is not waited for any longer: excused, or its model stays away."""
        stays_away = owed.model in self.away and not owed.busy and (owed.away_s or 0) >= self.patience_s
        return owed.state == "excused" or (owed.state == "owed" and stays_away)


EVERYBODY_HERE = Bench()


@dataclass(frozen=True)
class Replace:
    """Give these seats to these models: the old answer is void, a new one is owed."""

    seats: tuple[tuple[Owed, str], ...]


@dataclass(frozen=True)
class Excuse:
    """These models stay away, nobody takes their place, and the others are enough."""

    owed: tuple[Owed, ...]


@dataclass(frozen=True)
class Ask:
    """Send these owed answers to the models; what is not ready stays in the database.

    `held`: too few models are here to come to an end; it is waited for them.
    """

    kind: Kind
    owed: tuple[Owed, ...]
    held: str | None = None


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


Step = Replace | Excuse | Ask | OweReviews | Conclude | Fail


def quorum(n: int) -> int:
    """Fewest answers with which an ensemble of n goes on: max(2, ⌈n / 2⌉); a single model's is one."""
    return min(n, max(2, math.ceil(n / 2)))


def next_step(n: int, owed: Sequence[Owed], bench: Bench = EVERYBODY_HERE) -> Step:
    """The next step of an open consultation of n seats, given all its owed answers."""
    seats = [o for o in owed if o.kind == "generation" and o.state != "void"]
    reviews = [o for o in owed if o.kind == "review"]
    # who reviews whom is fixed once: from then on a seat that is lost stays empty
    if reviews and not any(o.state == "owed" for o in seats):
        if sum(o.state == "answered" for o in seats) < quorum(n):
            return Fail("no_quorum")
        return _reviewing([o for o in reviews if o.state != "void"], bench)
    return _generating(n, seats, bench)


def _generating(n: int, seats: list[Owed], bench: Bench) -> Step:
    answered = {o.seat: o.answer_id for o in seats if o.state == "answered" and o.answer_id is not None}
    replaceable = [o for o in seats if bench.lost(o) and o.occupancy <= bench.most]
    if replaceable and bench.substitutes:
        return Replace(tuple(zip(replaceable, bench.substitutes, strict=False)))
    waiting = tuple(o for o in seats if o.state == "owed")
    staying_away = tuple(o for o in waiting if bench.lost(o))
    if len(answered) + len(waiting) - len(staying_away) < quorum(n):
        if staying_away:
            return Ask("generation", _ready(waiting), held=NO_MODELS)
        if not waiting and replaceable and bench.doubtful:
            # nobody is left whose calls would find out that the models are back
            return Replace(tuple(zip(replaceable, bench.doubtful, strict=False)))
    elif staying_away:
        return Excuse(staying_away)
    if waiting:
        return Ask("generation", _ready(waiting))
    if len(answered) < quorum(n):
        return Fail("no_quorum")
    return OweReviews(answered) if len(answered) > 1 else Conclude()  # nobody is there to review one


def _reviewing(reviews: list[Owed], bench: Bench) -> Step:
    """Reviewers are not replaced: who has not answered the vignette does not judge those who have."""
    waiting = tuple(o for o in reviews if o.state == "owed")
    staying_away = tuple(o for o in waiting if bench.lost(o))
    if staying_away:
        coming = {o.about for o in reviews if not bench.lost(o)}
        if all(o.about in coming for o in staying_away):
            return Excuse(staying_away)
        return Ask("review", _ready(waiting), held=NO_MODELS)
    return Ask("review", _ready(waiting)) if waiting else Conclude()


def _ready(owed: Sequence[Owed]) -> tuple[Owed, ...]:
    return tuple(o for o in owed if o.ready)
