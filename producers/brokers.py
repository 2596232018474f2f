"""The broker and Redis as producers look at them: briefly, and with a reason where one cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis
from kombu import Connection

from shared.addresses import Address, address, tls_fault
from shared.broker import QUEUES, lengths, looking
from shared.settings import Settings


class Unreachable(Exception):
    """A server gave no answer; why, where that is known: a sentence's part, or empty."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(tls_fault(error) or "")


def broker_of(settings: Settings) -> Address:
    """The broker's address. Raises `SettingsError`."""
    return address(settings.require_broker())


def own_redis(settings: Settings) -> bool:
    """Whether Redis is another server than the broker. Raises `SettingsError`."""
    return settings.require_redis() != broker_of(settings).url


@contextmanager
def asked_redis(url: str) -> Iterator[redis.Redis]:
    """A client of Redis that gives up after 2 s. Raises `Unreachable`."""
    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
            yield client
    except redis.RedisError as error:
        raise Unreachable(error) from None


@contextmanager
def asked_rabbitmq(broker: Address) -> Iterator[Connection]:
    """A connection to RabbitMQ that gives up after 2 s. Raises `Unreachable`."""
    connection = Connection(**looking(broker))
    try:
        with connection:
            connection.connect()
            yield connection
    except (*connection.connection_errors, *connection.channel_errors) as error:
        raise Unreachable(error) from None


def depths(settings: Settings) -> dict[str, int]:
    """Messages that lie in each of the broker's queues. Raises `Unreachable`, `SettingsError`."""
    broker = broker_of(settings)
    if broker.rabbitmq:
        with asked_rabbitmq(broker) as connection:
            return lengths(connection, QUEUES)
    with asked_redis(broker.url) as client, client.pipeline(transaction=False) as pipe:
        for queue in QUEUES:
            pipe.llen(queue)
        return dict(zip(QUEUES, pipe.execute(), strict=True))
