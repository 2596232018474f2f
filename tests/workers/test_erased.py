"""A record is erased while workers are at it: whoever comes late stores no text, and ends quietly."""

from __future__ import annotations

import json
import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from celery import Celery

from db.engine import transaction
from db.queries import answers, erasing
from shared.errors import ErasedError
from tests.accepted import (
    PAID,
    ask,
    calls,
    consultations_of,
    document_of,
    owed_by,
    recommendation,
    row,
    submit,
)
from tests.workers.chat_server import Server, completion
from workers import answering, concluding, flow
from workers.clients import openai
from workers.context import Context

GONE = [("cancelled", "erased", "ended")]


class Erasable:
    """One open consultation whose models answer, and the hand that erases its record."""

    def __init__(self, ctx: Context, server: Server) -> None:
        self.ctx = ctx
        server.body = completion(recommendation("amoxicillin"))
        [self.consultation] = consultations_of(ctx, submit(ctx))
        self.owed_id = owed_by(ctx, self.consultation)[0]
        [(self.record,)] = ask(ctx, "SELECT id FROM records")

    def erase(self) -> dict[str, Any]:
        """In a transaction of its own, by an operator."""
        with transaction(self.ctx.settings.require_database()) as session:
            left = erasing.erase(session, self.record, who="cli")
        assert left is not None
        return left

    def is_gone(self) -> bool:
        """No key is left, and no document has either a key or a text."""
        left = "SELECT count(*) FROM clinical_documents WHERE key_id IS NOT NULL OR ciphertext <> ''"
        return ask(self.ctx, "SELECT count(*) FROM data_keys") == ask(self.ctx, left) == [(0,)]

    def state(self) -> list[tuple[Any, ...]]:
        """Of its consultation."""
        return ask(self.ctx, "SELECT state, reason, stage FROM consultations")


@pytest.fixture
def work(ctx: Context, server: Server) -> Erasable:
    """One of them."""
    return Erasable(ctx, server)


def test_erasing_leaves_a_tombstone(work: Erasable) -> None:
    """Open rows void, the consultation cancelled with its event, the own id free, one line of audit; once."""
    left = work.erase()
    assert (left["text"], left["consultation_state"], left["reason"]) == ("erased", "cancelled", "erased")
    assert work.erase() == left
    assert work.state() == GONE
    assert ask(work.ctx, "SELECT DISTINCT state FROM owed_answers") == [("void",)]
    assert ask(work.ctx, "SELECT type FROM outbox_events") == [("consultation.cancelled",)]
    assert ask(work.ctx, "SELECT own_id_digest, erased_at FROM records") == [(None, left["erased_at"])]
    audited = ask(work.ctx, "SELECT who, what, which FROM audit WHERE what <> 'submit'")
    assert audited == [("cli", "erase", str(work.record))]
    assert work.is_gone()


def test_there_is_nothing_to_erase(ctx: Context) -> None:
    """An id of nobody: None, and no audit."""
    with ctx.transaction() as session:
        assert erasing.erase(session, uuid.uuid4(), who="cli") is None
    assert ask(ctx, "SELECT count(*) FROM audit") == [(0,)]


def test_an_answer_that_comes_after_it_is_paid_and_not_stored(
    work: Erasable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Erased between the claim and the store: the cost is booked, the row stays void, no text is kept."""
    ask_model = openai.ask

    def erase_meanwhile(*given: Any, **how: Any) -> Any:
        reply = ask_model(*given, **how)
        work.erase()
        return reply

    monkeypatch.setattr(openai, "ask", erase_meanwhile)
    with caplog.at_level(logging.WARNING, "consilium.answering"):
        assert answering.answer(work.ctx, work.owed_id) is None
    assert [told for told in caplog.records if told.name != "consilium.limits"] == []
    assert row(work.ctx, work.owed_id)["state"] == "void"
    [(_, outcome, error, cost)] = calls(work.ctx, work.owed_id)
    assert (outcome, error) == ("failed", "erased")
    assert cost > Decimal(0)
    assert ask(work.ctx, "SELECT spent_usd FROM consultations") == [(cost,)]
    assert ask(work.ctx, "SELECT kind FROM clinical_documents") == [("vignette",)]
    assert work.is_gone()


def test_erased_between_raw_and_read(work: Erasable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The raw answer was stored: it goes with its key, and nothing is made of it."""
    read = answering.read_stored

    def erase_first(*given: Any) -> Any:
        work.erase()
        return read(*given)

    monkeypatch.setattr(answering, "read_stored", erase_first)
    assert answering.answer(work.ctx, work.owed_id) is None
    assert row(work.ctx, work.owed_id)["state"] == "void"
    [(_, outcome, error, cost)] = calls(work.ctx, work.owed_id)
    assert (outcome, error) == ("answered", None)
    assert cost > Decimal(0)
    assert ask(work.ctx, "SELECT count(*) FROM generations") == [(0,)]
    assert sorted(ask(work.ctx, "SELECT kind FROM clinical_documents")) == [("raw_answer",), ("vignette",)]
    assert work.is_gone()


def test_who_erases_waits_for_what_is_being_stored(work: Erasable) -> None:
    """A store that began before it ends first, and what it stored cannot be read either."""
    vault, url = work.ctx.vault, work.ctx.settings.require_database()
    [(document,)] = ask(work.ctx, "SELECT document_id FROM records")
    with ThreadPoolExecutor(1) as pool:
        seen, late = document_of(work.ctx, work.owed_id, "raw_answer", "what a model said")
        with transaction(url) as session:
            assert answers.store_raw(session, seen.id, 1, late, PAID, model=seen.model).kept
            erasing_ = pool.submit(work.erase)
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while ask(work.ctx, waits + " AND datname = current_database()") != [(1,)]:
                assert not erasing_.done()
        erasing_.result(timeout=10)
    assert ask(work.ctx, "SELECT count(*) FROM data_keys") == [(0,)]
    with transaction(url) as session, pytest.raises(ErasedError):
        vault.open(session, late["id"])
    with transaction(url) as session, pytest.raises(ErasedError):
        vault.open_record(session, document)


def test_nobody_reviews_or_concludes_it(work: Erasable, app: Celery, server: Server) -> None:
    """Erased when reviews are owed: no prompt is made, nobody is asked, nothing is concluded; costs stay."""
    for owed_id in owed_by(work.ctx, work.consultation):
        assert answering.answer(work.ctx, owed_id) is None
    flow.go_on(work.ctx, app, work.consultation)
    reviews = owed_by(work.ctx, work.consultation, "review")
    spent = ask(work.ctx, "SELECT spent_usd FROM consultations")
    work.erase()
    server.body, asked = completion(json.dumps({"grade": 1, "critique": "fine"})), len(server.requests)
    assert [answering.answer(work.ctx, owed_id) for owed_id in reviews] == [None] * len(reviews)
    assert flow.go_on(work.ctx, app, work.consultation)
    assert concluding.conclude(work.ctx, work.consultation)
    assert len(reviews) > 0
    assert len(server.requests) == asked
    assert work.state() == GONE
    assert ask(work.ctx, "SELECT count(*) FROM consensus") == [(0,)]
    assert ask(work.ctx, "SELECT spent_usd FROM consultations") == spent
    assert ask(work.ctx, "SELECT DISTINCT starts FROM generations") == [(["amoxicillin"],)]
    assert work.is_gone()


def test_what_has_ended_keeps_its_numbers(work: Erasable, app: Celery, server: Server) -> None:
    """Erased after its end: it stays completed, with its consensus and history; no event is told again."""
    for owed_id in owed_by(work.ctx, work.consultation):
        assert answering.answer(work.ctx, owed_id) is None
    flow.go_on(work.ctx, app, work.consultation)
    server.body = completion(json.dumps({"grade": 1, "critique": "fine"}))
    for owed_id in owed_by(work.ctx, work.consultation, "review"):
        assert answering.answer(work.ctx, owed_id) is None
    assert concluding.conclude(work.ctx, work.consultation)
    numbers = "SELECT to_jsonb(k), (SELECT count(*) FROM interactions) FROM consensus k"
    before = work.state(), ask(work.ctx, numbers), ask(work.ctx, "SELECT type FROM outbox_events")
    work.erase()
    assert (work.state(), ask(work.ctx, numbers), ask(work.ctx, "SELECT type FROM outbox_events")) == before
    assert work.state()[0][0] == "completed"
    assert work.is_gone()
