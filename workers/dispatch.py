"""The dispatcher and the sweep: one way into the broker, for the first time or again."""

from __future__ import annotations

import logging
import uuid

import redis
from celery import Celery
from kombu.exceptions import OperationalError as BrokerAway
from sqlalchemy.exc import SQLAlchemyError

from db.queries import consultations, events, owed_answers
from shared.broker import WIPE_MARKER
from workers.context import Context
from workers.flow import go_on

log = logging.getLogger("consilium.dispatch")


def dispatch(ctx: Context, app: Celery) -> int:
    """Take waiting consultations into the window's free places; how many."""
    with ctx.transaction() as session:
        ids = consultations.dispatch(session, window=ctx.settings.window)
    return _send(ctx, app, ids)


def sweep(ctx: Context, app: Celery, broker: redis.Redis) -> int:
    """End what is past its deadline, resume what stalled, dispatch what waits; how many were sent.

    Any number may run at once: rows are picked with SKIP LOCKED.
    """
    _expire(ctx)
    if broker.set(WIPE_MARKER, 1, nx=True):
        log.warning("the broker's marker was gone: everything in flight goes on from what is stored")
        with ctx.transaction() as session:
            consultations.flag_all(session)
    with ctx.transaction() as session:
        ids = consultations.resume(session, most=ctx.settings.window)
    if ids:
        log.info("resumed=%d", len(ids))
    return _send(ctx, app, ids) + dispatch(ctx, app)


def _expire(ctx: Context) -> None:
    with ctx.transaction() as session:
        for consultation_id in consultations.expired(session):
            consultations.end(session, consultation_id, "failed", "expired")
            owed_answers.void_rest(session, consultation_id)


def _send(ctx: Context, app: Celery, ids: list[uuid.UUID]) -> int:
    """Send each; the first that cannot be sent ends it and gives the rest back."""
    for sent, consultation_id in enumerate(ids):
        try:
            go_on(ctx, app, consultation_id)
        except BrokerAway:
            log.warning("broker away: given back=%d", len(ids) - sent)
            with ctx.transaction() as session:
                consultations.unsend(session, ids[sent:])
            return sent
        except SQLAlchemyError as error:
            # one that cannot go on must not keep the others; it is due again at its next resume
            log.error("not sent consultation=%s type=%s", consultation_id, type(error).__name__)
    return len(ids)


def announce(ctx: Context, app: Celery, consultation_id: uuid.UUID) -> None:
    """After the end of one: its events go out, its submission may be finished, and a place is free."""
    with ctx.transaction() as session:
        found = consultations.lock(session, consultation_id)
        if found is not None:
            events.finish_submissions(session, found.submission_id)
    with ctx.transaction() as session:
        events.deliver(session)
        waiting = consultations.any_waiting(session)
    if waiting:
        dispatch(ctx, app)
