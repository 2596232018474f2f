"""The tasks. Each loads, calls one function that decides or one client, stores; arguments are (version, ids).

Header tasks never raise into a chord: what goes wrong with a model is stored on the owed answer. Callbacks
read stored state and are harmless when early, late or double.
"""

from __future__ import annotations

import logging
import random
import traceback
import uuid
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from celery import Task
from celery.exceptions import Ignore, Reject, Retry
from sqlalchemy.exc import OperationalError

from db import recompute
from db.queries import events, heartbeats, workers
from shared.broker import CHECK_MODEL, HEARTBEAT, MESSAGE_VERSION, NUDGE, SWEEP, countdown_s, queue_of
from shared.errors import ConsiliumError, SealedElsewhere
from workers import answering, checking, concluding, dispatch, flow, purging, sweep
from workers.app import app
from workers.context import get_context

log = logging.getLogger("consilium.tasks")
AnyTask = Task[..., Any]
Run = Callable[..., None]


# Whoever waits, for a place or for PostgreSQL, comes again as often as it takes. (Given to `retry`, None
# would mean Celery's default of three.)
consilium_task = partial(app.task, bind=True, max_retries=None)


class TaskBug(ConsiliumError):
    """A bug of ours ended a task: its type and place are told, never its message, which may quote text."""


def guarded(run: Run) -> Run:
    """What every task has in common: PostgreSQL away means later, and no exception's message leaks."""

    @wraps(run)
    def guard(self: AnyTask, *args: Any) -> None:
        try:
            run(self, *args)
        except (Ignore, Reject, Retry):
            raise
        except OperationalError:
            log.warning("postgresql away task=%s", self.name)
            raise _again(self, 2 + 3 * random.random()) from None
        except SealedElsewhere:  # the site's key is rotated, and this process has the old one alone
            log.error("sealed by another site key task=%s: restart with it", self.name)
            raise _again(self, answering.BUSY_S) from None
        except Exception as error:  # noqa: BLE001 - told by type and place, then raised
            place = traceback.extract_tb(error.__traceback__)[-1]
            bug = TaskBug(f"{type(error).__name__} at {place.name}:{place.lineno}")
            raise bug.with_traceback(None) from None

    return guard


def known(task: AnyTask, version: int, about: str | None = None) -> bool:
    """Whether this process knows messages of that version; if not, it is parked.

    Stored state brings the work again, in the version of whoever sends it then.
    """
    if version == MESSAGE_VERSION:
        return True
    log.warning("message of unknown version=%s parked", version)
    _park(task, version, about)
    return False


def _park(task: AnyTask, version: int, about: str | None) -> None:
    with get_context().transaction() as session:
        workers.park(session, str(task.name), version, about)


def _queue(task: AnyTask) -> str | None:
    return queue_of((task.request.delivery_info or {}).get("routing_key"))


def _again(task: AnyTask, wait_s: float) -> Retry:
    """To be raised: the same message once more, through the same queue."""
    countdown = countdown_s(get_context().settings.require_broker(), wait_s)
    queue = _queue(task)
    named: dict[str, Any] = {"queue": queue} if queue else {}
    return task.retry(countdown=countdown, exc=None, throw=False, **named)


def _answer(task: AnyTask, version: int, owed_id: str) -> None:
    if not known(task, version, owed_id):
        return
    match answering.answer(get_context(), uuid.UUID(owed_id), quarantine=_queue(task) == "quarantine"):
        case answering.Again(wait_s):
            wait_s = min(wait_s, get_context().settings.countdown_cap_s)
            raise _again(task, wait_s + random.uniform(0.02, 0.25))
        case answering.Unknown():
            _park(task, version, owed_id)
        case answering.Lost(consultation_id):
            flow.replace_now(get_context(), app, consultation_id)
        case answering.Quarantine():
            raise task.retry(countdown=0, queue="quarantine")
        case answering.Stopping():
            raise Reject(reason="stopping", requeue=True)
        case answering.Deferred() | None:
            return


@consilium_task(name="consilium.generate")
@guarded
def generate(self: AnyTask, version: int, owed_id: str) -> None:
    """One seat's answer to the vignette."""
    _answer(self, version, owed_id)


@consilium_task(name="consilium.review")
@guarded
def review(self: AnyTask, version: int, owed_id: str) -> None:
    """One seat's grade of another's answer."""
    _answer(self, version, owed_id)


@consilium_task(name="consilium.advance")
@guarded
def advance(self: AnyTask, version: int, consultation_id: str) -> None:
    """Every seat has answered or is excused: on to the reviews."""
    if known(self, version, consultation_id) and not flow.go_on(
        get_context(), app, uuid.UUID(consultation_id)
    ):
        _park(self, version, consultation_id)


@consilium_task(name="consilium.conclude")
@guarded
def conclude(self: AnyTask, version: int, consultation_id: str) -> None:
    """The consensus, in one transaction."""
    if known(self, version, consultation_id) and not concluding.conclude(
        get_context(), uuid.UUID(consultation_id)
    ):
        _park(self, version, consultation_id)


@consilium_task(name="consilium.announce")
@guarded
def announce(self: AnyTask, version: int, consultation_id: str) -> None:
    """The events of its end, from the outbox."""
    if known(self, version, consultation_id) and not dispatch.announce(
        get_context(), app, uuid.UUID(consultation_id)
    ):
        _park(self, version, consultation_id)


@consilium_task(name=NUDGE)
@guarded
def dispatch_waiting(self: AnyTask) -> None:
    """The nudge: something may wait for its first dispatch."""
    dispatch.dispatch(get_context(), app)


@consilium_task(name=SWEEP)
@guarded
def resume_stalled(self: AnyTask) -> None:
    """The sweep: anything that stopped moving goes on from what is stored."""
    sweep.sweep(get_context(), app, get_context().redis_client)


@consilium_task(name=HEARTBEAT)
@guarded
def heartbeat(self: AnyTask, version: int, sent_ms: int) -> None:
    """Work flows through this queue."""
    if known(self, version) and (queue := _queue(self)) is not None:
        with get_context().transaction() as session:
            heartbeats.received(session, queue, sent_ms=sent_ms, worker=get_context().name)


@consilium_task(name="consilium.deliver_events")
@guarded
def deliver_events(self: AnyTask) -> None:
    """Whatever `announce` did not come to: finished submissions, undelivered events."""
    with get_context().transaction() as session:
        events.finish_submissions(session)
    with get_context().transaction() as session:
        events.deliver(session)


@consilium_task(name="consilium.recompute_reviewers")
@guarded
def recompute_reviewers(self: AnyTask) -> None:
    """The reviewers' memory, from raw grades, once a period."""
    _recompute("reviewers")


@consilium_task(name="consilium.recompute_chemistry")
@guarded
def recompute_chemistry(self: AnyTask) -> None:
    """Who works well with whom, from the interaction history, once a period."""
    _recompute("chemistry")


@consilium_task(name="consilium.recompute_calibration")
@guarded
def recompute_calibration(self: AnyTask) -> None:
    """What a consensus' numbers mean as a probability, from outcomes, once a period."""
    _recompute("calibration")


@consilium_task(name="consilium.recompute_support")
@guarded
def recompute_support(self: AnyTask) -> None:
    """How often what each model names belongs, from outcomes, once a period."""
    _recompute("support")


@consilium_task(name=f"consilium.{purging.JOB}")
@guarded
def purge_expired(self: AnyTask) -> None:
    """Texts past their retention are destroyed, once a period."""
    purging.purge_expired(get_context())


@consilium_task(name=CHECK_MODEL)
@guarded
def check_model(self: AnyTask, version: int, check_id: str, model: str) -> None:
    """Whether a model answers, told to whoever asked."""
    if known(self, version):
        checking.check_model(get_context(), check_id, model)


def _recompute(kind: str) -> None:
    """Once a period; a run that fails leaves the last snapshot in force, and its period says so."""
    ctx = get_context()
    job = f"recompute_{kind}"
    with ctx.transaction() as session:
        period = workers.begin_period(session, job, ctx.settings.recompute_every_s)
    if period is None:
        return
    result = "failed"
    try:
        with ctx.transaction() as session:
            result = recompute.recompute(session, kind, ctx.settings)
    finally:
        with ctx.transaction() as session:
            workers.end_period(session, job, period, result)
