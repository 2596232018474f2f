"""Webhooks against a real receiver: each event once by its id, in order, and to nobody else."""

from __future__ import annotations

import base64
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from db.queries import deliveries, events, webhooks
from producers.delivery import server
from producers.delivery.posting import Poster
from producers.delivery.signing import headers
from producers.delivery.webhooks import Webhooks
from tests.accepted import ask
from tests.producers.delivery.conftest import add, end, state
from tests.producers.delivery.receiver import Receiver, receiving, verify
from workers.context import Context

_HOUR = timedelta(hours=1)


def test_each_event_arrives_once_signed_with_ids_only(
    ctx: Context, receiver: Receiver, sending: Webhooks
) -> None:
    """In the order of the events, from the webhook's creation on; a second look sends nothing."""
    end(ctx, 1)
    webhook = add(ctx, receiver)
    ended = end(ctx, 3)
    assert sending.send(webhook) == 4
    assert sending.send(webhook) == 0
    assert [body["data"]["consultation"] for _, body in receiver.taken] == [*map(str, ended), None]
    told = [body["type"] for _, body in receiver.taken]
    assert told == ["consultation.completed"] * 3 + ["submission.finished"]
    stored = ask(ctx, "SELECT event_id::text FROM outbox_events ORDER BY id DESC LIMIT 4")
    assert [event_id for event_id, _ in receiver.taken] == [row[0] for row in reversed(stored)]
    for _, body in receiver.taken:
        assert body.keys() == {"type", "timestamp", "data"}
        assert body["data"].keys() == {"submission", "consultation"}
    assert state(ctx, webhook) == ("active", 0, 0)


def test_the_process_hears_of_events_by_itself(
    ctx: Context, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is woken by notifications, not by looking, and comes back after a lost connection."""
    monkeypatch.setattr(server, "POLL_S", 60.0)
    monkeypatch.setattr(server, "_AWAY_S", 0.01)
    add(ctx, receiver)
    end(ctx, 1, deliver=False)
    stopping = threading.Event()
    thread = threading.Thread(target=server.serve, args=(ctx.settings, stopping))
    thread.start()
    try:
        receiver.wait(2)  # what nobody else has delivered
        end(ctx, 2)
        receiver.wait(5)
        ask(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'")
        end(ctx, 1)
        receiver.wait(7)
    finally:
        stopping.set()
        ask(ctx, f"SELECT pg_notify('{events.CHANNEL}', 'end')")
        thread.join()
    assert set(Counter(event_id for event_id, _ in receiver.taken).values()) == {1}


@pytest.mark.usefixtures("at_once")
def test_a_receiver_that_is_down_gets_each_once_when_it_is_back(ctx: Context, sending: Webhooks) -> None:
    """Nothing is lost, one event at a time is tried meanwhile, and then each comes exactly once."""
    with receiving() as receiver:
        webhook = add(ctx, receiver)
        port, secret = receiver.server_address[1], receiver.secret
    end(ctx, 5)
    for _ in range(3):
        assert sending.send(webhook) == 0
    assert state(ctx, webhook) == ("failing", 6, 0)
    [(attempts, error)] = ask(ctx, "SELECT sum(attempts), max(error) FROM deliveries")
    assert (attempts, error) == (3, "no connection")
    with receiving(port) as receiver:
        receiver.secret = secret
        receiver.answers = [(503, {}), (200, {}), (500, {})]
        while state(ctx, webhook)[1]:
            sending.send(webhook)
    assert set(Counter(event_id for event_id, _ in receiver.taken).values()) == {1}
    assert len(receiver.taken) == 6
    assert state(ctx, webhook) == ("active", 0, 0)


def test_waits_double_and_a_retry_after_is_kept(ctx: Context, receiver: Receiver, sending: Webhooks) -> None:
    """Half to all of 5, 10, 20 s; not before what the receiver asked for; nothing is sent until then."""
    webhook = add(ctx, receiver)
    end(ctx, 1)
    waits = "SELECT extract(epoch FROM not_before - now())::float FROM destinations"
    asked = ((500, {}), (500, {}), (500, {}), (429, {"Retry-After": "300"}))
    for answer, (least, most) in zip(asked, ((2.4, 5), (4.9, 10), (9.9, 20), (299, 300)), strict=True):
        receiver.answers = [answer]
        ask(ctx, "UPDATE deliveries SET next_at = now()")
        sending.send(webhook)
        [(wait_s,)] = ask(ctx, waits)
        assert least <= wait_s <= most
    with ctx.transaction() as session:
        assert deliveries.due(session, "webhook") == []
    receiver.answers = [(500, {})]


@pytest.mark.usefixtures("at_once")
def test_order_within_a_consultation(ctx: Context, receiver: Receiver, sending: Webhooks) -> None:
    """A later event of one waits for the earlier one, however many processes send; others overtake it."""
    webhook = add(ctx, receiver)
    [first, *_] = end(ctx, 3)
    ask(
        ctx,
        "INSERT INTO outbox_events (source_id, submission_id, consultation_id, type, times) "
        "SELECT source_id, submission_id, consultation_id, 'consultation.failed', 1 FROM outbox_events "
        "WHERE consultation_id = %s",
        first,
    )
    with ctx.transaction() as session:
        events.deliver(session)
    receiver.answers = [(500, {})]
    sending.send(webhook)
    ask(ctx, "UPDATE deliveries SET next_at = now() + interval '1 hour' WHERE attempts > 0")
    while sending.send(webhook):
        pass
    assert len(receiver.taken) == 3  # two consultations and the submission
    ask(ctx, "UPDATE deliveries SET next_at = now()")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(sending.send, [webhook] * 4))
    while state(ctx, webhook)[1]:
        sending.send(webhook)
    told = [body["type"] for _, body in receiver.taken if body["data"]["consultation"] == str(first)]
    assert told == ["consultation.completed", "consultation.failed"]
    assert len({event_id for event_id, _ in receiver.taken}) == len(receiver.taken) == 5


def test_two_that_deliver_keep_the_order(ctx: Context, receiver: Receiver) -> None:
    """Events are queued once, in turn, by however many at the same moment."""
    add(ctx, receiver)
    for _ in range(3):
        end(ctx, 4, deliver=False)

    def deliver(_: int) -> int:
        with ctx.transaction() as session:
            return events.deliver(session, most=2)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(deliver, range(10))) == 15
    assert ask(ctx, "SELECT count(*), count(DISTINCT outbox_id) FROM deliveries") == [(15, 15)]


def test_what_died_on_its_way_is_sent_again(ctx: Context, receiver: Receiver, sending: Webhooks) -> None:
    """Whoever takes an event and dies has it sent again after its lease; its id is the same."""
    webhook = add(ctx, receiver, "consultation.completed")
    end(ctx, 1)
    with ctx.transaction() as session:
        [taken] = deliveries.take(session, webhook, most=5)
    assert sending.send(webhook) == 0
    ask(ctx, "UPDATE deliveries SET next_at = now()")
    assert sending.send(webhook) == 1
    assert [event_id for event_id, _ in receiver.taken] == [str(taken.event_id)]


def test_signatures(ctx: Context, receiver: Receiver, sending: Webhooks) -> None:
    """A wrong secret and any flipped bit are refused; the specification's own example comes out right."""
    webhook = add(ctx, receiver)
    secret, receiver.secret = receiver.secret, f"whsec_{base64.b64encode(bytes(32)).decode()}"
    end(ctx, 1)
    sending.send(webhook)
    assert receiver.taken == []
    assert ask(ctx, "SELECT status FROM deliveries WHERE attempts > 0") == [(401,)]
    _, signed, body = receiver.asked[0]
    assert uuid.UUID(verify(secret, signed, body))
    signature = signed["webhook-signature"]
    raw = base64.b64decode(signature[3:])
    flipped = bytes([raw[0] ^ 1]) + raw[1:]
    for broken, content in (
        ({**signed, "webhook-signature": f"v1,{base64.b64encode(flipped).decode()}"}, body),
        ({**signed, "webhook-timestamp": str(int(signed["webhook-timestamp"]) ^ 1)}, body),
        (signed, bytes([body[0] ^ 1]) + body[1:]),
    ):
        with pytest.raises(ValueError, match="not signed"):
            verify(secret, broken, content)
    # what the package standardwebhooks 1.1.0 signs this with
    given = headers(
        base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert given["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_gone_disables_and_enabling_goes_on(ctx: Context, receiver: Receiver, sending: Webhooks) -> None:
    """410 at once; what waited is kept, what happens meanwhile is brought by `redeliver`."""
    webhook = add(ctx, receiver)
    end(ctx, 1)
    receiver.answers = [(410, {})]
    assert sending.send(webhook) == 0
    assert state(ctx, webhook) == ("disabled: HTTP 410", 2, 0)
    end(ctx, 1)
    with ctx.transaction() as session:
        assert deliveries.due(session, "webhook") == []
        webhooks.enable(session, webhook)
    assert sending.send(webhook) == 2
    with ctx.transaction() as session:
        assert webhooks.redeliver(session, webhook, since=_HOUR) == 2
        assert webhooks.redeliver(session, webhook, since=_HOUR) == 0
    assert sending.send(webhook) == 2
    known = uuid.UUID(receiver.taken[0][0])
    with ctx.transaction() as session:
        assert webhooks.redeliver(session, webhook, event_id=known) == 1
    assert sending.send(webhook) == 1
    assert Counter(event_id for event_id, _ in receiver.taken)[str(known)] == 2


@pytest.mark.usefixtures("at_once")
def test_a_day_of_failures_disables(ctx: Context, receiver: Receiver, sending: Webhooks) -> None:
    """The event is dead, the webhook says why; both can be brought back."""
    webhook = add(ctx, receiver, "consultation.completed")
    end(ctx, 1)
    receiver.answers = [(500, {})] * 2
    sending.send(webhook)
    assert state(ctx, webhook) == ("failing", 1, 0)
    ask(ctx, "UPDATE destinations SET failing_since = failing_since - interval '25 hours'")
    ask(ctx, "UPDATE deliveries SET queued_at = queued_at - interval '25 hours'")
    sending.send(webhook)
    assert state(ctx, webhook) == ("disabled: failed for a day: HTTP 500", 0, 1)
    with ctx.transaction() as session:
        webhooks.enable(session, webhook)
        assert webhooks.redeliver(session, webhook, since=_HOUR) == 1
    assert sending.send(webhook) == 1


@pytest.mark.usefixtures("at_once")
def test_the_day_begins_with_the_first_failure(ctx: Context, receiver: Receiver, sending: Webhooks) -> None:
    """What was queued, or asked for again, while nobody sent for two days has its day of attempts still."""
    webhook = add(ctx, receiver, "consultation.completed")
    end(ctx, 1)
    receiver.answers = [(500, {})] * 3
    late = "UPDATE deliveries SET queued_at = queued_at - interval '2 days'"
    ask(ctx, late)
    sending.send(webhook)
    assert state(ctx, webhook) == ("failing", 1, 0)
    ask(ctx, late)
    sending.send(webhook)
    assert state(ctx, webhook) == ("failing", 0, 1)
    with ctx.transaction() as session:
        assert webhooks.redeliver(session, webhook, since=_HOUR) == 1
    ask(ctx, late)
    sending.send(webhook)
    assert state(ctx, webhook) == ("failing", 1, 0)


def test_a_bug_on_one_webhook_is_no_others(
    ctx: Context,
    receiver: Receiver,
    sending: Webhooks,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is told by its kind alone, and the rest is sent."""
    bad, good = add(ctx, receiver), add(ctx, receiver)
    real = Webhooks._send

    def send(self: Webhooks, webhook: uuid.UUID, *more: Any) -> int:
        if webhook == bad:
            raise LookupError("ZEBRA")
        return real(self, webhook, *more)

    monkeypatch.setattr(Webhooks, "_send", send)
    end(ctx, 1)
    while sending.begin():
        pass
    assert f"webhook {bad}: a bug: LookupError" in caplog.text
    assert "ZEBRA" not in caplog.text
    assert (state(ctx, bad)[1], state(ctx, good)[1]) == (2, 0)


def test_an_address_that_is_none_is_given_up(ctx: Context, receiver: Receiver, sending: Webhooks) -> None:
    """One that was added before such were refused: a failure as any other, by its kind."""
    webhook = add(ctx, receiver)
    ask(ctx, "UPDATE destinations SET url = url || chr(1)")
    end(ctx, 1)
    assert sending.send(webhook) == 0
    assert ask(ctx, "SELECT error FROM deliveries WHERE attempts > 0") == [("not a URL",)]


def test_disabled_meanwhile_gets_no_more(
    ctx: Context, receiver: Receiver, sending: Webhooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even what was taken for it already, which waits as all else does."""
    webhook = add(ctx, receiver)
    end(ctx, 3)
    real = Poster.post

    def post(*given: Any) -> int:
        with ctx.transaction() as session:
            webhooks.disable(session, webhook)
        return real(*given)

    monkeypatch.setattr(Poster, "post", post)
    assert sending.send(webhook) == 1
    assert state(ctx, webhook) == ("disabled: by an operator", 3, 0)
    assert ask(ctx, "SELECT max(attempts) FROM deliveries WHERE delivered_at IS NULL") == [(0,)]


def test_all_get_their_turn(ctx: Context, receiver: Receiver) -> None:
    """Where more wait than are sent to at once, it is not always the same ones' turn."""
    waiting = {add(ctx, receiver) for _ in range(3)}
    end(ctx, 1)
    with ctx.transaction() as session:
        assert {deliveries.due(session, "webhook")[0] for _ in range(50)} == waiting


def test_a_redirect_is_not_followed(ctx: Context, receiver: Receiver, sending: Webhooks) -> None:
    """It is a failure; nobody is asked at the other address."""
    webhook = add(ctx, receiver)
    end(ctx, 1)
    receiver.answers = [(307, {"Location": receiver.url.replace("events", "elsewhere")})]
    sending.send(webhook)
    assert [path for path, _, _ in receiver.asked] == ["/events"]
    assert ask(ctx, "SELECT error FROM deliveries WHERE attempts > 0") == [("redirected",)]


def test_another_source_and_other_types_get_nothing(
    ctx: Context, receiver: Receiver, sending: Webhooks
) -> None:
    """A webhook gets its own source's events, of the types that it asked for."""
    ask(ctx, "INSERT INTO sources (id, name, policy) SELECT gen_random_uuid(), 'other', policy FROM sources")
    others = add(ctx, receiver, source="other")
    webhook = add(ctx, receiver, "submission.finished")
    end(ctx, 2)
    assert sending.send(others) == 0
    assert sending.send(webhook) == 1
    assert [body["type"] for _, body in receiver.taken] == ["submission.finished"]
