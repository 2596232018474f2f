"""Dead letters: back to work without paying again what is stored, or marked for good."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from db.engine import transaction
from db.queries import dead_letters, events, owed_answers
from db.queries.dead_letters import Requeued, Which
from embedded.services import Services
from tests.stored import Stored


@pytest.fixture
def stored(database_url: str, services: Services) -> Stored:
    """A fresh database."""
    assert services.addresses.site_key
    return Stored(database_url, services.addresses.site_key)


def requeue(stored: Stored, **which: Any) -> Requeued:
    """One requeue in a transaction of its own."""
    with transaction(stored.url) as session:
        return dead_letters.requeue(session, Which(**which), urgent_s=900, routine_s=3600)


def found(stored: Stored, **which: Any) -> list[dict[str, Any]]:
    """The dead letters so asked for."""
    with transaction(stored.url) as session:
        rows = list(dead_letters.find(session, Which(**which)))
        assert dead_letters.count(session, Which(**which)) == len(rows)
        return rows


def test_the_list_and_its_filters(stored: Stored) -> None:
    """By id, submission, reason and age; each seat's error, what it cost, and how often it was requeued."""
    one, (a, b) = stored.submit(2)
    _, (c,) = stored.submit()
    for owed_id, reason in zip(stored.owed(a)[:2], ("refused", "unavailable"), strict=True):
        stored.excuse(owed_id, reason)
    stored.call(stored.owed(a)[0], 1, "0.25")
    stored.answer(stored.owed(a)[2])
    stored.fail(a, ago="3 h")
    stored.fail(c, reason="expired")
    assert [row["consultation"] for row in found(stored)] == [c, a], "the newest first; b is open"
    [row] = found(stored, submission=one)
    assert (row["source"], row["reason"], row["requeues"]) == ("local", "no_quorum", 0)
    assert row["errors"] == ["refused", "unavailable", "answered"]
    assert float(row["cost_usd"]) == 0.25
    assert [r["consultation"] for r in found(stored, reason="expired")] == [c]
    assert [r["consultation"] for r in found(stored, older_than=timedelta(hours=2))] == [a]
    assert [r["consultation"] for r in found(stored, newer_than=timedelta(hours=2))] == [c]
    assert [r["consultation"] for r in found(stored, ids=(b, c))] == [c]


def test_requeue_pays_no_stored_answer_again(stored: Stored) -> None:
    """Answered stays; excused and voided are owed afresh; what is stored is read before anybody is asked."""
    submission, (a,) = stored.submit()
    first, second, third = stored.owed(a)
    stored.answer(first)
    stored.excuse(second, "malformed", raw="no JSON")
    raw = stored.row("owed_answers", second)["repair_of"]
    stored.ask(
        "UPDATE owed_answers SET crashes = 2, not_before = now() + interval '1 hour', limited_since = now(), "
        "away_since = now(), claimed_until = now() - interval '1 s' WHERE id = %s",
        third,
    )
    stored.fail(a, reason="no_progress")
    stored.ask("UPDATE consultations SET fruitless = 6, resumes = 9 WHERE id = %s", a)
    assert stored.row("submissions", submission)["state"] == "finished"

    assert requeue(stored, ids=(a,)) == Requeued((a,), ())
    assert stored.states(a) == ["answered", "owed", "owed"]
    again = stored.row("owed_answers", second)
    assert (again["raw_id"], again["repair_of"], again["tries"], again["reason"]) == (raw, None, 0, None)
    fresh = stored.row("owed_answers", third)
    names = ("crashes", "not_before", "limited_since", "away_since", "claimed_until")
    assert [fresh[name] for name in names] == [0, None, None, None, None]
    row = stored.row("consultations", a)
    names = (
        "state",
        "stage",
        "reason",
        "ended_at",
        "dispatched_at",
        "held",
        "fruitless",
        "resumes",
        "requeues",
    )
    assert [row[name] for name in names] == ["open", "waiting", None, None, None, None, 0, 0, 1]
    reopened = stored.row("submissions", submission)
    assert (reopened["state"], reopened["finished_at"], reopened["reopened"]) == ("open", None, 1)
    assert stored.audited()[-1] == ("cli", "failed.requeue", str(a))
    with transaction(stored.url) as session:
        claim = owed_answers.claim(session, second, holder="me 1", lease_s=60, quarantine=False)
    assert claim is not None
    assert str(claim.raw_id) == raw, "it is read: a claim with a raw answer opens no call"
    assert stored.ask("SELECT count(*) FROM model_calls WHERE owed_answer_id = %s", second) == [(0,)]


def test_requeue_leaves_replaced_occupants_alone(stored: Stored) -> None:
    """What a replaced model owed stays void; its successor's answer is owed again."""
    _, (a,) = stored.submit()
    owed = stored.owed(a)
    stored.ask("UPDATE owed_answers SET state = 'void' WHERE id = %s", owed[0])
    stored.ask("UPDATE seats SET left_because = 'refused' WHERE consultation_id = %s AND seat = 0", a)
    stored.ask(
        "INSERT INTO seats (consultation_id, source_id, seat, occupancy, model_version_id) "
        "SELECT consultation_id, source_id, seat, 2, model_version_id FROM seats WHERE consultation_id = %s "
        "AND seat = 0",
        a,
    )
    stored.ask(
        "INSERT INTO owed_answers (id, source_id, consultation_id, kind, seat, occupancy, model_version_id, "
        "prompt_id) SELECT gen_random_uuid(), source_id, consultation_id, kind, seat, 2, model_version_id, "
        "prompt_id FROM owed_answers WHERE id = %s",
        owed[0],
    )
    stored.fail(a)
    requeue(stored, ids=(a,))
    assert stored.states(a) == ["void", "owed", "owed", "owed"]


def test_requeue_of_reviews(stored: Stored) -> None:
    """A generation that the reviews went on without is not asked for again; the reviews are."""
    _, (a,) = stored.submit()
    first, second, third = stored.owed(a)
    generations = [stored.answer(first), stored.answer(second)]
    stored.excuse(third, "refused")
    one = stored.review(a, 0, generations[1])
    stored.review(a, 1, generations[0])
    stored.excuse(one, "unavailable")
    stored.fail(a, reason="expired")
    requeue(stored, ids=(a,))
    assert stored.states(a) == ["answered", "answered", "excused"]
    assert stored.states(a, "review") == ["owed", "owed"]


def test_a_call_in_flight_is_not_doubled(stored: Stored) -> None:
    """A lease that still runs when its consultation is requeued is left to its holder."""
    _, (a,) = stored.submit()
    owed_id = stored.owed(a)[0]
    with transaction(stored.url) as session:
        assert owed_answers.claim(session, owed_id, holder="me 1", lease_s=60, quarantine=False)
    stored.fail(a, reason="expired")
    requeue(stored, ids=(a,))
    with transaction(stored.url) as session:
        assert owed_answers.claim(session, owed_id, holder="you 2", lease_s=60, quarantine=False) is None


def test_a_deadline_is_counted_anew(stored: Stored) -> None:
    """As long as when accepted; from the second time on as the settings say; none stays none."""
    _, (care,) = stored.submit()
    _, (other,) = stored.submit(purpose="evaluation")
    stored.ask("UPDATE consultations SET deadline_at = accepted_at + interval '7 h' WHERE id = %s", care)

    def left(id_: uuid.UUID) -> float:
        [(hours,)] = stored.ask(
            "SELECT extract(epoch FROM deadline_at - now())::float / 3600 FROM consultations WHERE id = %s",
            id_,
        )
        return float(hours)

    stored.ask(
        "UPDATE consultations SET accepted_at = accepted_at - interval '9 h', "
        "deadline_at = deadline_at - interval '9 h'"
    )
    for hours in (7, 1, 1):
        stored.fail(care, other, reason="expired")
        requeue(stored, ids=(care, other))
        assert left(care) == pytest.approx(hours, abs=0.05)
    assert stored.row("consultations", other)["deadline_at"] is None
    assert stored.row("consultations", care)["requeues"] == 3


def test_what_was_erased_stays(stored: Stored) -> None:
    """Nobody could be asked: it stays failed, and is said."""
    submission, (a, b) = stored.submit(2)
    stored.fail(a, b)
    stored.ask(
        "DELETE FROM data_keys WHERE id = (SELECT d.key_id FROM clinical_documents d "
        "JOIN consultations c ON c.document_id = d.id WHERE c.id = %s)",
        a,
    )
    assert requeue(stored, submission=submission) == Requeued((b,), (a,))
    assert [row["consultation"] for row in found(stored)] == [a]


def test_discarded_is_no_longer_listed(stored: Stored) -> None:
    """It stays failed, is marked, and cannot be requeued."""
    _, (a, b) = stored.submit(2)
    stored.fail(a, b)
    with transaction(stored.url) as session:
        assert dead_letters.discard(session, Which(ids=(a,))) == 1
    assert [row["consultation"] for row in found(stored)] == [b]
    row = stored.row("consultations", a)
    assert row["state"] == "failed"
    assert datetime.fromisoformat(row["discarded_at"])
    assert requeue(stored, ids=(a,)) == Requeued((), ())
    assert stored.audited() == [("cli", "failed.discard", str(a))]


def test_a_requeue_is_seen_by_whoever_finishes_submissions(stored: Stored) -> None:
    """Begun before the requeue's commit, it waits for it and leaves the submission open."""
    submission, (id_,) = stored.submit()
    stored.fail(id_)
    stored.ask("UPDATE submissions SET state = 'open', finished_at = NULL")

    def finish() -> None:
        with transaction(stored.url) as session:
            events.finish_submissions(session, submission)

    waits = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with ThreadPoolExecutor(1) as pool, transaction(stored.url) as session:
        dead_letters.requeue(session, Which(ids=(id_,)), urgent_s=900, routine_s=3600)
        finishing = pool.submit(finish)
        while stored.ask(waits) == [(0,)] and not finishing.done():
            pass
        session.commit()
        finishing.result()
    assert stored.row("submissions", submission)["state"] == "open"
    assert stored.row("consultations", id_)["state"] == "open"
