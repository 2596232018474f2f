"""The queue's door on a real Redis: committed before acknowledged, nothing twice, events in their order."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue
from kombu.message import Message as Received

from db.queries import webhooks
from db.queries.documents import Vault
from embedded.services import Services
from producers import intake
from producers.delivery import queue_door
from producers.delivery.doors import Door
from producers.delivery.queue_door import KIND, REASON, QueueDoor
from shared.sealing import SiteKey, new_site_key
from tests.accepted import ask
from tests.producers.delivery.conftest import end
from workers.context import Context

IN, DEAD, OUT = "in", "in.dead", "consilium"


def lines(count: int = 2) -> bytes:
    """So many records whose ids nobody has sent before."""
    text = "A man of seventy has had chest pain on exertion."
    return b"".join(
        json.dumps({"id": uuid.uuid4().hex, "vignette": text}).encode() + b"\n" for _ in range(count)
    )


class Broker:
    """The source's own broker, as the source uses it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = Connection(url)

    def send(self, body: bytes, **properties: Any) -> None:
        """Send a message to the queue that the door reads."""
        given = {"content_type": "application/x-ndjson", "content_encoding": "binary", **properties}
        self.connection.Producer().publish(body, routing_key=IN, **given)

    def get(self, queue: str | Queue) -> Received:
        """The next message of a queue, taken; pytest's limit ends the wait."""
        taken: list[Received] = []
        asked = [queue if isinstance(queue, Queue) else Queue(queue)]
        with self.connection.Consumer(asked, on_message=taken.append, prefetch_count=1):
            while not taken:
                self.connection.drain_events()
        taken[0].ack()  # not before: the next one would come
        return taken[0]


@pytest.fixture
def broker(services: Services) -> Iterator[Broker]:
    """Another database of the Redis that there is."""
    made = Broker(f"{services.addresses.broker_url.rpartition('/')[0]}/5")
    with made.connection as connection:
        connection.default_channel.client.flushdb()
        yield made


@pytest.fixture
def opened(
    ctx: Context, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., QueueDoor]]:
    """Opens doors to that broker, each in a thread; they are closed at the end."""
    monkeypatch.setenv("ST_MARY_BROKER", broker.url)
    monkeypatch.setattr(queue_door, "POLL_S", 0.05)
    stopping, threads = threading.Event(), []

    def open_(**changes: Any) -> QueueDoor:
        given = {"name": "st-mary", "source": "local", "url_env": "ST_MARY_BROKER", "queue": IN, **changes}
        settings = ctx.settings.model_copy(update={"broker_url": None})  # nobody is to be nudged
        door = QueueDoor(Door(**given), settings, ctx.registry, ctx.vault)
        threads.append(threading.Thread(target=door.run, args=(stopping,)))
        threads[-1].start()
        return door

    yield open_
    stopping.set()
    for thread in threads:
        thread.join()


def count(ctx: Context) -> int:
    """Submissions that are stored."""
    [(found,)] = ask(ctx, "SELECT count(*) FROM submissions WHERE state = 'open'")
    return int(found)


def answer(broker: Broker) -> dict[str, Any]:
    """What the door answered."""
    body = broker.get("answers").body
    found: dict[str, Any] = json.loads(body)
    return found


def test_a_message_is_a_submission_and_twice_is_once(
    ctx: Context, broker: Broker, opened: Callable[..., QueueDoor]
) -> None:
    """By its key, its id or its content; gzip, CSV and FHIR too; options stand in the headers."""
    before = count(ctx)
    opened()
    ndjson = lines()
    keyed = {"headers": {"idempotency-key": "night", "priority": "urgent"}, "reply_to": "answers"}
    for number in range(2):
        broker.send(ndjson, correlation_id=f"c{number}", **keyed)
    first = broker.get("answers")
    told = json.loads(first.body)
    assert (told["accepted"], told["set_aside"], told["repeated"]) == (2, 0, False)
    assert first.properties["correlation_id"] == "c0"
    assert answer(broker) == {**told, "repeated": True}
    assert ask(ctx, "SELECT priority FROM submissions WHERE id = %s", told["submission"]) == [("urgent",)]
    for body, properties in (
        (gzip.compress(lines()), {"message_id": "m1"}),
        (lines(), {}),
        (b"id,vignette\nc1,A man of seventy has had chest pain on exertion.\n", {"content_type": "text/csv"}),
    ):
        for repeated in (False, True):
            broker.send(body, reply_to="answers", **properties)
            assert answer(broker)["repeated"] is repeated
    assert count(ctx) == before + 4


UNREADABLE: list[tuple[bytes, dict[str, Any], str, str]] = [
    (gzip.compress(lines())[:-20], {}, "InputError", "gzip data is broken or cut short"),
    (b"PK\x03\x04 what a workbook is", {}, "InputError", "ZIP archive"),
    (b'{"id": "x"}\n', {}, "NothingAccepted", "none of the 1 records"),
    (lines(1), {"headers": {"priority": "now"}}, "InputError", "priority: Input should be"),
    (lines(1), {"headers": {"strategy": "FIXED"}}, "InputError", "belong together"),
    (lines(1), {"headers": {"compression": "application/x-gzip"}}, "InputError", "cannot be unpacked"),
]


def test_what_cannot_be_read_is_a_dead_letter(
    ctx: Context, broker: Broker, opened: Callable[..., QueueDoor]
) -> None:
    """As it came, with the reason; nothing of it is kept, and the next message is taken."""
    before = ask(ctx, "SELECT count(*) FROM data_keys"), count(ctx)
    opened()
    for body, properties, kind, reason in UNREADABLE:
        broker.send(body, message_id=uuid.uuid4().hex, **properties)
        dead = broker.get(DEAD)
        assert bytes(dead.body) == body
        assert dead.headers[KIND] == kind
        assert reason in dead.headers[REASON]
        assert (ask(ctx, "SELECT count(*) FROM data_keys"), count(ctx)) == before
    broker.send(lines(), reply_to="answers")
    assert answer(broker)["accepted"] == 2


def envelope(**changes: Any) -> dict[str, Any]:
    """A message as kombu writes it to Redis, with other properties."""
    at = {"exchange": "", "routing_key": IN}
    properties = {"delivery_tag": uuid.uuid4().hex, "delivery_info": at, "body_encoding": "base64", **changes}
    return {"body": base64.b64encode(lines()).decode(), "headers": {}, "properties": properties}


@pytest.mark.parametrize(
    "raw",
    [
        lines(1).strip(),
        b"no json ZEBRA",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[1]",
        b"7",
        b'{"body": "e30=", "properties": {}}',
        json.dumps({**envelope(), "headers": None}).encode(),
        json.dumps({**envelope(), "body": {"a": 1}}).encode(),
        json.dumps({**envelope(), "body": "e30"}).encode(),
        json.dumps(envelope(delivery_tag={"a": 1})).encode(),
        json.dumps(envelope(delivery_info={})).encode(),
        json.dumps(envelope(body_encoding="rot13")).encode(),
        b'{"headers": {"a": {"__type__": "uuid", "__value__": {"hex": 7}}}}',
    ],
)
def test_what_is_not_in_kombus_format_is_a_dead_letter(
    ctx: Context,
    broker: Broker,
    opened: Callable[..., QueueDoor],
    caplog: pytest.LogCaptureFixture,
    raw: bytes,
) -> None:
    """As it came, and the door goes on without a word of it in the log."""
    opened()
    broker.connection.default_channel.client.lpush(IN, raw)
    dead = broker.get(DEAD)
    assert bytes(dead.body) == raw
    assert (dead.headers[KIND], "kombu's format" in dead.headers[REASON]) == ("InputError", True)
    broker.send(lines(), reply_to="answers")
    assert answer(broker)["accepted"] == 2
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("properties", [{"reply_to": {"a": 1}}, {"reply_to": ["x"], "message_id": 7}])
def test_an_answer_that_nobody_can_get_holds_nothing_up(
    ctx: Context, broker: Broker, opened: Callable[..., QueueDoor], properties: dict[str, Any]
) -> None:
    """All is stored: the message is acknowledged and does not come again."""
    before = count(ctx)
    opened(redelivery_s=0.1)
    client = broker.connection.default_channel.client
    client.lpush(IN, json.dumps(envelope(delivery_tag="first", **properties)))
    broker.send(lines(), reply_to="answers")
    assert answer(broker)["repeated"] is False
    assert (count(ctx), client.llen(IN), client.hget("unacked", "first")) == (before + 2, 0, None)


def test_an_answer_that_cannot_be_sent_is_logged(
    ctx: Context, broker: Broker, opened: Callable[..., QueueDoor], caplog: pytest.LogCaptureFixture
) -> None:
    """Whereto it was to go is something else: the message is acknowledged all the same."""
    client = broker.connection.default_channel.client
    client.set("answers", "no list")
    before = count(ctx)
    opened(redelivery_s=0.1)
    broker.send(lines(), reply_to="answers")
    broker.send(b"the next one")
    broker.get(DEAD)
    assert count(ctx) == before + 1
    assert "an answer cannot be sent: ResponseError" in caplog.text


def test_of_what_breaks_off_nothing_is_kept(
    ctx: Context, broker: Broker, opened: Callable[..., QueueDoor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that is too long when its first chunk is stored: its texts are erased, its ids are free."""
    monkeypatch.setattr(intake, "CHUNK", 2)
    keys = ask(ctx, "SELECT count(*) FROM data_keys")
    ask(ctx, "UPDATE sources SET max_records = 3 WHERE name = 'local'")
    body = lines(5)
    opened()
    broker.send(body)
    assert "more than the 3 records" in broker.get(DEAD).headers[REASON]
    assert ask(ctx, "SELECT count(*) FROM data_keys") == keys
    assert ask(ctx, "SELECT count(*) FROM submissions WHERE state IN ('receiving', 'rejected')") == [(0,)]
    ask(ctx, "UPDATE sources SET max_records = NULL")
    broker.send(b"".join(body.splitlines(keepends=True)[:3]), reply_to="answers")
    assert answer(broker)["accepted"] == 3


def test_killed_between_commit_and_acknowledgement(
    ctx: Context, broker: Broker, opened: Callable[..., QueueDoor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message comes again to whoever is there, and is found to be stored."""
    before = count(ctx)
    committed, woken = threading.Event(), threading.Event()

    def hang(*_: Any) -> None:  # as good as dead: nothing is acknowledged and nothing put back
        committed.set()
        woken.wait()

    with monkeypatch.context() as patched:
        patched.setattr(QueueDoor, "_reply", hang)
        broker.send(lines(), reply_to="answers")
        opened(redelivery_s=0.5)
        committed.wait()
    try:
        assert count(ctx) == before + 1
        opened(redelivery_s=0.5)
        told = answer(broker)
        assert (told["repeated"], told["accepted"]) == (True, 2)
        assert count(ctx) == before + 1
    finally:
        woken.set()


def test_a_database_that_is_away_loses_nothing(
    ctx: Context, broker: Broker, opened: Callable[..., QueueDoor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message goes back and is taken when PostgreSQL is there again; it is no dead letter."""
    monkeypatch.setattr(queue_door, "LONGEST_S", 0.05)
    door = opened()
    url, door._url = door._url, "postgresql://127.0.0.1:9/none"
    broker.send(lines(), reply_to="answers")
    with pytest.raises(TimeoutError):
        broker.connection.drain_events(timeout=0.3)
    door._url = url
    assert answer(broker)["repeated"] is False


def test_a_key_that_is_rotated_makes_no_dead_letters(
    ctx: Context, broker: Broker, opened: Callable[..., QueueDoor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is wrong with the message: it waits for a process that has the new key."""
    monkeypatch.setattr(queue_door, "LONGEST_S", 0.05)
    rotated = Vault(SiteKey(new_site_key(), None, lambda: b"wrapped by another key's bytes"), 30)
    door = opened()
    vault, door._vault = door._vault, rotated
    broker.send(lines(), reply_to="answers")
    with pytest.raises(TimeoutError):
        broker.connection.drain_events(timeout=0.3)
    door._vault = vault
    assert answer(broker)["repeated"] is False


def test_heartbeats_are_sent_while_a_message_is_stored(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that takes; and none afterwards, when the connection is used again."""
    monkeypatch.setattr(queue_door, "HEARTBEAT_S", 0.04)
    beats, acks = threading.Semaphore(0), threading.Semaphore(0)
    given = {"name": "a", "source": "local", "url_env": "THEIRS", "queue": IN}
    settings = ctx.settings.model_copy(update={"broker_url": None})
    door = QueueDoor(Door(**given), settings, ctx.registry, ctx.vault)
    door._connection = SimpleNamespace(
        supports_heartbeats=True, connection=SimpleNamespace(send_heartbeat=beats.release)
    )
    monkeypatch.setattr(door, "_take", lambda _: [beats.acquire(timeout=5) for _ in range(3)])
    monkeypatch.setattr(door, "_reply", lambda _, taken: taken == [True] * 3 or pytest.fail("no heartbeats"))
    door._received(SimpleNamespace(ack=acks.release))
    assert acks.acquire(blocking=False)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]


def test_events_leave_by_the_exchange(ctx: Context, broker: Broker, opened: Callable[..., QueueDoor]) -> None:
    """Ids only, in order, each by its type as the routing key; bound queues get what they asked for."""
    exchange = Exchange(OUT, "topic", durable=True)
    everything, finished = Queue("all", exchange, "#"), Queue("ends", exchange, "submission.*")
    for queue in (everything, finished):
        queue(broker.connection.default_channel).declare()
    with ctx.transaction() as session:
        webhooks.open_doors(session, [("st-mary", "local")])
    ended = end(ctx, 3)
    opened(queue=None, events_exchange=OUT)
    messages = [broker.get(everything) for _ in range(4)]
    told = [json.loads(message.body) for message in messages]
    assert [each["data"]["consultation"] for each in told] == [*map(str, ended), None]
    assert [each["type"] for each in told] == ["consultation.completed"] * 3 + ["submission.finished"]
    assert {message.delivery_info["routing_key"] for message in messages} == {each["type"] for each in told}
    sent = ask(ctx, "SELECT event_id::text FROM outbox_events ORDER BY id DESC LIMIT 4")
    assert [message.properties["message_id"] for message in messages] == [row[0] for row in reversed(sent)]
    assert json.loads(broker.get(finished).body) == told[-1]
    while ask(ctx, "SELECT FROM deliveries WHERE delivered_at IS NULL"):
        pass
    [(left,)] = ask(ctx, "SELECT count(*) FROM deliveries WHERE attempts <> 1")
    assert left == 0


def test_a_broken_broker_is_no_others(
    ctx: Context, broker: Broker, opened: Callable[..., QueueDoor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A door whose broker is away, and one whose source is unknown, are tried again; the third serves."""
    monkeypatch.setenv("NOBODY", "redis://127.0.0.1:9/0")
    monkeypatch.setattr(queue_door, "LONGEST_S", 0.05)
    opened(name="away", url_env="NOBODY")
    opened(name="unknown", source="nobody")
    opened()
    broker.send(lines(), reply_to="answers")
    assert answer(broker)["accepted"] == 2


def test_doors_that_the_file_no_longer_names_get_nothing(ctx: Context) -> None:
    """Their events are not queued for ever; named again they go on."""
    states = "SELECT door, disabled_reason FROM destinations ORDER BY door"
    for doors, expected in (
        ([("a", "local"), ("b", "local")], [("a", None), ("b", None)]),
        ([("b", "local")], [("a", webhooks.LEFT_OUT), ("b", None)]),
        ([], [("a", webhooks.LEFT_OUT), ("b", webhooks.LEFT_OUT)]),
        ([("a", "local")], [("a", None), ("b", webhooks.LEFT_OUT)]),
    ):
        with ctx.transaction() as session:
            webhooks.open_doors(session, doors)
        assert ask(ctx, states) == expected
