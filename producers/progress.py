"""How far submissions are: shares, rates, cost and the estimated end, from counts of one moment."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy.orm import Session

from db.queries import progress
from db.queries.progress import Batch, ModelCalls, Work

LATELY_S = 300.0
"""The recent rate is that of so many seconds, or of all the time since its first dispatch."""
ENDS = ("completed", "needs_review", "failed", "cancelled")
STAGES = ("waiting", "generating", "reviewing", "concluding")


@dataclass(frozen=True)
class Progress:
    """Submissions at one moment. What cannot be told is None, never 0."""

    batches: Sequence[Batch]
    work: Sequence[Work]
    calls: Sequence[ModelCalls]

    @property
    def finished(self) -> bool:
        """Whether nothing of them is to come any more."""
        return all(batch.state not in ("receiving", "open") for batch in self.batches)

    @property
    def counts(self) -> dict[str, int]:
        """Consultations by stage while they are open, by state at their end, and those that are held.

        The first eight add up to `total`; those that are held are in a stage too.
        """
        found = dict.fromkeys((*STAGES, *ENDS, "held"), 0)
        for each in self.work:
            found[each.stage if each.state == "open" else each.state] += each.n
            found["held"] += each.n if each.held else 0
        return found

    @property
    def total(self) -> int:
        """All consultations."""
        return sum(each.n for each in self.work)

    @property
    def ended(self) -> int:
        """Those that have ended, in whatever way."""
        return sum(each.n for each in self.work if each.state != "open")

    @property
    def share(self) -> float:
        """The ended ones' share, from 0 to 1; of nothing: 1."""
        return self.ended / self.total if self.total else 1.0

    @property
    def set_aside(self) -> int:
        """Records that were not accepted."""
        return sum(batch.set_aside for batch in self.batches)

    @property
    def age_s(self) -> float:
        """Seconds since the first was received; at the end, until then."""
        return max((batch.age_s for batch in self.batches), default=0.0)

    @property
    def held(self) -> dict[str, int]:
        """How many wait for something else than their turn, by what holds them."""
        found: Counter[str] = Counter()
        for each in self.work:
            if each.held:
                found[each.held] += each.n
        return dict(found)

    @property
    def failures(self) -> dict[str, int]:
        """How many ended for a person to look at, by `state: reason`."""
        found: Counter[str] = Counter()
        for each in self.work:
            if each.state in ("failed", "needs_review"):
                found[f"{each.state}: {each.reason}"] += each.n
        return dict(found)

    @property
    def per_minute_lately(self) -> float | None:
        """Ends a minute, of the last `LATELY_S` seconds; None before there is time to tell."""
        return _per_minute(sum(each.lately for each in self.work), min(self._begun_s, LATELY_S))

    @property
    def per_minute(self) -> float | None:
        """Ends a minute since the start."""
        return _per_minute(self.ended, self._begun_s)

    @property
    def _begun_s(self) -> float:
        """Seconds since the first dispatch: waiting behind others is not being slow. At its end, all."""
        begun = [each.begun_s for each in self.work if each.begun_s is not None]
        return self.age_s if self.finished or not begun else min(max(begun), self.age_s)

    @property
    def left_s(self) -> float | None:
        """Seconds to the estimated end, by the recent rate; None: nothing ended lately, or some are held."""
        if self.finished:
            return 0.0
        if self.held or not self.per_minute_lately:
            return None
        return 60 * (self.total - self.ended) / self.per_minute_lately

    @property
    def unpriced(self) -> int:
        """Calls that ended and whose cost is not known."""
        return sum(each.unpriced for each in self.calls)

    @property
    def spent_usd(self) -> Decimal | None:
        """What the calls of known cost came to; None where no call's cost is known."""
        if self.unpriced and not any(each.priced for each in self.calls):
            return None
        return sum((each.spent_usd for each in self.work), Decimal(0))

    @property
    def projected_usd(self) -> Decimal | None:
        """What all will have cost if each costs as much as those that ended; None: nothing has.

        What is spent on those in flight is left out of the mean: early on that would be most of it.
        """
        if self.spent_usd is None or not self.ended:
            return None
        ended_usd = sum((each.spent_usd for each in self.work if each.state != "open"), Decimal(0))
        return max(self.spent_usd, ended_usd * self.total / self.ended)

    @property
    def budget_usd(self) -> Decimal | None:
        """The cap of the one submission that is looked at; None: no cap, or there are several."""
        return self.batches[0].budget_usd if len(self.batches) == 1 else None

    def for_programs(self) -> dict[str, Any]:
        """All of it as plain values; USD as strings."""
        return {
            "submissions": [
                {"submission": str(b.id), "source": b.source, "state": b.state, "set_aside": b.set_aside}
                for b in self.batches
            ],
            "finished": self.finished,
            "consultations": self.total,
            "ended": self.ended,
            **self.counts,
            "held_by": self.held,
            "for_a_person": self.failures,
            "per_minute_lately": self.per_minute_lately,
            "per_minute": self.per_minute,
            "seconds": self.age_s,
            "seconds_left": self.left_s,
            **{name: _usd(getattr(self, name)) for name in ("spent_usd", "projected_usd", "budget_usd")},
            "calls_not_priced": self.unpriced,
            "models": [vars(each) for each in self.calls],
        }


def _per_minute(ended: int, seconds: float) -> float | None:
    return 60 * ended / seconds if seconds > 0 else None


def _usd(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:f}"  # never 0E-8


def look(
    session: Session,
    ids: Collection[uuid.UUID],
    calls: Sequence[ModelCalls] | None = None,
    *,
    stale_s: float = 60.0,
) -> Progress:
    """These submissions now; with `calls`, those are not counted anew.

    One that is finished has all its ends in the counts: its state is read first.
    """
    batches = progress.batches(session, ids)
    work = progress.work(session, ids, lately_s=LATELY_S, stale_s=stale_s)
    return Progress(batches, work, progress.calls(session, ids) if calls is None else calls)
