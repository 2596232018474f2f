"""kombu's Redis transport with one client per channel.

kombu makes a client for every delivery, acknowledgement and publish, which costs as much CPU as all the rest
of it; a client of redis-py only borrows connections from the channel's pool, and threads may share it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from kombu.transport import redis


class Channel(redis.Channel):
    """Keeps its client for as long as its pool."""

    _kept: Any = None

    @contextmanager
    def conn_or_acquire(self, client: Any | None = None) -> Generator[Any, None, None]:
        """The client given, else the channel's own."""
        if client is None:
            client = self._kept
            # the pool is made anew after a loss
            if client is None or client.connection_pool is not self.pool:
                with super().conn_or_acquire() as client:
                    self._kept = client
        yield client


class Transport(redis.Transport):
    """The transport, to be named as `broker_transport`."""

    Channel = Channel
