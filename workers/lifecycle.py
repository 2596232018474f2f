"""A worker process's beginning and end: it registers, frees what its former self held, and stops cleanly.

While it lives it tells so now and then, and a watchdog ends it if it takes nothing from a queue that fills.

At SIGTERM nothing new is claimed; calls in flight are closed after `close_calls_after_s`, their leases given
back and their cost booked as not known.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Sequence
from typing import Any

from celery.signals import (
    setup_logging,
    worker_init,
    worker_process_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from sqlalchemy.exc import OperationalError

from db.engine import dispose
from db.queries import consultations, owed_answers, workers
from shared import startup
from shared.masking import installed_finders
from shared.medications import normalise
from workers import heap
from workers.clients import calls_in_flight, client_for
from workers.context import Context, get_context
from workers.watchdog import Watchdog

log = logging.getLogger("consilium.worker")


@setup_logging.connect
def log_plainly(**_: Any) -> None:
    """One line an event: time, level, logger, message. Libraries that quote what they carry are quieted."""
    logging.basicConfig(
        level=get_context().settings.log_level,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    for noisy in ("httpx", "httpcore", "kombu", "amqp", "sqlalchemy"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # a line a task received and another succeeded: ids only, but a thousand of them tell nobody anything
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)
    logging.getLogger("celery.app.trace").setLevel(logging.ERROR)


@worker_init.connect
def begin(sender: Any, **_: Any) -> None:
    """Register, and let what a former self held go on at once instead of at its leases' end."""
    _warm()
    startup.over()
    log_plainly()  # Celery sets up logging after this signal
    ctx = get_context()
    ctx.name = str(sender.hostname)
    queues = sorted(sender.app.amqp.queues.consume_from)
    try:
        register(ctx, queues, int(sender.concurrency or 1))
    except OperationalError:
        log.warning("postgresql away at start: registered when it is back")


def register(ctx: Context, queues: Sequence[str], slots: int) -> None:
    """This process is on record, and what its former self held is free. Raises `OperationalError`."""
    with ctx.transaction() as session:
        died = workers.register(session, ctx.name, ctx.boot_id, queues, slots)
        freed = owed_answers.end_leases_of_former_self(session, name=ctx.name, holder=ctx.holder)
        if died:
            # it took messages with it that it had fetched and not begun; nobody can tell which, so
            # whatever nobody works on is resumed, and copies find the row settled or held
            consultations.flag_all(session)
    ctx.registered = True
    if died:
        log.info("the former self died: leases freed=%d", freed)


def _warm() -> None:
    """Load what the first calls need: a place at a model, once granted, is not to wait for an import."""
    for model in get_context().registry.values():
        client_for(model)
    normalise("")
    installed_finders()


@worker_process_init.connect
def begin_in_a_child(**_: Any) -> None:
    """A forked pool child must not share its parent's sockets. It has a heap of its own to keep small."""
    ctx = get_context()
    dispose(ctx.settings.require_database(), close=False)
    heap.start(ctx.stopping)


@worker_ready.connect
def watch(sender: Any, **_: Any) -> None:
    """From now on it is watched whether work flows, and the heap is kept small."""
    ctx, slots = get_context(), int(sender.controller.concurrency or 1)
    queues = sorted(sender.app.amqp.queues.consume_from)
    Watchdog(ctx, queues, slots=slots, register=lambda: register(ctx, queues, slots)).start()
    heap.start(ctx.stopping)


@worker_shutting_down.connect
def stop_claiming(**_: Any) -> None:
    """Nothing new from now on; what is still open in a while is closed."""
    ctx = get_context()
    ctx.stopping.set()
    closer = threading.Timer(ctx.settings.close_calls_after_s, calls_in_flight.close_all)
    closer.daemon = True
    closer.start()


@worker_shutdown.connect
def end(**_: Any) -> None:
    """A clean stop is on record."""
    ctx = get_context()
    try:
        with ctx.transaction() as session:
            workers.stopped(session, ctx.name, ctx.boot_id)
    except OperationalError:
        log.warning("postgresql away at stop")
