"""One owed answer brought to its end: a real HTTP server, a real PostgreSQL, no Celery."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.orm import Session

from embedded.services import Services
from shared.medications import is_unknown
from shared.registry import Registry
from tests import accepted
from tests.accepted import ask, calls, recommendation
from tests.workers.chat_server import Server, completion
from tests.workers.one_answer import GOOD, World, one_answer
from workers import answering, storing
from workers.answering import Again, Deferred, Stopping
from workers.clients import CallsInFlight, openai


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """The world of one test."""
    with one_answer(database_url) as made:
        yield made


def test_an_answer_is_asked_stored_and_read(world: World) -> None:
    """One request with its id; raw answer, codes, tokens and cost are stored, and the row is done."""
    assert world.answer() is None
    [(path, headers, _)] = world.server.requests
    assert path == "/v1/chat/completions"
    assert headers["x-request-id"] == f"{world.owed_id}:1"
    now = world.row
    assert (now["state"], now["claimed_until"], now["raw_id"]) == ("answered", None, None)
    assert calls(world.ctx, world.owed_id) == [
        (1, "answered", None, Decimal("2.5") * 120 / 10**6 + Decimal(10) * 45 / 10**6)
    ]
    assert ask(world.ctx, "SELECT starts, decision FROM generations") == [(["amoxicillin"], "recommend")]
    [(raw_id,)] = ask(world.ctx, "SELECT raw_document_id FROM generations")
    with world.ctx.transaction() as session:
        assert json.loads(world.ctx.vault.open(session, raw_id))["text"] == GOOD
    assert world.answer() is None
    assert world.asked == 1


def test_a_claim_that_has_grown_old_makes_no_call(world: World) -> None:
    """On a machine that stood still the lease could end under the call: it is given back, nothing counted."""
    settings = world.ctx.settings.model_copy(update={"lease_slack_s": 1e-9})
    assert answering.answer(replace(world.ctx, settings=settings), world.owed_id) == Again(0)
    now = world.row
    assert (now["state"], now["claimed_until"], now["tries"], now["crashes"]) == ("owed", None, 0, 0)
    assert (world.asked, world.outcomes) == (0, [("unsent", None)])
    assert world.answer() is None


def test_a_stored_raw_answer_is_read_without_a_call(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process died between the commits: the next claim reads what is stored and calls nobody."""

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(answering, "read_stored", dies)
        with pytest.raises(KeyboardInterrupt):
            world.answer()
    assert world.row["raw_id"] is not None
    accepted.run_out(world.ctx, world.owed_id)
    assert world.answer() is None
    assert world.row["state"] == "answered"
    assert (world.asked, world.outcomes) == (1, [("answered", None)])


def test_malformed_then_repaired(world: World) -> None:
    """The repair repeats the question with the bad answer, names the fault, and is the next claim."""
    world.says('{"decision": "treat", "medications": []}', GOOD)
    assert world.answer() is None
    (_, _, first), (_, headers, repair) = world.server.requests
    assert headers["x-request-id"] == f"{world.owed_id}:2"
    assert repair["messages"][: len(first["messages"])] == first["messages"]
    assert repair["messages"][-2] == {
        "role": "assistant",
        "content": '{"decision": "treat", "medications": []}',
    }
    assert "decision: Input should be" in repair["messages"][-1]["content"]
    assert (world.row["state"], world.row["tries"]) == ("answered", 1)
    assert world.outcomes == [("answered", "malformed"), ("answered", None)]


def test_malformed_for_ever_is_excused(world: World) -> None:
    """After `max_tries` unreadable answers: excused; each second request was a repair, all text is kept."""
    world.says("I would rather not say it in JSON.")
    assert world.answer() is None
    tries = world.ctx.settings.max_tries
    assert (world.row["state"], world.row["reason"], world.row["tries"]) == ("excused", "malformed", tries)
    assert [len(body["messages"]) for _, _, body in world.server.requests] == [2, 4, 2, 4]
    assert world.outcomes == [("answered", "malformed")] * tries
    kept = "SELECT count(*) FROM clinical_documents WHERE kind = 'raw_answer'"
    assert ask(world.ctx, kept) == [(tries,)]


def test_a_short_retry_after_is_a_countdown(world: World) -> None:
    """Retry-After below the cap: come again after it; nothing is counted."""
    world.fails(429, Retry_After="7")
    refusal = world.answer()
    assert isinstance(refusal, Again)
    assert 7 <= refusal.wait_s < 8
    assert (world.row["state"], world.row["tries"], world.row["crashes"]) == ("owed", 0, 0)
    assert world.outcomes == [("failed", "rate_limited")]
    again = world.answer()
    assert isinstance(again, Again), "it waits, and nobody is called"
    assert world.asked == 1


def test_a_long_retry_after_lies_in_the_database(world: World) -> None:
    """Retry-After above the cap: the task ends, the row waits, its consultation is due then."""
    world.fails(429, Retry_After="300")
    assert world.answer() == Deferred()
    waits = ask(
        world.ctx,
        "SELECT o.state, o.not_before - now() > interval '290 s', c.flagged, "
        "c.next_resume_at = o.not_before FROM owed_answers o "
        "JOIN consultations c ON c.id = o.consultation_id WHERE o.id = %s",
        world.owed_id,
    )
    assert waits == [("owed", True, True, True)]


def test_rate_limits_are_bounded_in_total(world: World) -> None:
    """Rate limits that would wait longer than allowed in all: excused."""
    world.fails(429, Retry_After=str(int(world.ctx.settings.rate_limit_total_s) + 1))
    assert world.answer() is None
    assert (world.row["state"], world.row["reason"]) == ("excused", "rate_limited")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (completion(None, message={"refusal": "I cannot."}), "refused"),
        (completion("", finish="content_filter"), "refused"),
        (completion("{", finish="length"), "over_length"),
    ],
)
def test_what_would_fail_again_is_excused_at_once(world: World, body: dict[str, Any], reason: str) -> None:
    """Refused or over length: one call, booked with its cost, and excused."""
    world.server.body = body
    assert world.answer() is None
    assert (world.row["state"], world.row["reason"]) == ("excused", reason)
    [(_, outcome, error, cost)] = calls(world.ctx, world.owed_id)
    assert (outcome, error) == ("failed", reason)
    assert cost > 0
    assert world.asked == 1


def test_an_outage_is_counted_up_to_the_bound(world: World) -> None:
    """5xx again and again: `max_tries` calls, then excused."""
    world.fails(503)
    world.answer_until_done()
    tries = world.ctx.settings.max_tries
    assert (world.row["state"], world.row["reason"], world.row["tries"]) == ("excused", "unavailable", tries)
    assert world.asked == tries


def test_a_bug_in_our_parser_costs_time_never_money(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The raw answer is kept, its consultation held; once the parser is mended it is read without a call."""

    def broken(raw: str, _: Any) -> Any:
        raise RuntimeError(raw)

    with monkeypatch.context() as patched, caplog.at_level(logging.DEBUG):
        patched.setattr(storing, "read_answer", broken)
        assert world.answer() == Deferred()
    assert "amoxicillin" not in caplog.text
    assert "RuntimeError" in caplog.text
    now = world.row
    assert (now["state"], now["tries"], now["reason"]) == ("owed", 0, "bug")
    assert now["raw_id"] is not None
    assert ask(world.ctx, "SELECT held FROM consultations") == [("unread answer",)]
    assert isinstance(world.answer(), Again)
    world.answer_until_done()
    assert world.row["state"] == "answered"
    assert ask(world.ctx, "SELECT held FROM consultations") == [(None,)]
    assert (world.asked, world.outcomes) == (1, [("answered", None)])


def test_a_bug_before_the_call_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was stored: counted, tried again, excused in the end; no call goes out."""

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("ZEBRA")

    monkeypatch.setattr(answering, "question_for", broken)
    world.answer_until_done()
    assert (world.row["state"], world.row["reason"]) == ("excused", "bug")
    assert world.asked == 0


def test_given_up_gives_the_lease_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call closed at shutdown: booked as given up with its cost not known; the row is free, not blamed."""
    calls_here = CallsInFlight()
    monkeypatch.setattr(openai.ask, "__kwdefaults__", {"calls": calls_here})
    world.server.hold = threading.Event()
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(world.answer()))
    thread.start()
    while not world.server.requests:
        thread.join(0.01)
    assert calls_here.close_all() == 1
    thread.join()
    world.server.hold.set()
    assert done == [Stopping()]
    now = world.row
    assert (now["state"], now["claimed_until"], now["tries"], now["crashes"]) == ("owed", None, 0, 0)
    assert calls(world.ctx, world.owed_id) == [(1, "given_up", None, None)]
    assert world.answer() == Stopping(), "after close_all nothing is sent"
    assert world.outcomes == [("given_up", None), ("unsent", None)]


def test_a_stopping_process_claims_nothing(world: World) -> None:
    """Once it stops, a worker touches no row."""
    world.ctx.stopping.set()
    assert world.answer() == Stopping()
    assert (world.row["claims"], world.asked) == (0, 0)


def test_a_policy_that_changed_sends_no_byte(world: World) -> None:
    """The source forbids the model since the vignette was accepted: excused, nothing sent."""
    ask(world.ctx, 'UPDATE sources SET policy = \'{"allow": ["local"]}\'')
    assert world.answer() is None
    assert (world.row["state"], world.row["reason"]) == ("excused", "policy")
    assert (world.asked, world.outcomes) == (0, [("unsent", "policy")])


def test_a_model_that_left_the_registry_is_excused(world: World) -> None:
    """Taken out of models.toml since it was drawn: excused without a claim."""
    world.ctx.registry = Registry(())
    assert world.answer() is None
    assert (world.row["state"], world.row["reason"], world.row["claims"]) == ("excused", "unknown_model", 0)


def test_an_erased_text_is_excused(world: World) -> None:
    """The record's key is gone: excused, nothing sent."""
    ask(world.ctx, "DELETE FROM data_keys")
    assert world.answer() is None
    assert (world.row["state"], world.row["reason"]) == ("excused", "erased")
    assert (world.asked, world.outcomes) == (0, [("unsent", "erased")])


def test_erased_during_the_call_keeps_the_cost_and_no_text(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key goes while the model answers: the call is booked with its cost, the text is not stored."""
    ask_model = openai.ask

    def erase_meanwhile(*given: Any, **how: Any) -> Any:
        reply = ask_model(*given, **how)
        ask(world.ctx, "DELETE FROM data_keys")
        return reply

    monkeypatch.setattr(openai, "ask", erase_meanwhile)
    assert world.answer() is None
    assert (world.row["state"], world.row["reason"]) == ("excused", "erased")
    [(_, outcome, error, cost)] = calls(world.ctx, world.owed_id)
    assert (outcome, error) == ("failed", "erased")
    assert cost > 0
    assert ask(world.ctx, "SELECT count(*) FROM clinical_documents WHERE kind = 'raw_answer'") == [(0,)]


def test_erased_before_it_is_read_keeps_the_cost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key goes between the two commits: excused, and the paid call stays booked as answered."""

    read = answering.read_stored

    def erase_first(*given: Any) -> bool:
        ask(world.ctx, "DELETE FROM data_keys")
        return read(*given)

    monkeypatch.setattr(answering, "read_stored", erase_first)
    assert world.answer() is None
    assert (world.row["state"], world.row["reason"]) == ("excused", "erased")
    assert world.outcomes == [("answered", None)]


def test_unknown_drugs_leave_no_text_in_code_columns(world: World) -> None:
    """A drug that the table does not know is a keyed digest wherever codes stand; the words are sealed."""
    words = ("Zebrastatin forte", "patient Quagga Miller")
    world.says(recommendation("amoxicillin", *words))
    assert world.answer() is None
    [(starts, everything)] = ask(world.ctx, "SELECT starts, to_jsonb(g)::text FROM generations g")
    assert len(starts) == 3
    assert sum(is_unknown(code) for code in starts) == 2
    assert not any(part in everything.lower() for part in ("zebra", "quagga", "miller"))
    [(document_id,)] = ask(world.ctx, "SELECT document_id FROM generations")
    with world.ctx.transaction() as session:
        assert all(word in world.ctx.vault.open(session, document_id) for word in words)


def test_who_loses_the_claim_leaves_the_winner_its_place(
    database_url: str, server: Server, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two copies have one place between them: it is taken until the call of the one that won has ended."""
    ctx = accepted.context(database_url, server.url, broker_url=services.addresses.broker_url)
    owed_id, real = accepted.one_owed(ctx), answering.owed_answers.claim

    def too_late(session: Session, owed: uuid.UUID, **how: Any) -> None:
        assert real(session, owed, **{**how, "holder": "another copy"}) is not None
        monkeypatch.undo()

    monkeypatch.setattr(answering.owed_answers, "claim", too_late)
    assert answering.answer(ctx, owed_id) == Again(answering.BUSY_S)
    [found] = ctx.limiter.snapshot([accepted.TRIO[0]]).values()
    assert found.in_flight == 1
    ctx.limiter.release(ctx.registry[accepted.TRIO[0]], f"{owed_id}:1", "unsent")
