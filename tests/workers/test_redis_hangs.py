"""A Redis that does not answer for a while costs a worker none of its slots."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import redis
from celery import Celery
from kombu import Connection, Consumer, Queue
from kombu.message import Message

from embedded.services import Services
from workers.backend import LeanRedisBackend

HANG_MS = 3_000
TIMEOUT_S = 0.2


@pytest.fixture
def client(services: Services) -> Iterator[redis.Redis]:
    """A client that waits as long as it takes."""
    with redis.Redis.from_url(services.addresses.broker_url) as made:
        yield made


@pytest.fixture
def queue(client: redis.Redis) -> Iterator[str]:
    """A queue of this test's own."""
    name = f"hanging-{uuid.uuid4()}"
    yield name
    client.delete(name, f"_kombu.binding.{name}", f"{name}-unacked", f"{name}-unacked-index")


def _hang(client: redis.Redis) -> None:
    client.execute_command("CLIENT", "PAUSE", HANG_MS, "ALL")


def _goes_on(client: redis.Redis) -> None:
    client.ping()  # answered when the pause is over


@pytest.mark.parametrize("how", ["ack", "reject"])
def test_what_could_not_be_acknowledged_takes_no_place(
    how: str, services: Services, client: redis.Redis, queue: str
) -> None:
    """The next message is taken although Redis did not hear in time that the first is done."""
    heard: list[Message] = []
    options = {
        "socket_timeout": TIMEOUT_S,
        "unacked_key": f"{queue}-unacked",
        "unacked_index_key": f"{queue}-unacked-index",
    }
    url = services.addresses.broker_url
    transport = "workers.redis_transport:Transport"
    with Connection(url, transport=transport, transport_options=options) as connection:
        channel = connection.channel()
        ours = Queue(queue)(channel)
        with Consumer(channel, [ours], on_message=heard.append, prefetch_count=1):
            for body in ("first", "second"):
                connection.Producer().publish(body, routing_key=queue, declare=[ours])
            connection.drain_events(timeout=20)
            _hang(client)
            with pytest.raises(redis.TimeoutError):
                getattr(heard[0], how)()
            _goes_on(client)
            connection.drain_events(timeout=20)
            assert [message.payload for message in heard] == ["first", "second"]
            heard[1].ack()


def test_a_chord_that_could_not_be_counted_is_no_error(
    services: Services, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """The task that did its work ends well; the log says what was left out."""
    app = Celery(set_as_current=False)
    app.conf.redis_socket_timeout = TIMEOUT_S
    backend = LeanRedisBackend(app=app, url=services.addresses.broker_url)
    part = SimpleNamespace(id="task", group=str(uuid.uuid4()), group_index=0, chord={"chord_size": 2})
    _hang(client)
    backend.on_chord_part_return(part, "SUCCESS", None)
    assert "chord not counted: redis away type=TimeoutError" in caplog.text
    _goes_on(client)
    backend.on_chord_part_return(part, "SUCCESS", None)
    assert client.delete(*client.keys(f"*{part.group}*")) > 0
    backend.client.close()
    app.close()
