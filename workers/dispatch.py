"""The dispatcher: what waits goes into the broker's bounded window, as far as the caps on spending allow."""

from __future__ import annotations

import logging
import uuid
from decimal import Decimal

from celery import Celery
from kombu.exceptions import OperationalError as BrokerAway
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from db.queries import budgets, consultations, dispatching, events
from db.queries.dispatching import Waiting
from workers.context import Context
from workers.flow import go_on

log = logging.getLogger("consilium.dispatch")

Cap = tuple[str, uuid.UUID]
"""What a cap is on: ("submission" or "source", its id)."""


def dispatch(ctx: Context, app: Celery) -> int:
    """Take waiting consultations into the window's free places and send them; how many.

    Any number may run at once: they take turns.
    """
    with ctx.transaction() as session:
        ids = take(session, ctx)
    return send(ctx, app, ids)


def take(session: Session, ctx: Context) -> list[uuid.UUID]:
    """Those whose turn it is, marked as dispatched. What would go over a cap is held instead."""
    settings = ctx.settings
    dispatching.lock(session)
    free = dispatching.free_places(session, window=settings.window)
    taken: list[uuid.UUID] = []
    while len(taken) < free:
        waiting = dispatching.next_waiting(
            session, most=free - len(taken), source_window=settings.source_window, ageing_s=settings.ageing_s
        )
        within, full = _within_budget(session, waiting)
        taken += dispatching.take(session, [each.id for each in within])
        for cap in sorted(full):
            log.info("held for the budget of its %s: consultations=%d", cap[0], _hold(session, *cap))
        if not full:
            break
    return taken


def _within_budget(session: Session, waiting: list[Waiting]) -> tuple[list[Waiting], set[Cap]]:
    """Those that no cap forbids, and the caps that are reached.

    Expected is what the models' prices say; what is not known cannot be promised to stay under a cap.
    """
    committed: dict[Cap, Decimal] = {}
    full: set[Cap] = set()
    within = []
    for each in waiting:
        both: list[tuple[Cap, Decimal | None]] = [
            (("submission", each.submission_id), each.budget_usd),
            (("source", each.source_id), each.daily_budget_usd),
        ]
        caps = {key: cap for key, cap in both if cap is not None}
        for key in caps.keys() - committed.keys():
            committed[key] = _committed(session, *key)
        expected = each.expected_usd
        over = {key for key, cap in caps.items() if expected is None or committed[key] + expected > cap}
        full |= over
        if not caps.keys() & full:
            for key in caps:
                committed[key] += expected or 0
            within.append(each)
    return within, full


def _committed(session: Session, kind: str, id_: uuid.UUID) -> Decimal:
    if kind == "submission":
        return budgets.spent_and_promised(session, submission_id=id_)
    return budgets.source_spent_today(session, id_)


def _hold(session: Session, kind: str, id_: uuid.UUID) -> int:
    if kind == "submission":
        return budgets.hold_for_budget(session, submission_id=id_)
    return budgets.hold_for_budget(session, source_id=id_)


def send(ctx: Context, app: Celery, ids: list[uuid.UUID]) -> int:
    """Send each; the first that cannot be sent ends it and gives the rest back."""
    for sent, consultation_id in enumerate(ids):
        try:
            go_on(ctx, app, consultation_id)
        except (BrokerAway, RedisError):  # Redis counts chords, also where it is not the broker
            log.warning("broker away: given back=%d", len(ids) - sent)
            with ctx.transaction() as session:
                consultations.unsend(session, ids[sent:])
            return sent
        except SQLAlchemyError as error:
            # one that cannot go on must not keep the others; it is due again at its next resume
            log.error("not sent consultation=%s type=%s", consultation_id, type(error).__name__)
    return len(ids)


def announce(ctx: Context, app: Celery, consultation_id: uuid.UUID) -> bool:
    """After the end of one: its events go out, its submission may be finished, and a place is free.

    False if there is no such row.
    """
    with ctx.transaction() as session:
        found = consultations.lock(session, consultation_id)
        if found is not None:
            events.finish_submissions(session, found.submission_id)
    with ctx.transaction() as session:
        events.deliver(session)
        waiting = dispatching.any_waiting(session)
    if waiting:
        dispatch(ctx, app)
    return found is not None
