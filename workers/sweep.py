"""The sweep: everything that stopped moving goes on from what is stored, and what is waiting is dispatched.

    expired ─► ended       flushed ─► all due     queues without workers ─► held
    stalled ─► resumed, and ended when that was consumed so often without any answer
    waiting ─► dispatched  periodic jobs ─► sent, once a period

Any number may run at once: rows are picked with SKIP LOCKED.
"""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from celery import Celery
from kombu.exceptions import OperationalError as BrokerAway
from redis.exceptions import RedisError

from db import recompute
from db.queries import (
    budgets,
    consultations,
    heartbeats,
    model_calls,
    model_states,
    owed_answers,
    receiving,
    workers,
)
from shared.broker import HEARTBEAT, MESSAGE_VERSION, WIPE_MARKER, queues_with_work
from workers import purging
from workers.context import Context
from workers.dispatch import dispatch, send

if TYPE_CHECKING:
    import redis

log = logging.getLogger("consilium.sweep")

CLEARED_CHUNKS = 20
"""Chunks of abandoned submissions that one sweep clears away."""


def sweep(ctx: Context, app: Celery, redis_client: redis.Redis) -> int:
    """One sweep; how many consultations were sent."""
    _expire(ctx)
    _lost(ctx)
    _abandoned(ctx)
    with ctx.transaction() as session:
        first = heartbeats.tick(session, ctx.name)
    if _marker_is_gone(redis_client):
        if not first:
            _flushed(ctx)
        with suppress(RedisError):  # set last: a sweep that dies before is made up for by the next
            redis_client.set(WIPE_MARKER, 1)
    _heartbeats(ctx, app)
    with ctx.transaction() as session:
        resumed = consultations.resume(session, most=ctx.settings.window)
    spent = [id_ for id_, fruitless in resumed.items() if fruitless > ctx.settings.no_progress_resumes]
    for id_ in spent:
        _end(ctx, id_, "no_progress")
    if resumed:
        log.info("resumed=%d ended without progress=%d", len(resumed) - len(spent), len(spent))
    sent = send(ctx, app, [id_ for id_ in resumed if id_ not in spent])
    with ctx.transaction() as session:
        budgets.release_source_holds(session)
    sent += dispatch(ctx, app)
    _periodic(ctx, app)
    _learned(ctx)
    return sent


def _expire(ctx: Context) -> None:
    with ctx.transaction() as session:
        for consultation_id in consultations.expired(session):
            consultations.end(session, consultation_id, "failed", "expired")
            owed_answers.void_rest(session, consultation_id)


def _lost(ctx: Context) -> None:
    with ctx.transaction() as session:  # apart: who stores an answer locks its call before its consultation
        if lost := model_calls.close_lost(session):
            log.info("calls that nobody will close: lost=%d", lost)


def _abandoned(ctx: Context) -> None:
    """Submissions that nobody completes are cancelled and their texts erased, some chunks a sweep."""
    with ctx.transaction() as session:
        if found := receiving.abandon(session):
            log.warning("abandoned submissions=%d", found)
    for _ in range(CLEARED_CHUNKS):
        with ctx.transaction() as session:
            if not receiving.clear(session):
                return


def _end(ctx: Context, consultation_id: uuid.UUID, reason: str) -> None:
    with ctx.transaction() as session:
        found = consultations.lock(session, consultation_id)
        if found is None or found.state != "open":  # it has ended after all
            return
        consultations.end(session, consultation_id, "failed", reason)
        owed_answers.void_rest(session, consultation_id)


def _marker_is_gone(redis_client: redis.Redis) -> bool:
    try:
        return not redis_client.exists(WIPE_MARKER)
    except RedisError as error:  # what it has forgotten is told by the next sweep that reaches it
        log.warning("redis away: marker not looked at, %s", type(error).__name__)
        return False


def _flushed(ctx: Context) -> None:
    """Redis has forgotten everything: messages or what chords counted, and who has a place at a model."""
    log.warning("redis' marker was gone: everything in flight goes on from what is stored")
    with ctx.transaction() as session:
        consultations.flag_all(session)
        heartbeats.forget(session)
        open_calls = model_calls.open_calls(session)
    ctx.limiter.rebuild(
        (ctx.registry[call.model], call.id, call.lease_left_s)
        for call in open_calls
        if call.model in ctx.registry
    )


def _heartbeats(ctx: Context, app: Celery) -> None:
    """One through each queue that is in use; what lies in a queue that nobody takes from is held."""
    stale_s = ctx.settings.heartbeat_stale_s
    queues = queues_with_work({model.location for model in ctx.registry.values()})
    with ctx.transaction() as session:
        due = heartbeats.to_send(session, heartbeats.in_use(session, queues), stale_s=stale_s)
        stale = heartbeats.stale(session, stale_s=stale_s)
        heartbeats.hold(session, stale)
    if stale:
        log.warning("nothing goes through: queues=%s", ",".join(sorted(stale)))
    for queue, sent_ms in due:
        try:
            app.send_task(HEARTBEAT, (MESSAGE_VERSION, sent_ms), queue=queue, ignore_result=True)
        except BrokerAway:
            log.warning("broker away: no heartbeat sent")
            return


def _periodic(ctx: Context, app: Celery) -> None:
    """Jobs whose period nobody has begun; after an outage of any length, once."""
    jobs = {f"recompute_{kind}": ctx.settings.recompute_every_s for kind in recompute.KINDS}
    jobs[purging.JOB] = purging.EVERY_S
    with ctx.transaction() as session:
        due = [job for job, every_s in jobs.items() if workers.is_due(session, job, every_s)]
    for job in due:
        try:
            app.send_task(f"consilium.{job}", queue="periodic", ignore_result=True, expires=jobs[job])
        except BrokerAway:
            log.warning("broker away: not sent job=%s", job)


def _learned(ctx: Context) -> None:
    """What the limiter knows is put where operators look."""
    try:
        found = ctx.limiter.snapshot(list(ctx.registry))
    except RedisError as error:
        log.warning("limiter not read: %s", type(error).__name__)
        return
    with ctx.transaction() as session:
        model_states.learned(
            session,
            {
                name: {"in_flight": each.in_flight, "learned_limit": each.limit, "waits_s": each.waits_s}
                for name, each in found.items()
            },
        )
