"""Consultations that are dispatched, or ought to be."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import redis

from shared.broker import HEARTBEAT
from tests.accepted import ROOT, ask, consultations_of, submit
from workers import dispatch
from workers.context import Context

EXAMPLES = (ROOT / "examples" / "vignettes.ndjson").read_bytes().splitlines()


def in_transaction(ctx: Context, run: Any, **how: Any) -> Any:
    """One query function in a transaction of its own."""
    with ctx.transaction() as session:
        return run(session, **how)


def taken(ctx: Context, window: int, *, source_window: int = 1000) -> list[uuid.UUID]:
    """What a dispatcher takes into a window of this size, in its order."""
    settings = ctx.settings.model_copy(update={"window": window, "source_window": source_window})
    with ctx.transaction() as session:
        return dispatch.take(session, replace(ctx, settings=settings))


def asked(broker: redis.Redis) -> int:
    """Messages in the remote queue that are for a model."""
    return sum(HEARTBEAT.encode() not in message for message in broker.lrange("remote", 0, -1))


def all_dispatched(ctx: Context, n: int, **order: Any) -> list[uuid.UUID]:
    """So many consultations, all dispatched."""
    ids = consultations_of(ctx, submit(ctx, n, **order))
    assert set(taken(ctx, 1000)) == set(ids)
    return ids


def stall(ctx: Context, *ids: uuid.UUID) -> None:
    """Their stall time passes without progress."""
    ask(
        ctx,
        "UPDATE consultations SET next_resume_at = now(), "
        "progressed_at = now() - make_interval(secs => stall_s + 1) WHERE id = ANY(%s)",
        list(ids),
    )
