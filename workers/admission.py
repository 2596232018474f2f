"""Admission to a model: pauses, the circuit breaker, and the limits shared by all workers.

Asked before the claim, so that what must wait holds neither a slot nor a lease.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from db.queries import model_states, waits
from db.queries.owed_answers import Look
from shared.errors import ModelError, Rejected, Unavailable
from shared.registry import Limits, Model, lease_s
from workers.context import Context

PATIENCE_S = 0.25
"""A shorter wait for a place is waited for in the slot: going through the broker would take as long."""
PAUSED_S = 30.0
"""What is paused looks again so often, should its resumption pass unnoticed."""
TOKENS = 2_000
"""Expected of a call until its answer tells: the longest of our prompts with its answer."""

Outcome = Literal["answered", "failed", "limited", "unsent"]


@dataclass(frozen=True)
class Wait:
    """Not now. `away`: the model is, and somebody else may have to answer."""

    reason: Literal["paused", "unavailable", "rate_limited"]
    wait_s: float
    away: bool = False


@dataclass
class Place:
    """A place at a model, given back at the end of a `with` at the latest."""

    ctx: Context
    model: Model
    call_id: str | None  # None: a stored answer is read, nobody is called
    probe: bool = False  # of an open breaker
    _left: bool = field(default=False, init=False)

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave("unsent")

    def lost(self, *, theirs: bool) -> None:
        """No call is made here. `theirs`: a copy of this task makes it, and gives their one place back."""
        self._left = self._left or theirs
        self.leave("unsent")

    def leave(
        self, outcome: Outcome, *, tokens: int | None = None, retry_after_s: float | None = None
    ) -> None:
        """Give the place back; only the first call counts."""
        if self._left or self.call_id is None:
            return
        self._left = True
        self.ctx.limiter.release(
            self.model, self.call_id, outcome, tokens=tokens, retry_after_s=retry_after_s
        )
        if self.probe and outcome == "unsent":
            with self.ctx.transaction() as session:
                model_states.unprobe(session, self.model.name)


def enter(ctx: Context, seen: Look, model: Model) -> Place | Wait:
    """A place for the next call of this owed answer, or how long to wait. Raises `OperationalError`."""
    if seen.stored:
        return Place(ctx, model, None)
    controls = ctx.controls()
    if controls.pauses(seen.source):
        return Wait("paused", PAUSED_S)
    if model.name in controls.paused.models:
        return Wait("paused", PAUSED_S, away=True)
    probe_in_s = controls.probe_in_s(model.name)
    if probe_in_s is not None and probe_in_s > 0:
        return Wait("unavailable", probe_in_s, away=True)
    call_id = f"{seen.id}:{seen.claims + 1}"
    provider = ctx.registry.providers.get(model.provider, Limits())
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        wait_s = ctx.limiter.acquire(
            model,
            call_id,
            tokens=TOKENS,
            lease_s=lease_s(model, ctx.settings),
            own=controls.limits(model),
            provider=provider,
        )
        if wait_s <= 0:
            break
        if time.monotonic() + wait_s > give_up_at or ctx.stopping.is_set():
            return Wait("rate_limited", wait_s)
        time.sleep(wait_s)
    if probe_in_s is None:
        return Place(ctx, model, call_id)
    place = Place(ctx, model, call_id, probe=True)
    try:
        with ctx.transaction() as session:
            mine = model_states.probe(session, model.name, lease_s=lease_s(model, ctx.settings))
    except OperationalError:
        place.leave("unsent")
        raise
    ctx.controls.forget()
    if mine:
        return place
    Place(ctx, model, call_id).lost(theirs=wait_s < 0)
    again_s = ctx.controls().probe_in_s(model.name)
    return Wait("unavailable", again_s or PATIENCE_S, away=again_s is not None)


def outage(ctx: Context, session: Session, model: Model, error: ModelError, *, probe: bool) -> float | None:
    """Book a failure with the breaker; seconds until the next probe if it is open now, else None.

    A server that is away and one that refuses every request (a key withdrawn) are outages alike.
    """
    if not isinstance(error, Unavailable | Rejected):
        return None
    ctx.controls.forget()
    return model_states.failed(
        session,
        model.name,
        probe=probe,
        enough=ctx.settings.breaker_failures,
        cooldown_s=ctx.settings.breaker_cooldown_s,
        cap_s=ctx.settings.breaker_cooldown_cap_s,
    )


def back(ctx: Context, session: Session, model: Model) -> None:
    """The model has answered: its breaker is closed, and whoever waited for it goes on."""
    if model_states.answered(session, model.name):
        waits.wake(session, model.name)
        ctx.controls.forget()
