"""Dispatcher and outbox against PostgreSQL and Redis: bounded, fair, and nothing twice."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import redis
from celery import Celery

from db.queries import budgets, consultations, events
from shared.broker import WIPE_MARKER
from tests import accepted
from tests.accepted import ask, consultations_of, submit
from tests.db.dispatched import EXAMPLES, asked, in_transaction, taken
from workers import dispatch, sweep
from workers.context import Context


@pytest.fixture
def ctx(database_url: str) -> Context:
    """A worker's context on a fresh database."""
    return accepted.context(database_url, window=50)


def test_the_window_is_never_exceeded(ctx: Context) -> None:
    """Many dispatchers at once: never more than `window` dispatched and open; an end frees a place."""
    ids = set(consultations_of(ctx, submit(ctx, 30)))
    together = threading.Barrier(10)

    def at_once(_: int) -> list[uuid.UUID]:
        together.wait()
        return taken(ctx, 7)

    inside: list[uuid.UUID] = []
    with ThreadPoolExecutor(10) as pool:
        for ended in (0, 3, 7):
            for id_ in inside[:ended]:
                in_transaction(ctx, consultations.end, consultation_id=id_, state="failed", reason="expired")
            del inside[:ended]
            new = [id_ for some in pool.map(at_once, range(10)) for id_ in some]
            inside += new
            assert len(new) == len(set(new)) == (ended or 7)
            [(busy,)] = ask(
                ctx, "SELECT count(*) FROM consultations WHERE state = 'open' AND dispatched_at IS NOT NULL"
            )
            assert busy == len(inside) == 7
    assert set(inside) <= ids


def test_urgent_before_routine_before_background_and_oldest_first(ctx: Context) -> None:
    """One place at a time: priority decides, then age."""
    orders: list[dict[str, Any]] = [
        {"purpose": "evaluation"},
        {"purpose": "care", "priority": "routine"},
        {"purpose": "care", "priority": "urgent"},
    ]
    background, routine, urgent = (
        consultations_of(ctx, submit(ctx, EXAMPLES[2 * k : 2 * k + 2], **order))
        for k, order in enumerate(orders)
    )
    second = [consultations_of(ctx, submit(ctx, EXAMPLES[9:10], **orders[2]))[0]]
    order_ = [id_ for window in range(1, 8) for id_ in taken(ctx, window)]
    assert set(order_[:2]) == set(urgent)
    assert order_[2:3] == second
    assert set(order_[3:5]) == set(routine)
    assert set(order_[5:]) == set(background)


def test_what_is_still_received_is_not_dispatched(ctx: Context) -> None:
    """A submission that is not stored whole yet waits."""
    submission = submit(ctx, 2)
    ask(ctx, "UPDATE submissions SET state = 'receiving' WHERE id = %s", submission)
    assert taken(ctx, 9) == []
    ask(ctx, "UPDATE submissions SET state = 'open' WHERE id = %s", submission)
    assert len(taken(ctx, 9)) == 2


def test_what_cannot_be_sent_is_given_back(ctx: Context, app: Celery, broker: redis.Redis) -> None:
    """The broker away: none counts as sent, and the next sweep with a broker sends them all at once."""
    ids = consultations_of(ctx, submit(ctx, 3))
    away = accepted.app_on("redis://127.0.0.1:9/0")
    assert dispatch.dispatch(ctx, away) == 0
    away.close()
    due = "SELECT count(*) FROM consultations WHERE flagged AND next_resume_at <= now() AND state = 'open'"
    assert ask(ctx, due) == [(3,)]
    broker.set(WIPE_MARKER, 1)
    assert sweep.sweep(ctx, app, broker) == len(ids)
    assert asked(broker) == 9


def test_a_submission_finishes_once_when_nothing_is_open(ctx: Context) -> None:
    """The last end finishes it, with one event, however often and by how many it is asked."""
    submission = submit(ctx, 2)
    other = submit(ctx, 1)
    first, last = consultations_of(ctx, submission)
    for id_, state, finished in ((first, "completed", 0), (last, "needs_review", 1)):
        in_transaction(ctx, consultations.end, consultation_id=id_, state=state)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: in_transaction(ctx, events.finish_submissions), range(4)))
        in_transaction(ctx, events.finish_submissions, submission_id=submission)
        told = ask(ctx, "SELECT submission_id FROM outbox_events WHERE type = 'submission.finished'")
        assert told == [(submission,)] * finished
    assert ask(ctx, "SELECT state FROM submissions WHERE id = %s", other) == [("open",)]


def test_listeners_hear_ids_alone_in_order_and_once(ctx: Context) -> None:
    """Delivered as notifications: type and ids in the order of the events; a second delivery says nothing."""
    submission = submit(ctx, 2)
    first, last = consultations_of(ctx, submission)
    with psycopg.connect(ctx.settings.require_database(), autocommit=True) as listening:
        listening.execute(f"LISTEN {events.CHANNEL}")
        in_transaction(ctx, consultations.end, consultation_id=first, state="completed")
        in_transaction(ctx, consultations.end, consultation_id=last, state="failed", reason="no_quorum")
        in_transaction(ctx, events.finish_submissions)
        assert in_transaction(ctx, events.deliver) == 3
        assert in_transaction(ctx, events.deliver) == 0
        payloads = [event.payload for event in listening.notifies(timeout=10, stop_after=3)]
        payloads += [event.payload for event in listening.notifies(timeout=0)]
    heard, event_ids = zip(*(payload.rsplit(" ", 1) for payload in payloads), strict=True)
    assert len(set(map(uuid.UUID, event_ids))) == 3
    assert list(heard) == [
        f"consultation.completed {submission} {first}",
        f"consultation.failed {submission} {last}",
        f"submission.finished {submission} -",
    ]


def sources(ctx: Context, *names: str) -> None:
    """Sources that allow simulated models."""
    for name in names:
        ask(
            ctx,
            "INSERT INTO sources (id, name, policy) "
            'VALUES (gen_random_uuid(), %s, \'{"allow": ["local", "simulated"]}\')',
            name,
        )


def test_sources_take_turns(ctx: Context) -> None:
    """A large batch that came first does not keep the others waiting, nor take the whole window."""
    sources(ctx, "big", "small", "third")
    big = consultations_of(ctx, submit(ctx, 20, source="big"))
    small = consultations_of(ctx, submit(ctx, 3, source="small"))
    third = consultations_of(ctx, submit(ctx, 1, source="third"))
    first = set(taken(ctx, 8, source_window=4))
    assert first >= {*small, *third}
    assert len(first & set(big)) == 4
    assert taken(ctx, 20, source_window=4) == [], "who has its share in flight waits, whatever is free"
    ended = (first & set(big)).pop()
    in_transaction(ctx, consultations.end, consultation_id=ended, state="completed")
    [next_] = taken(ctx, 20, source_window=4)
    assert next_ in set(big) - first


def test_what_is_held_keeps_nobody_waiting(ctx: Context) -> None:
    """Models that are away hold one source's share and no more; others' work and urgent cases go past it."""
    sources(ctx, "big", "small")
    submit(ctx, 20, source="big")
    assert len(taken(ctx, 4, source_window=4)) == 4
    small = consultations_of(ctx, submit(ctx, 3, source="small"))
    assert taken(ctx, 4, source_window=4) == []
    ask(ctx, "UPDATE consultations SET held = 'no models' WHERE dispatched_at IS NOT NULL")
    assert set(taken(ctx, 4, source_window=4)) == set(small)
    care = {"purpose": "care", "priority": "urgent", "source": "big"}
    urgent = consultations_of(ctx, submit(ctx, EXAMPLES[:1], **care))
    assert taken(ctx, 4, source_window=4) == urgent


def test_waiting_lifts_what_is_less_urgent(ctx: Context) -> None:
    """Each hour counts for one priority: nothing starves behind a stream of urgent work."""
    old, older = consultations_of(ctx, submit(ctx, 2))
    urgent = consultations_of(ctx, submit(ctx, EXAMPLES[:3], purpose="care", priority="urgent"))
    ask(ctx, "UPDATE consultations SET accepted_at = now() - interval '61 min' WHERE id = %s", old)
    ask(ctx, "UPDATE consultations SET accepted_at = now() - interval '121 min' WHERE id = %s", older)
    assert taken(ctx, 1) == [older], "as urgent as the urgent by now, and waiting for longer"
    assert set(taken(ctx, 4)) == set(urgent)
    assert taken(ctx, 5) == [old]


def test_paused_is_not_dispatched(ctx: Context) -> None:
    """Neither a paused source's work nor, with everything paused, anybody's."""
    sources(ctx, "big")
    big = consultations_of(ctx, submit(ctx, 2, source="big"))
    local = consultations_of(ctx, submit(ctx, 2))
    ask(ctx, "INSERT INTO pauses (scope, name) VALUES ('all', '')")
    assert taken(ctx, 9) == []
    ask(ctx, "UPDATE pauses SET scope = 'source', name = 'big'")
    assert set(taken(ctx, 9)) == set(local)
    ask(ctx, "DELETE FROM pauses")
    assert set(taken(ctx, 9)) == set(big)


def test_a_cap_is_kept_and_what_is_over_it_waits(ctx: Context) -> None:
    """A submission's cap lets in what is expected to fit; the rest is held and others go on past it."""
    capped, free = submit(ctx, 5), submit(ctx, 2)
    ask(ctx, "UPDATE consultations SET expected_usd = 1 WHERE submission_id = %s", capped)
    ask(ctx, "UPDATE submissions SET budget_usd = 3.5 WHERE id = %s", capped)
    ids = set(taken(ctx, 9))
    of_capped = ids & set(consultations_of(ctx, capped))
    assert len(of_capped) == 3
    assert ids - of_capped == set(consultations_of(ctx, free))
    held = "SELECT count(*) FROM consultations WHERE held = 'budget' AND dispatched_at IS NULL"
    assert ask(ctx, held) == [(2,)]
    # two have ended for less than was expected of them: there is room for one more
    for id_ in list(of_capped)[:2]:
        ask(ctx, "UPDATE consultations SET spent_usd = 0.7 WHERE id = %s", id_)
        in_transaction(ctx, consultations.end, consultation_id=id_, state="completed")
    in_transaction(ctx, budgets.release_source_holds)
    assert len(taken(ctx, 9)) == 1
    assert ask(ctx, held) == [(1,)]


def test_a_source_has_a_cap_a_day(ctx: Context) -> None:
    """What its calls have cost today and what is in flight count together, over all its submissions."""
    sources(ctx, "big")
    for _ in range(2):
        submit(ctx, 2, source="big")
    ask(ctx, "UPDATE consultations SET expected_usd = 1")
    ask(ctx, "UPDATE sources SET daily_budget_usd = 3 WHERE name = 'big'")
    assert len(taken(ctx, 9)) == 3
    assert ask(ctx, "SELECT count(*) FROM consultations WHERE held = 'budget'") == [(1,)]


def test_a_price_that_is_not_known_cannot_be_promised(ctx: Context) -> None:
    """Under a cap such work is held, for nobody can say that it stays below."""
    submission = submit(ctx, 1)
    ask(ctx, "UPDATE consultations SET expected_usd = NULL")
    ask(ctx, "UPDATE submissions SET budget_usd = 1000 WHERE id = %s", submission)
    assert taken(ctx, 9) == []
    assert ask(ctx, "SELECT held FROM consultations") == [("budget",)]
