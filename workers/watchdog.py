"""Alive means that work flows: a worker that takes nothing from a queue that fills ends itself.

After a broker's hiccup a Celery worker can live on without consuming (celery issues 8030, 8091, 10205), and
no look from outside tells it from an idle one. A thread of its own looks from inside: messages lie in its
queues, slots are free, and nothing has been taken for `idle_s`. Its supervisor starts it again. Slots that
are all taken count as free once nothing was taken for longer than any task lasts: they have been lost.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import cached_property

import redis
from celery.worker import state
from kombu import Connection
from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError

from db.queries import workers
from shared.addresses import address
from shared.broker import lengths, looking
from shared.registry import visibility_s
from workers.context import Context
from workers.limits import connect

log = logging.getLogger("consilium.watchdog")

EXIT_IDLE = 70
_SEEN_EVERY_S = 10.0
_WARM_S = 10.0  # after which a stop that does not come about is made to


class Watchdog:
    """Looks every few seconds; stores that the process lives, and when it took its last message.

    `register` is called first where PostgreSQL was away when the process began.
    """

    def __init__(
        self, ctx: Context, queues: Sequence[str], *, slots: int, register: Callable[[], None] | None = None
    ) -> None:
        self._ctx = ctx
        self._register = register
        self._queues = queues
        self._slots = slots
        self._every_s = min(_SEEN_EVERY_S, ctx.settings.idle_s / 4)
        self._longest_s = visibility_s(ctx.registry, ctx.settings)  # longer than any task
        self._taken = -1
        self._taken_at = self._moved_at = time.monotonic()
        self._broker = address(ctx.settings.require_broker())

    @cached_property
    def _redis(self) -> redis.Redis:
        return connect(self._broker.url)

    def start(self) -> None:
        """Look from now on, in a thread that ends with the process."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def _run(self) -> None:
        seen_at = float("-inf")
        while not self._ctx.stopping.wait(self._every_s):
            self.look()
            if time.monotonic() - seen_at >= _SEEN_EVERY_S - self._every_s / 2:
                seen_at = time.monotonic()
                self.seen()
            if self.idle_s() > self._ctx.settings.idle_s:
                log.critical("nothing taken for %.0f s from queues that hold work: ends", self.idle_s())
                self._end()
                return

    def look(self) -> None:
        """Whether anything was taken since the last look, or there is nothing to take, or nobody to do it."""
        taken, now = sum(state.total_count.values()), time.monotonic()
        if taken != self._taken:
            self._taken, self._taken_at = taken, now
        busy = len(state.active_requests) >= self._slots and now - self._taken_at < self._longest_s
        if self._taken_at == now or busy or not self._lying():
            self._moved_at = now

    def idle_s(self) -> float:
        """Seconds for which work has been lying that this process could have taken."""
        return time.monotonic() - self._moved_at

    def _lying(self) -> bool:
        """Whether messages lie in its queues; where the broker is away, nobody can take anything."""
        if not self._broker.rabbitmq:
            try:
                return any(self._redis.llen(queue) for queue in self._queues)
            except RedisError:
                return False
        connection = Connection(**looking(self._broker))
        try:
            with connection:
                connection.connect()
                return any(lengths(connection, self._queues).values())
        except (*connection.connection_errors, *connection.channel_errors):
            return False

    def seen(self) -> None:
        """Store that the process lives."""
        ctx = self._ctx
        try:
            if self._register is not None and not ctx.registered:
                self._register()
            with ctx.transaction() as session:
                workers.seen(session, ctx.name, ctx.boot_id, idle_s=self.idle_s())
        except OperationalError:
            log.warning("postgresql away: that this process lives was not stored")

    def _end(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_WARM_S)
        os._exit(EXIT_IDLE)
