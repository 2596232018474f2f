"""Stored raw answers read again after the reader was mended: never a call."""

from __future__ import annotations

import uuid

import pytest

from db.engine import transaction
from db.queries import reparse
from db.queries.reparse import PutBack
from embedded.services import Services
from tests.stored import Stored


@pytest.fixture
def stored(database_url: str, services: Services) -> Stored:
    """A fresh database."""
    assert services.addresses.site_key
    return Stored(database_url, services.addresses.site_key)


def put_back(stored: Stored, *, only: set[uuid.UUID] | None = None) -> PutBack:
    """All that was unreadable (or these) is readable now."""
    with transaction(stored.url) as session:
        found = reparse.unreadable(session, reparse.consultations(session))
        readable = [each for each in found if only is None or each.id in only]
        return reparse.put_back(session, readable, max_tries=4, urgent_s=900, routine_s=3600)


def test_what_is_held_as_unread_is_due(stored: Stored) -> None:
    """The row with a stored answer and its consultation; not one that waits for something else."""
    _, (a, b) = stored.submit(2)
    stored.dispatch(a, b)
    for id_ in (a, b):
        owed_id = stored.owed(id_)[0]
        stored.ask(
            "UPDATE owed_answers SET raw_id = %s, reason = 'bug', not_before = now() + interval '1 h' "
            "WHERE id = %s",
            *(stored.document(owed_id, "{}") if id_ == a else None, owed_id),
        )
    with transaction(stored.url) as session:
        assert reparse.unread_due(session, uuid.uuid4()) == 0
        assert reparse.unread_due(session) == 1
    due = "SELECT flagged AND next_resume_at <= now() FROM consultations WHERE id = ANY(%s) ORDER BY id = %s"
    assert stored.ask(due, [a, b], b) == [(True,), (False,)]
    assert stored.ask("SELECT not_before <= now() FROM owed_answers WHERE id = %s", stored.owed(a)[0]) == [
        (True,)
    ]


def test_a_failed_one_with_its_quorum(stored: Stored) -> None:
    """It is opened with the readable answers alone: what was excused otherwise stays, no call is due."""
    submission, (a,) = stored.submit()
    one, two, three = stored.owed(a)
    stored.answer(one)
    stored.excuse(two, "malformed", raw="x")
    stored.excuse(three, "refused")
    stored.fail(a)
    raw = stored.row("owed_answers", two)["repair_of"]
    assert put_back(stored) == PutBack(answers=1, not_enough=0)
    assert stored.states(a) == ["answered", "owed", "excused"]
    row = stored.row("owed_answers", two)
    assert (row["raw_id"], row["repair_of"], row["reason"]) == (raw, None, None)
    assert row["tries"] == 3, "a reader that still cannot read it excuses it again: no repair is paid"
    found = stored.row("consultations", a)
    assert (found["state"], found["stage"], found["requeues"]) == ("open", "waiting", 1)
    assert stored.row("submissions", submission)["state"] == "open"
    assert stored.audited() == [("cli", "reparse", str(a))]


def test_what_would_cause_a_call_stays(stored: Stored) -> None:
    """Too few for the quorum, or something that would have to be asked: failed, as it was."""
    _, (few, void) = stored.submit(2)
    for owed_id in stored.owed(few)[:2]:
        stored.excuse(owed_id, "refused")
    stored.excuse(stored.owed(few)[2], "malformed", raw="x")
    for owed_id in stored.owed(void)[:2]:
        stored.excuse(owed_id, "malformed", raw="x")
    stored.fail(few)
    stored.fail(void, reason="expired")
    assert put_back(stored) == PutBack(answers=0, not_enough=2)
    assert stored.states(void) == ["excused", "excused", "void"]
    assert {stored.row("consultations", id_)["state"] for id_ in (few, void)} == {"failed"}
    assert stored.audited() == []


def test_an_open_one(stored: Stored) -> None:
    """What its reviews went on without stays excused; a review that was unreadable is read again."""
    _, (early, late, discarded) = stored.submit(3)
    stored.dispatch(early, late, discarded)
    stored.excuse(stored.owed(early)[0], "malformed", raw="x")
    generations = [stored.answer(owed_id) for owed_id in stored.owed(late)[:2]]
    stored.excuse(stored.owed(late)[2], "malformed", raw="x")
    review = stored.review(late, 0, generations[1])
    stored.excuse(review, "malformed", raw="x")
    stored.excuse(stored.owed(discarded)[0], "malformed", raw="x")
    stored.fail(discarded)
    stored.ask("UPDATE consultations SET discarded_at = now() WHERE id = %s", discarded)
    assert put_back(stored) == PutBack(answers=2, not_enough=0)
    assert stored.states(early) == ["owed"] * 3
    assert stored.states(late) == ["answered", "answered", "excused"]
    assert stored.states(late, "review") == ["owed"]
    assert stored.row("consultations", early)["flagged"] is True
    assert put_back(stored) == PutBack(0, 0), "once"
