"""kombu's Redis transport with one client per channel, and slots that a hung Redis cannot keep.

kombu makes a client for every delivery, acknowledgement and publish, which costs as much CPU as all the rest
of it; a client of redis-py only borrows connections from the channel's pool, and threads may share it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from kombu.transport import redis, virtual
from redis.exceptions import RedisError


class QoS(redis.QoS):
    """What is done takes no place among the messages in hand, also where Redis could not be told.

    kombu goes on counting it: after a hang of Redis such a worker takes fewer messages, or none. A message
    that stayed unacknowledged comes again, and finds its work settled.
    """

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge. Raises `RedisError`."""
        try:
            super().ack(delivery_tag)
        except RedisError:
            virtual.QoS.ack(self, delivery_tag)
            raise

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Give it back, or drop it. Raises `RedisError`."""
        try:
            super().reject(delivery_tag, requeue)
        except RedisError:
            virtual.QoS.ack(self, delivery_tag)
            raise


class Channel(redis.Channel):
    """Keeps its client for as long as its pool."""

    QoS = QoS
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
