"""The claim against PostgreSQL: one wins, counters tell the truth, nothing stored is paid again."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from db.queries import owed_answers
from db.queries.owed_answers import Claim, Usage
from tests import accepted
from tests.accepted import PAID, ask, calls, claim, one_owed, row, run_out, settle, store_raw
from workers import answering, storing
from workers.clients import Reply
from workers.context import Context
from workers.questions import question_for


@pytest.fixture
def ctx(database_url: str) -> Context:
    """A worker's context on a fresh database."""
    return accepted.context(database_url)


def held(ctx: Context, owed_id: uuid.UUID, **how: Any) -> Claim:
    """A claim that must succeed."""
    won = claim(ctx, owed_id, **how)
    assert won is not None
    return won


def crash(ctx: Context, owed_id: uuid.UUID, **how: Any) -> None:
    """Claimed, and its process died."""
    held(ctx, owed_id, **how)
    run_out(ctx, owed_id)


def test_of_twenty_threads_one_wins(ctx: Context) -> None:
    """Twenty threads claim one row at once, ten times: exactly one wins each time, with one call opened."""
    for owed_id in [one_owed(ctx) for _ in range(10)]:
        together = threading.Barrier(20)

        def at_once(_: int, owed_id: uuid.UUID = owed_id, together: threading.Barrier = together) -> Any:
            with ctx.transaction() as session:
                together.wait()
                return owed_answers.claim(session, owed_id, holder="h", lease_s=60, quarantine=False)

        with ThreadPoolExecutor(20) as pool:
            won = [c for c in pool.map(at_once, range(20)) if c is not None]
        assert [c.claim for c in won] == [1]
        assert calls(ctx, owed_id) == [(1, None, None, None)]


def test_a_live_lease_refuses_and_one_that_ran_out_is_a_crash(ctx: Context) -> None:
    """While the lease lives nobody else gets it; afterwards the next claim counts a crash, the call lost."""
    owed_id = one_owed(ctx)
    held(ctx, owed_id)
    assert claim(ctx, owed_id) is None
    assert row(ctx, owed_id)["claims"] == 1
    run_out(ctx, owed_id)
    assert held(ctx, owed_id).claim == 2
    now = row(ctx, owed_id)
    assert (now["claims"], now["tries"], now["crashes"]) == (2, 0, 1)
    assert [(c, outcome) for c, outcome, _, _ in calls(ctx, owed_id)] == [(1, "lost"), (2, None)]


@pytest.mark.parametrize(
    ("end", "tries", "state"),
    [
        ({"counted": True, "reason": "unavailable"}, 1, "owed"),
        ({"counted": False, "reason": "rate_limited", "limited": True}, 0, "owed"),
        ({"counted": True, "reason": "refused", "excuse": True}, 1, "excused"),
        (None, 0, "owed"),
    ],
)
def test_a_claim_that_ends_is_no_crash(
    ctx: Context, end: dict[str, Any] | None, tries: int, state: str
) -> None:
    """Released (counted or not), excused or given back: the counters say just that, and never a crash."""
    owed_id = one_owed(ctx)
    held(ctx, owed_id)
    with ctx.transaction() as session:
        if end is None:
            owed_answers.give_back(session, owed_id, 1)
        else:
            owed_answers.release(session, owed_id, 1, **end)
    now = row(ctx, owed_id)
    assert (now["claims"], now["tries"], now["crashes"], now["state"]) == (1, tries, 0, state)
    assert now["claimed_until"] is None
    again = claim(ctx, owed_id)
    assert (again is None) == (state == "excused")
    assert row(ctx, owed_id)["crashes"] == 0


def test_who_no_longer_holds_it_cannot_end_it(ctx: Context) -> None:
    """After a takeover the first holder's release, give-back, settling and raw answer change nothing."""
    owed_id = one_owed(ctx)
    crash(ctx, owed_id)
    held(ctx, owed_id)
    before = row(ctx, owed_id)
    with ctx.transaction() as session:
        owed_answers.release(session, owed_id, 1, reason="unavailable", counted=True, excuse=True)
        owed_answers.give_back(session, owed_id, 1)
        assert not owed_answers.hold_unread(session, owed_id, 1, wait_s=1)
        owed_answers.excuse(session, owed_id, "crashed")
    _, ours = store_raw(ctx, owed_id, 1)
    assert not ours
    assert not settle(ctx, owed_id, 1)
    assert row(ctx, owed_id) == before
    assert ask(ctx, "SELECT count(*) FROM generations") == [(0,)]


def test_not_before_is_waited_for(ctx: Context) -> None:
    """A row that waits in the database is claimed by nobody until its time; `look` says how long."""
    owed_id = one_owed(ctx)
    held(ctx, owed_id)
    with ctx.transaction() as session:
        owed_answers.release(session, owed_id, 1, reason="rate_limited", counted=False, wait_s=300)
    with ctx.transaction() as session:
        seen = owed_answers.look(session, owed_id)
    assert seen is not None
    assert 200 < seen.waits_s <= 300
    assert claim(ctx, owed_id) is None
    ask(ctx, "UPDATE owed_answers SET not_before = now() WHERE id = %s", owed_id)
    assert held(ctx, owed_id).claim == 2


def test_rate_limits_in_a_row_are_one_span(ctx: Context) -> None:
    """The first of several rate limits starts the clock; another end stops it."""
    owed_id = one_owed(ctx)
    held(ctx, owed_id)
    with ctx.transaction() as session:
        owed_answers.release(session, owed_id, 1, reason="rate_limited", counted=False, limited=True)
    ask(ctx, "UPDATE owed_answers SET limited_since = limited_since - interval '9 s' WHERE id = %s", owed_id)
    limited_s = held(ctx, owed_id).limited_s
    assert limited_s is not None
    assert limited_s > 8
    with ctx.transaction() as session:
        owed_answers.release(session, owed_id, 2, reason="rate_limited", counted=False, limited=True)
    limited_s = held(ctx, owed_id).limited_s
    assert limited_s is not None
    assert limited_s > 8
    with ctx.transaction() as session:
        owed_answers.release(session, owed_id, 3, reason="unavailable", counted=True)
    assert held(ctx, owed_id).limited_s is None


def test_after_two_crashes_only_quarantine_and_a_crash_there_excuses(ctx: Context) -> None:
    """Two crashes: ordinary workers are refused, quarantine is not; the third crash ends it and counts."""
    owed_id = one_owed(ctx)
    crash(ctx, owed_id)
    crash(ctx, owed_id)
    assert claim(ctx, owed_id) is None
    assert isinstance(answering.answer(ctx, owed_id), answering.Quarantine)
    crash(ctx, owed_id, quarantine=True)
    assert claim(ctx, owed_id, quarantine=True) is None
    assert row(ctx, owed_id)["state"] == "owed"
    assert answering.answer(ctx, owed_id, quarantine=True) is None
    now = row(ctx, owed_id)
    assert (now["state"], now["reason"], now["crashes"]) == ("excused", "crashed", 3)
    assert {outcome for _, outcome, _, _ in calls(ctx, owed_id)} == {"lost"}


def test_quarantine_that_ends_well_excuses_nobody(ctx: Context) -> None:
    """A row in quarantine that is given back twice stays owed: only a crash there excuses."""
    owed_id = one_owed(ctx)
    crash(ctx, owed_id)
    crash(ctx, owed_id)
    for number in (3, 4):
        assert held(ctx, owed_id, quarantine=True).claim == number
        with ctx.transaction() as session:
            owed_answers.give_back(session, owed_id, number)
    now = row(ctx, owed_id)
    assert (now["state"], now["crashes"]) == ("owed", 2)


def test_leases_of_a_former_self_end_and_of_nobody_else(ctx: Context) -> None:
    """A restarted worker ends what its own name held, not models-10's, its prefix's or its present own."""
    former = {
        name: f"{name} {uuid.uuid4()}" for name in ("models-1@a", "models-10@a", "models@a", "models-1@ab")
    }
    rows = {holder: one_owed(ctx) for holder in [*former.values(), "models-1@a now"]}
    for holder, owed_id in rows.items():
        held(ctx, owed_id, holder=holder)
    with ctx.transaction() as session:
        assert (
            owed_answers.end_leases_of_former_self(session, name="models-1@a", holder="models-1@a now") == 1
        )
    live = "SELECT holder FROM owed_answers WHERE claimed_until > now()"
    assert {h for (h,) in ask(ctx, live)} == {*rows} - {former["models-1@a"]}
    flagged = ask(
        ctx,
        "SELECT o.id FROM consultations c JOIN owed_answers o ON o.consultation_id = c.id AND o.seat = 0 "
        "WHERE c.flagged AND c.next_resume_at <= now()",
    )
    assert flagged == [(rows[former["models-1@a"]],)]
    assert held(ctx, rows[former["models-1@a"]]).claim == 2
    assert row(ctx, rows[former["models-1@a"]])["crashes"] == 1


def late(ctx: Context, owed_id: uuid.UUID) -> storing.Raw | None:
    """The answer of claim 1 comes in, whoever holds the row by now."""
    with ctx.transaction() as session:
        seen = owed_answers.look(session, owed_id)
    assert seen is not None
    reply = Reply("{}", "m", None, 100, 50, "stop", 1.0)
    first = Claim(claim=1, tries=0, raw_id=None, repair_of=None, limited_s=None)
    model = ctx.registry[seen.model]
    with ctx.statements() as session:
        question = question_for(session, ctx.vault, seen, first, model=model, names=())
    return storing.store_raw(ctx, seen, first, model, reply, question)


def taken_over(ctx: Context, owed_id: uuid.UUID) -> None:
    run_out(ctx, owed_id)
    held(ctx, owed_id)


def voided(ctx: Context, owed_id: uuid.UUID) -> None:
    ask(ctx, "UPDATE owed_answers SET state = 'void' WHERE id = %s", owed_id)


def excused(ctx: Context, owed_id: uuid.UUID) -> None:
    run_out(ctx, owed_id)
    with ctx.transaction() as session:
        owed_answers.excuse(session, owed_id, "crashed")


@pytest.mark.parametrize("meanwhile", [taken_over, voided, excused])
def test_a_late_answer_is_booked_kept_and_never_attached(ctx: Context, meanwhile: Any) -> None:
    """An answer whose row went on without it: its call is `late` with its cost, its text kept as evidence."""
    owed_id = one_owed(ctx)
    held(ctx, owed_id)
    meanwhile(ctx, owed_id)
    before = row(ctx, owed_id)
    assert late(ctx, owed_id) is None
    assert row(ctx, owed_id) == before
    _, outcome, error, cost = calls(ctx, owed_id)[0]
    assert (outcome, error) == ("late", None)
    assert cost > 0
    assert ask(ctx, "SELECT count(*) FROM clinical_documents WHERE kind = 'raw_answer'") == [(1,)]


def test_a_lease_that_ran_out_unnoticed_still_stores_its_answer(ctx: Context) -> None:
    """Nobody has taken the row over: the answer is its own, however long it took."""
    owed_id = one_owed(ctx)
    crash(ctx, owed_id)
    assert late(ctx, owed_id) is not None
    assert calls(ctx, owed_id)[0][1] == "answered"


def test_a_second_settling_changes_nothing(ctx: Context) -> None:
    """Settled once: row, progress and hold stay as they are, whoever comes again."""
    owed_id = one_owed(ctx)
    held(ctx, owed_id)
    assert settle(ctx, owed_id, 1)
    before = (row(ctx, owed_id), ask(ctx, "SELECT to_jsonb(c) FROM consultations c"))
    assert not settle(ctx, owed_id, 1)
    with ctx.transaction() as session:
        owed_answers.release(session, owed_id, 1, reason="malformed", counted=True)
        owed_answers.excuse(session, owed_id, "crashed")
    assert (row(ctx, owed_id), ask(ctx, "SELECT to_jsonb(c) FROM consultations c")) == before
    assert claim(ctx, owed_id) is None


def test_a_call_is_booked_once(ctx: Context) -> None:
    """What a call has cost is not overwritten by what went wrong afterwards; a lost one may be corrected."""
    owed_id = one_owed(ctx)
    held(ctx, owed_id)
    with ctx.transaction() as session:
        owed_answers.close_call(session, owed_id, 1, "answered", PAID)
        owed_answers.close_call(session, owed_id, 1, "unsent", Usage(), "erased")
    assert calls(ctx, owed_id) == [(1, "answered", None, PAID.cost_usd)]


def test_an_unread_answer_is_held(ctx: Context) -> None:
    """A stored answer that our parser cannot bear stays: nothing is counted, its consultation says why."""
    owed_id = one_owed(ctx)
    held(ctx, owed_id)
    with ctx.transaction() as session:
        assert not owed_answers.hold_unread(session, owed_id, 1, wait_s=30), "nothing is stored yet"
    raw_id, _ = store_raw(ctx, owed_id, 1)
    with ctx.transaction() as session:
        assert owed_answers.hold_unread(session, owed_id, 1, wait_s=30)
    now = row(ctx, owed_id)
    assert (now["claims"], now["tries"], now["crashes"], now["reason"]) == (1, 0, 0, "bug")
    assert now["raw_id"] == str(raw_id)
    assert ask(ctx, "SELECT DISTINCT held FROM consultations") == [("unread answer",)]
    assert claim(ctx, owed_id) is None, "it waits"


def test_a_claim_of_a_stored_answer_opens_no_call_and_finds_the_malformed_one(ctx: Context) -> None:
    """The reader of a stored answer calls nobody; malformed is written on the call that paid for it."""
    owed_id = one_owed(ctx)
    held(ctx, owed_id)
    raw_id, _ = store_raw(ctx, owed_id, 1)
    run_out(ctx, owed_id)
    reader = held(ctx, owed_id)
    assert (reader.claim, reader.raw_id) == (2, raw_id)
    with ctx.transaction() as session:
        owed_answers.release(session, owed_id, 2, reason="malformed", counted=True, repair_of=raw_id)
    assert calls(ctx, owed_id) == [(1, "answered", "malformed", PAID.cost_usd)]
    assert held(ctx, owed_id).repair_of == raw_id


def test_a_claim_is_a_hot_update(ctx: Context) -> None:
    """Claims touch no index: PostgreSQL counts them as heap-only updates, but where a page is just full."""
    submission = accepted.submit(ctx, 20)
    rows = [o for c in accepted.consultations_of(ctx, submission) for o in accepted.owed_by(ctx, c)]
    counts = (
        "SELECT n_tup_upd::int, n_tup_hot_upd::int FROM pg_stat_user_tables WHERE relname = 'owed_answers'"
    )
    [(updated, hot)] = ask(ctx, counts)
    for owed_id in rows:
        held(ctx, owed_id)
        with ctx.transaction() as session:
            owed_answers.give_back(session, owed_id, 1)
            session.connection().exec_driver_sql("SELECT pg_stat_force_next_flush()")
    [(updated_now, hot_now)] = ask(ctx, counts)
    assert updated_now - updated == 2 * len(rows)
    assert hot_now - hot > 0.9 * (updated_now - updated)
