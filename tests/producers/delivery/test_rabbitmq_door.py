"""The queue's door on a real RabbitMQ: taken, dead letters, events that the broker confirms."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Exchange, Queue

from db.queries import webhooks
from producers.delivery import queue_door
from producers.delivery.doors import Door
from producers.delivery.queue_door import REASON, QueueDoor
from tests.accepted import ask
from tests.brokers.authority import authority
from tests.brokers.servers import rabbitmq
from tests.homes import home_of
from tests.producers.delivery.conftest import end
from tests.producers.delivery.test_queue_door import DEAD, IN, OUT, Broker, answer, lines
from workers.context import Context

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def addresses() -> Iterator[tuple[str, str]]:
    """Without and with TLS."""
    with (
        home_of("consilium-door-") as folder,
        rabbitmq(folder / "rabbitmq", authority(folder / "authority")) as both,
    ):
        yield both


def test_in_and_out(ctx: Context, addresses: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS: what died with its connection comes again, and what the exchange got is confirmed."""
    monkeypatch.setenv("THEIRS", addresses[1])
    broker = Broker(addresses[0])
    given: dict[str, Any] = {"queue": IN, "events_exchange": OUT, "url_env": "THEIRS"}
    settings = ctx.settings.model_copy(update={"broker_url": None})
    door = QueueDoor(Door(name="a", source="local", **given), settings, ctx.registry, ctx.vault)
    everything = Queue("all", Exchange(OUT, "topic", durable=True), "consultation.*", durable=True)
    everything(broker.connection.default_channel).declare()
    for name in (IN, DEAD, "answers"):
        Queue(name, durable=True)(broker.connection.default_channel).declare()
    stopping = threading.Event()
    thread = threading.Thread(target=door.run, args=(stopping,))
    with ctx.transaction() as session:
        webhooks.open_doors(session, [("a", "local")])
    ended = end(ctx, 2)
    body = lines()
    real = QueueDoor._reply

    def break_off(self: QueueDoor, *args: Any) -> None:
        monkeypatch.setattr(QueueDoor, "_reply", real)
        raise ConnectionResetError

    monkeypatch.setattr(QueueDoor, "_reply", break_off)
    broker.send(body, reply_to="answers")
    broker.send(b"%PDF-1.7", message_id="m")
    thread.start()
    try:
        assert answer(broker)["repeated"] is True
        assert "is a PDF" in broker.get(DEAD).headers[REASON]
        told = [json.loads(broker.get(everything).body) for _ in ended]
        assert [each["data"]["consultation"] for each in told] == [str(each) for each in ended]
    finally:
        stopping.set()
        thread.join()
        broker.connection.release()
    assert ask(ctx, "SELECT count(*) FROM deliveries WHERE delivered_at IS NULL") == [(0,)]


def test_a_message_that_takes_long_comes_once(
    ctx: Context, addresses: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than RabbitMQ waits for a sign of life: it keeps the connection, and sends nothing again."""
    monkeypatch.setenv("THEIRS", addresses[1])
    monkeypatch.setattr(queue_door, "HEARTBEAT_S", 1)
    broker, taken = Broker(addresses[0]), []
    settings = ctx.settings.model_copy(update={"broker_url": None})
    given: dict[str, Any] = {"name": "long", "source": "local", "url_env": "THEIRS", "queue": IN}
    door = QueueDoor(Door(**given), settings, ctx.registry, ctx.vault)
    for name in (IN, "answers"):
        Queue(name, durable=True)(broker.connection.default_channel).declare()
    real = queue_door.receive

    def slow(*args: Any, **named: Any) -> Any:
        taken.append(1)
        time.sleep(5)
        return real(*args, **named)

    monkeypatch.setattr(queue_door, "receive", slow)
    stopping = threading.Event()
    thread = threading.Thread(target=door.run, args=(stopping,))
    broker.send(lines(), reply_to="answers")
    thread.start()
    try:
        assert answer(broker)["repeated"] is False
        time.sleep(2)  # it would be back by now
    finally:
        stopping.set()
        thread.join()
        broker.connection.release()
    assert len(taken) == 1
