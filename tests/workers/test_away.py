"""Models that are away: the circuit breaker over all workers, substitutes, pauses and holds."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery

from db.queries import model_states, pauses
from embedded.services import Services
from tests import accepted
from tests.accepted import ask, consultations_of, owed_by, recommendation, row, submit
from tests.workers.chat_server import Server, chat_servers, completion
from workers import answering, flow
from workers.answering import Again, Deferred, Lost
from workers.context import Context

BREAKER = {"breaker_failures": 3, "breaker_cooldown_s": 60, "backoff_base_s": 0.01, "substitute_after_s": 50}
FIRST = "sim-alder-large"


@pytest.fixture
def server() -> Iterator[Server]:
    """A model server that answers well."""
    with chat_servers() as start:
        made = start()
        made.body = completion(recommendation("amoxicillin"))
        yield made


@pytest.fixture
def sent(services: Services) -> Iterator[tuple[Celery, redis.Redis]]:
    """An application on the real broker, which nobody consumes."""
    with accepted.sending(services) as both:
        yield both


@pytest.fixture
def ctx(database_url: str, server: Server) -> Context:
    """A worker's context, every model on that server."""
    return accepted.context(database_url, server.url, **BREAKER)


def breaks(server: Server) -> None:
    """The server is away from now on."""
    server.status, server.body = 503, {"error": {"message": "no", "code": "x"}}


def mends(server: Server) -> None:
    """It answers again."""
    server.status, server.body = 200, completion(recommendation("amoxicillin"))


def state(ctx: Context, name: str = FIRST) -> model_states.State:
    """What is shared about a model."""
    ctx.controls.forget()
    with ctx.transaction() as session:
        return model_states.states(session)[name]


def probe_due(ctx: Context, name: str = FIRST) -> None:
    """The wait before the next probe is over."""
    ask(ctx, "UPDATE model_states SET probe_at = now() WHERE name = %s", name)
    ask(ctx, "UPDATE owed_answers SET not_before = now()")
    ctx.controls.forget()


def opened(ctx: Context, server: Server, **order: Any) -> list[uuid.UUID]:
    """Consultations whose first model's breaker has just been opened by the first seat of each."""
    consultations = consultations_of(ctx, submit(ctx, 4, **order))
    breaks(server)
    for consultation in consultations[:3]:
        answering.answer(ctx, owed_by(ctx, consultation)[0])
    assert state(ctx).opened_at is not None
    return consultations


def go_on(ctx: Context, app: Celery, consultation: uuid.UUID) -> None:
    ask(ctx, "UPDATE consultations SET dispatched_at = now() WHERE id = %s", consultation)
    flow.go_on(ctx, app, consultation)


def seats(ctx: Context, consultation: uuid.UUID) -> list[tuple[Any, ...]]:
    """(seat, occupancy, why it was left, state of the owed generation) in order."""
    return ask(
        ctx,
        "SELECT s.seat, s.occupancy, s.left_because, o.state FROM seats s JOIN owed_answers o "
        "USING (consultation_id, seat, occupancy) WHERE o.kind = 'generation' AND consultation_id = %s "
        "ORDER BY 1, 2",
        consultation,
    )


def test_outages_in_a_row_open_it_and_then_nothing_is_called_or_counted(ctx: Context, server: Server) -> None:
    """Two failures count as tries; the third opens the breaker, and from then on only time passes."""
    consultations = opened(ctx, server)
    rows = [row(ctx, owed_by(ctx, c)[0]) for c in consultations]
    assert [r["tries"] for r in rows] == [1, 1, 0, 0]
    assert rows[2]["away_since"] is not None
    calls = len(server.requests)
    assert answering.answer(ctx, owed_by(ctx, consultations[3])[0]) == Deferred()
    assert len(server.requests) == calls, "an open model is not called"
    assert row(ctx, owed_by(ctx, consultations[3])[0])["away_since"] is not None


def test_one_probe_at_a_time_and_twice_the_wait(ctx: Context, server: Server) -> None:
    """When it is due one call goes out; it fails, nothing is counted, and the wait doubles."""
    consultations = opened(ctx, server)
    probe_due(ctx)
    calls = len(server.requests)
    for consultation in consultations:
        assert answering.answer(ctx, owed_by(ctx, consultation)[0]) == Deferred()
    assert len(server.requests) == calls + 1
    assert state(ctx).cooldown_s == 120
    assert [row(ctx, owed_by(ctx, c)[0])["tries"] for c in consultations] == [1, 1, 0, 0]


def test_an_answered_probe_closes_it_and_wakes_who_waited(ctx: Context, server: Server) -> None:
    """The breaker is closed, and what waited in flight for the model is due at once."""
    consultations = opened(ctx, server)
    ask(ctx, "UPDATE consultations SET dispatched_at = now(), next_resume_at = now() + interval '1 h'")
    probe_due(ctx)
    ask(ctx, "UPDATE owed_answers SET not_before = now() + interval '1 h' WHERE away_since IS NOT NULL "
             "AND id <> %s", owed_by(ctx, consultations[0])[0])  # fmt: skip
    mends(server)
    assert answering.answer(ctx, owed_by(ctx, consultations[0])[0]) is None
    assert state(ctx).opened_at is None
    due = "SELECT count(*) FROM consultations WHERE flagged AND next_resume_at <= now()"
    assert ask(ctx, due) == [(1,)], "the one whose third failure opened it"
    assert answering.answer(ctx, owed_by(ctx, consultations[2])[0]) is None


@pytest.mark.parametrize("status", [429, 400])
def test_a_probe_that_is_limited_or_refused_found_it_there(ctx: Context, server: Server, status: int) -> None:
    """A server that says so answers: the breaker is closed, and outages are counted anew."""
    consultations = opened(ctx, server)
    probe_due(ctx)
    code = "rate_limit_exceeded" if status == 429 else "content_filter"
    server.status, server.body = status, {"error": {"message": "no", "code": code}}
    answering.answer(ctx, owed_by(ctx, consultations[0])[0])
    found = state(ctx)
    assert (found.opened_at, found.failures) == (None, 0)


def test_a_success_in_between_starts_the_count_anew(ctx: Context, server: Server) -> None:
    """Outages must be in a row."""
    consultations = consultations_of(ctx, submit(ctx, 6))
    for number, consultation in enumerate(consultations):
        (mends if number == 2 else breaks)(server)
        answering.answer(ctx, owed_by(ctx, consultation)[0])
        assert (state(ctx).opened_at is not None) == (number == 5)


def test_a_withdrawn_key_opens_it_too(ctx: Context, server: Server) -> None:
    """Every request refused is an outage: the answers are excused, and nobody asks any more."""
    consultations = consultations_of(ctx, submit(ctx, 4))
    server.status, server.body = 401, {"error": {"message": "no", "code": "invalid_api_key"}}
    for consultation in consultations:
        answering.answer(ctx, owed_by(ctx, consultation)[0])
    assert [row(ctx, owed_by(ctx, c)[0])["state"] for c in consultations] == [*(["excused"] * 3), "owed"]
    assert len(server.requests) == 3


def test_substitution(ctx: Context, server: Server, sent: tuple[Celery, redis.Redis]) -> None:
    """A model that stays away for `substitute_after_s` loses its seat; the third one on it is the last."""
    app, _ = sent
    [consultation] = consultations_of(ctx, submit(ctx, 1, strategy="RANDOM", models=(), n=3, seed=4))
    seated: set[str] = set()
    for occupancy in (1, 2, 3):
        [(owed_id, name)] = ask(
            ctx,
            "SELECT o.id, v.name FROM owed_answers o JOIN model_versions v ON v.id = o.model_version_id "
            "WHERE o.consultation_id = %s AND o.kind = 'generation' AND o.seat = 0 AND o.state = 'owed'",
            consultation,
        )
        assert name not in seated
        seated.add(name)
        ask(ctx, "INSERT INTO model_states (name, failures, opened_at, probe_at, cooldown_s) "
                 "VALUES (%s, 9, now(), now() + interval '1 h', 60)", name)  # fmt: skip
        ctx.controls.forget()
        assert answering.answer(ctx, owed_id) == Deferred()
        go_on(ctx, app, consultation)
        assert row(ctx, owed_id)["state"] == "owed", "it is waited for"
        ask(ctx, "UPDATE owed_answers SET away_since = now() - interval '51 s' WHERE id = %s", owed_id)
        go_on(ctx, app, consultation)
        left = row(ctx, owed_id)["state"]
        assert left == ("void" if occupancy < 3 else "excused")
    assert [s[:3] for s in seats(ctx, consultation) if s[0] == 0] == [
        (0, 1, "away"), (0, 2, "away"), (0, 3, None),
    ]  # fmt: skip
    assert server.requests == []


def test_a_substitute_keeps_the_families_that_were_asked_for(
    ctx: Context, server: Server, sent: tuple[Celery, redis.Redis]
) -> None:
    """Two of one family: whoever takes a seat that is lost is of it as well, whatever the seed."""
    breaks(server)
    orders = [{"strategy": "RANDOM", "models": (), "n": 2, "families": "same", "seed": k} for k in range(4)]
    for consultation in [consultations_of(ctx, submit(ctx, 1, **order))[0] for order in orders]:
        ask(ctx, "UPDATE owed_answers SET state = 'excused', reason = 'rejected' WHERE id = %s",
            owed_by(ctx, consultation)[0])  # fmt: skip
        go_on(ctx, sent[0], consultation)
        names = ask(
            ctx,
            "SELECT v.name FROM seats s JOIN model_versions v ON v.id = s.model_version_id "
            "WHERE s.consultation_id = %s",
            consultation,
        )
        assert len(names) == 3
        assert len({ctx.registry[name].family for (name,) in names}) == 1


def test_urgent_is_replaced_at_once_while_the_others_work(
    ctx: Context, server: Server, sent: tuple[Celery, redis.Redis]
) -> None:
    """The worker that finds the model away says so, and only the substitute's message is sent."""
    app, broker = sent
    urgent = {"strategy": "RANDOM", "models": (), "purpose": "care", "priority": "urgent", "seed": 4}
    [consultation] = consultations_of(ctx, submit(ctx, 1, **urgent))
    go_on(ctx, app, consultation)
    before = sum(broker.llen(q) for q in ("remote.urgent", "local.urgent"))
    first = owed_by(ctx, consultation)[0]
    server.status, server.body = 400, {"error": {"message": "no", "code": "x"}}
    assert answering.answer(ctx, first) == Lost(consultation)
    flow.replace_now(ctx, app, consultation)
    assert seats(ctx, consultation)[:2] == [(0, 1, "rejected", "void"), (0, 2, None, "owed")]
    assert sum(broker.llen(q) for q in ("remote.urgent", "local.urgent")) == before + 1
    flow.replace_now(ctx, app, consultation)
    assert len(seats(ctx, consultation)) == 4, "twice is once"


def test_a_late_answer_of_a_replaced_model_is_booked_and_kept_and_never_counts(
    ctx: Context, server: Server, sent: tuple[Celery, redis.Redis], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was under way when its lease ran out and the seat changed hands."""
    app, _ = sent
    [consultation] = consultations_of(ctx, submit(ctx, 1, strategy="RANDOM", models=(), seed=4))
    first = owed_by(ctx, consultation)[0]
    ask_model = answering.client_for

    class Slow:
        def __init__(self, model: Any) -> None:
            self.inner = ask_model(model)

        def ask(self, *args: Any, **more: Any) -> Any:
            reply = self.inner.ask(*args, **more)
            accepted.run_out(ctx, first)
            ask(ctx, "UPDATE owed_answers SET state = 'excused', reason = 'crashed', claimed_until = NULL "
                     "WHERE id = %s", first)  # fmt: skip
            go_on(ctx, app, consultation)
            return reply

    monkeypatch.setattr(answering, "client_for", Slow)
    assert answering.answer(ctx, first) is None
    assert seats(ctx, consultation)[:2] == [(0, 1, "crashed", "void"), (0, 2, None, "owed")]
    [(_, outcome, _, cost)] = accepted.calls(ctx, first)
    assert outcome == "late"
    assert cost is not None
    assert ask(ctx, "SELECT spent_usd FROM consultations") == [(cost,)]
    assert ask(ctx, "SELECT count(*) FROM generations") == [(0,)]
    assert ask(ctx, "SELECT count(*) FROM clinical_documents WHERE kind = 'raw_answer'") == [(1,)]


def test_all_away_is_held_and_never_failed(
    ctx: Context, server: Server, sent: tuple[Celery, redis.Redis]
) -> None:
    """Too few models for the quorum: held `no models`, until they are back."""
    app, _ = sent
    [consultation] = consultations_of(ctx, submit(ctx, 1))
    ask(ctx, "INSERT INTO model_states (name, failures, opened_at, probe_at, cooldown_s) "
             "SELECT name, 9, now(), now() + interval '1 h', 60 FROM model_versions")  # fmt: skip
    ctx.controls.forget()
    for owed_id in owed_by(ctx, consultation):
        assert answering.answer(ctx, owed_id) == Deferred()
    ask(ctx, "UPDATE owed_answers SET away_since = now() - interval '1 day'")
    go_on(ctx, app, consultation)
    found = "SELECT state, held FROM consultations"
    assert ask(ctx, found) == [("open", "no models")]
    ask(ctx, "DELETE FROM model_states")
    ask(ctx, "UPDATE owed_answers SET not_before = now()")
    go_on(ctx, app, consultation)
    assert ask(ctx, found) == [("open", None)]
    assert server.requests == []


def test_paused_nothing_new_begins(ctx: Context, server: Server, sent: tuple[Celery, redis.Redis]) -> None:
    """Everything or a source paused: no call, held `paused`; a model paused: its seat waits for another."""
    app, broker = sent
    [consultation] = consultations_of(ctx, submit(ctx, 1))
    owed_id = owed_by(ctx, consultation)[0]
    for scope, name in (("all", ""), ("source", "local")):
        with ctx.transaction() as session:
            pauses.pause(session, scope, name)  # type: ignore[arg-type]
        ctx.controls.forget()
        assert answering.answer(ctx, owed_id) == Deferred()
        go_on(ctx, app, consultation)
        assert ask(ctx, "SELECT held FROM consultations") == [("paused",)]
        with ctx.transaction() as session:
            pauses.resume(session, scope, name)  # type: ignore[arg-type]
        ctx.controls.forget()
    assert broker.llen("remote") == 0
    assert server.requests == []
    with ctx.transaction() as session:
        pauses.pause(session, "model", FIRST)
    ctx.controls.forget()
    assert answering.answer(ctx, owed_id) == Deferred()
    assert row(ctx, owed_id)["away_since"] is not None
    with ctx.transaction() as session:
        pauses.resume(session, "model", FIRST)
    ctx.controls.forget()
    assert answering.answer(ctx, owed_id) is None


def test_a_full_model_gives_the_slot_back(
    database_url: str, server: Server, services: Services, sent: tuple[Celery, redis.Redis]
) -> None:
    """With one call allowed in flight the next is told when to come again; nothing is claimed or counted."""
    ctx = accepted.context(
        database_url, server.url, broker_url=services.addresses.broker_url, in_flight_cap=1, **BREAKER
    )
    a, b = (owed_by(ctx, c)[0] for c in consultations_of(ctx, submit(ctx, 2)))
    model = ctx.registry[FIRST]
    with ctx.transaction() as session:
        model_states.set_limits(session, FIRST, max_in_flight=1)
    ctx.controls.forget()
    own = ctx.controls().limits(model)
    provider = ctx.registry.providers[model.provider]
    assert ctx.limiter.acquire(model, "other", tokens=1, lease_s=60, own=own, provider=provider) == 0
    refused = answering.answer(ctx, a)
    assert isinstance(refused, Again)
    assert row(ctx, a)["claims"] == row(ctx, a)["tries"] == 0
    ctx.limiter.release(model, "other", "answered")
    for owed_id in (a, b):
        ask(ctx, "UPDATE owed_answers SET not_before = now() WHERE id = %s", owed_id)
        while (refusal := answering.answer(ctx, owed_id)) is not None:
            assert isinstance(refusal, Again)
            ask(ctx, "UPDATE owed_answers SET not_before = now() WHERE id = %s", owed_id)
    assert len(server.requests) == 2
    client = redis.Redis.from_url(services.addresses.broker_url)
    for key in client.scan_iter("*limits*"):
        client.delete(key)
    client.close()
