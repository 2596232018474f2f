"""The Celery application of the fault suite: the product's own, with places where it can be told to break.

`celery -A tests.faults.app`. The product holds no code for it: what is wrapped here is inert while the hooks'
folder is empty. `CONSILIUM_FAULTS_WITHOUT` switches protections off (claim, sweeper, late-ack);
`CONSILIUM_FAULTS_VISIBILITY_S` forces a redelivery time that the product refuses as too short.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import task_prerun, worker_process_init, worker_shutting_down
from kombu.exceptions import OperationalError
from sqlalchemy import text

import workers.tasks  # its module reads the configuration that workers.app has made
from db import recompute
from db.queries import owed_answers
from shared.errors import RateLimited
from tests.faults.hooks import VARIABLE, Hooks
from workers import answering, dispatch, storing, sweep
from workers.app import app
from workers.backend import LeanRedisBackend

__all__ = ["app"]

SLOW_STOP_S = 15.0
"""A worker that takes longer to stop writes into its log where each of its threads is."""
HEADERS = ("consilium.generate", "consilium.review")
BODIES = ("consilium.advance", "consilium.conclude")
hooks = Hooks(Path(os.environ[VARIABLE]))
without = set(filter(None, os.environ.get("CONSILIUM_FAULTS_WITHOUT", "").split(",")))
_here = threading.local()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _around(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Replace a function by one made around it."""
    original = getattr(owner, name)
    setattr(owner, name, wraps(original)(make(original)))


def _counting_chords(original: Any) -> Any:
    """4: die when SUCCESS is stored and the chord's part not counted, or when its body is to be sent."""

    def on_chord_part_return(self: Any, request: Any, state: Any, result: Any, **more: Any) -> Any:
        if request.group and hooks.take("die before counting"):
            _die()
        _here.counting = True
        try:
            return original(self, request, state, result, **more)
        finally:
            _here.counting = False

    return on_chord_part_return


def _sending(original: Any) -> Any:
    """4: die before a body is sent, or between a dispatch and its messages. 5: every message twice.

    12: publishing fails after k messages.
    """

    def send_task(self: Celery, name: str, *args: Any, **options: Any) -> Any:
        if name in BODIES and getattr(_here, "counting", False) and hooks.take("die before body"):
            _die()
        if name == HEADERS[0] and hooks.take("die before messages"):
            _die()
        group, after = options.get("group_id"), hooks.get("publish fails after")
        if group and name in HEADERS and after is not None and uuid.UUID(group).int % 3 == 0:
            sent = getattr(_here, "sent", {})
            _here.sent = {group: sent.get(group, 0) + 1}
            if _here.sent[group] > int(after):
                hooks.tell("publish failed")
                raise OperationalError("the fault suite cut the connection")
        made = original(self, name, *args, **options)
        # a copy that comes back later is one of those two: doubled again, they would never end
        if name in (*HEADERS, *BODIES) and not options.get("retries") and hooks.get("twice") is not None:
            original(self, name, *args, **options)
        return made

    return send_task


def _answering(original: Any) -> Any:
    """10: the header itself raises, although its answer is stored."""

    def answer(ctx: Any, owed_id: uuid.UUID, **more: Any) -> Any:
        refusal = original(ctx, owed_id, **more)
        if refusal is None and hooks.take("header raises"):
            raise RuntimeError("the fault suite raised in a header")
        return refusal

    return answer


def _attempting(original: Any) -> Any:
    """Tell the client below which owed answer is worked on."""

    def attempt(ctx: Any, seen: Any, *args: Any, **more: Any) -> Any:
        _here.seen = seen
        return original(ctx, seen, *args, **more)

    return attempt


def _clients(original: Any) -> Any:
    """Around every client: 10 a bug after the call, 11 poison, 13 another Retry-After."""

    def client_for(model: Any) -> Any:
        return _Client(original(model))

    return client_for


class _Client:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def ask(self, *args: Any, **more: Any) -> Any:
        seen = _here.seen
        if f"{seen.consultation_id}:{seen.seat}" in (hooks.get("poison") or ""):
            hooks.tell(f"poison {seen.id}")
            _die()
        try:
            reply = self._inner.ask(*args, **more)
        except RateLimited as error:
            wait = hooks.get("retry after")
            error.retry_after_s = float(wait) if wait else error.retry_after_s
            raise
        if str(seen.consultation_id) in (hooks.get("always a bug") or "") or hooks.take("a bug once"):
            hooks.tell("bug")
            raise RuntimeError("the fault suite raised after a call")
        return reply


def _reading(original: Any) -> Any:
    """30: our own parser crashes on what is stored."""

    def read_answer(*args: Any, **more: Any) -> Any:
        if hooks.get("parser crashes") is not None:
            hooks.tell("parser crashed")
            raise RuntimeError("the fault suite raised in the parser")
        return original(*args, **more)

    return read_answer


def _recomputing(original: Any) -> Any:
    """26: how often the periodic job runs."""

    def recomputing(session: Any, kind: str, *args: Any, **more: Any) -> Any:
        if kind == "reviewers":
            hooks.tell("recomputed")
        return original(session, kind, *args, **more)

    return recomputing


@task_prerun.connect
def count(task: Any, **_: Any) -> None:
    """How often each task began to run, where a scenario wants to know."""
    if hooks.get("count") is not None:
        hooks.tell(f"ran {task.name}")


@worker_process_init.connect
def tell_when_asked(**_: Any) -> None:
    """A child of a pool tells where its threads are on SIGUSR2."""
    faulthandler.register(signal.SIGUSR2)


@worker_shutting_down.connect
def tell_of_a_slow_stop(**_: Any) -> None:
    """Should this stop take long, it is to be known why."""

    def tell() -> None:
        faulthandler.dump_traceback()
        for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            os.kill(int(child), signal.SIGUSR2)

    late = threading.Timer(SLOW_STOP_S, tell)
    late.daemon = True
    late.start()


_around(LeanRedisBackend, "on_chord_part_return", _counting_chords)
_around(Celery, "send_task", _sending)
_around(answering, "answer", _answering)
_around(answering, "_attempt", _attempting)
_around(answering, "client_for", _clients)
_around(storing, "read_answer", _reading)
_around(recompute, "recompute", _recomputing)


# --- protections switched off

if "claim" in without:
    # every claim succeeds: nobody looks whether another copy works on it, or whether it is to wait
    FREE = text(
        "UPDATE owed_answers SET claimed_until = NULL, not_before = NULL WHERE id = :id AND state = 'owed'"
    )

    def _look(original: Any) -> Any:
        def look(session: Any, owed_id: uuid.UUID) -> Any:
            seen = original(session, owed_id)
            return seen and replace(seen, busy_s=0.0, waits_s=0.0)

        return look

    def _claim(original: Any) -> Any:
        def claim(session: Any, owed_id: uuid.UUID, **more: Any) -> Any:
            session.execute(FREE, {"id": owed_id})
            return original(session, owed_id, **more)

        return claim

    _around(owed_answers, "look", _look)
    _around(owed_answers, "claim", _claim)

if "sweeper" in without:
    # nothing is resumed; what waits for its first dispatch still enters the broker
    sweep.sweep = lambda ctx, app, *_: dispatch.dispatch(ctx, app)

if "late-ack" in without:
    app.conf.task_acks_late = False
    app.conf.task_reject_on_worker_lost = False
    for task in app.tasks.values():
        task.acks_late = task.reject_on_worker_lost = False

if forced := os.environ.get("CONSILIUM_FAULTS_VISIBILITY_S"):
    app.conf.broker_transport_options |= {"visibility_timeout": float(forced), "unacked_restore_interval": 1}

assert workers.tasks.app is app
