"""Dispatcher, sweep and outbox against PostgreSQL and Redis: bounded, fair, and nothing twice."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import redis
from celery import Celery

from db.queries import budgets, consultations, events, heartbeats, workers
from embedded.services import Services
from shared.broker import HEARTBEAT, QUEUES, WIPE_MARKER
from tests import accepted
from tests.accepted import ROOT, ask, claim, consultations_of, owed_by, submit
from workers import dispatch, sweep
from workers.context import Context

EXAMPLES = (ROOT / "examples" / "vignettes.ndjson").read_bytes().splitlines()


@pytest.fixture
def ctx(database_url: str) -> Context:
    """A worker's context on a fresh database."""
    return accepted.context(database_url, window=50)


@pytest.fixture
def sending(services: Services) -> Iterator[tuple[Celery, redis.Redis]]:
    """An application on the real broker, which nobody consumes."""
    with accepted.sending(services) as both:
        yield both


@pytest.fixture
def app(sending: tuple[Celery, redis.Redis]) -> Celery:
    """The application."""
    return sending[0]


@pytest.fixture
def broker(sending: tuple[Celery, redis.Redis]) -> redis.Redis:
    """A client of the broker."""
    return sending[1]


def in_transaction(ctx: Context, run: Any, **how: Any) -> Any:
    """One query function in a transaction of its own."""
    with ctx.transaction() as session:
        return run(session, **how)


def taken(ctx: Context, window: int, *, source_window: int = 1000) -> list[uuid.UUID]:
    """What a dispatcher takes into a window of this size, in its order."""
    settings = ctx.settings.model_copy(update={"window": window, "source_window": source_window})
    with ctx.transaction() as session:
        return dispatch.take(session, replace(ctx, settings=settings))


def asked(broker: redis.Redis) -> int:
    """Messages in the remote queue that are for a model."""
    return sum(HEARTBEAT.encode() not in message for message in broker.lrange("remote", 0, -1))


def all_dispatched(ctx: Context, n: int, **order: Any) -> list[uuid.UUID]:
    """So many consultations, all dispatched."""
    ids = consultations_of(ctx, submit(ctx, n, **order))
    assert set(taken(ctx, 1000)) == set(ids)
    return ids


def stall(ctx: Context, *ids: uuid.UUID) -> None:
    """Their stall time passes without progress."""
    ask(
        ctx,
        "UPDATE consultations SET next_resume_at = now(), "
        "progressed_at = now() - make_interval(secs => stall_s + 1) WHERE id = ANY(%s)",
        list(ids),
    )


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


def test_a_resume_needs_time_or_a_flag_and_nobody_at_work(ctx: Context) -> None:
    """Not while fresh, not while claimed, not before it is due, not when ended, not when never dispatched."""
    fresh, stalled, flagged, claimed, early, ended = all_dispatched(ctx, 6)
    waiting = consultations_of(ctx, submit(ctx, 1))[0]
    stall(ctx, stalled, claimed, early, ended, waiting)
    ask(ctx, "UPDATE consultations SET next_resume_at = now(), flagged = id = %s WHERE id = ANY(%s)",
        flagged, [fresh, flagged])  # fmt: skip
    ask(ctx, "UPDATE consultations SET next_resume_at = now() + interval '9 s' WHERE id = %s", early)
    in_transaction(ctx, consultations.end, consultation_id=ended, state="completed")
    working = owed_by(ctx, claimed)[1]
    assert claim(ctx, working) is not None
    assert set(in_transaction(ctx, consultations.resume, most=50)) == {stalled, flagged}
    assert not in_transaction(ctx, consultations.resume, most=50), "a resume is not due again at once"
    accepted.run_out(ctx, working)
    assert list(in_transaction(ctx, consultations.resume, most=50)) == [claimed]


def test_back_off_doubles_up_to_eight(ctx: Context) -> None:
    """Each resume waits twice as long as the one before, up to eight stall times, give or take a quarter."""
    [one] = all_dispatched(ctx, 1)
    for factor in (1, 2, 4, 8, 8, 8):
        stall(ctx, one)
        assert list(in_transaction(ctx, consultations.resume, most=5)) == [one]
        [(waits,)] = ask(
            ctx,
            "SELECT (extract(epoch FROM next_resume_at - now()) / stall_s)::float FROM consultations "
            "WHERE id = %s",
            one,
        )
        assert 0.74 * factor < waits <= 1.25 * factor


def test_two_sweeps_at_once_pick_different_rows(ctx: Context) -> None:
    """While one sweep's transaction is open another takes the rows that are left, without waiting."""
    ids = all_dispatched(ctx, 6)
    stall(ctx, *ids)
    with ctx.transaction() as first, ctx.transaction() as second:
        one, two = consultations.resume(first, most=4), consultations.resume(second, most=4)
    assert (len(one), len(two)) == (4, 2)
    assert {*one, *two} == set(ids)


def test_a_sweep_sends_again_what_the_broker_has_forgotten(
    ctx: Context, app: Celery, broker: redis.Redis
) -> None:
    """A first sweep sets the marker; with it nothing fresh is sent; without it everything goes on at once."""
    submit(ctx, 3)
    assert sweep.sweep(ctx, app, broker) == 3
    assert asked(broker) == 9
    assert sweep.sweep(ctx, app, broker) == 0
    broker.delete(*QUEUES, WIPE_MARKER)
    assert sweep.sweep(ctx, app, broker) == 3
    assert asked(broker) == 9
    assert sweep.sweep(ctx, app, broker) == 0


def test_a_sweep_without_a_broker_is_no_bug(ctx: Context, app: Celery) -> None:
    """The marker cannot be looked at: said in the log, nothing is taken for a flush, and deadlines count."""
    [late] = consultations_of(ctx, submit(ctx, EXAMPLES[:1], purpose="care"))
    ask(ctx, "UPDATE consultations SET deadline_at = now() - interval '1 s' WHERE id = %s", late)
    away, none = accepted.app_on("redis://127.0.0.1:9/0"), redis.Redis(port=9)
    assert sweep.sweep(ctx, away, none) == 0
    away.close()
    none.close()
    assert ask(ctx, "SELECT reason, flagged FROM consultations") == [("expired", False)]


def test_sweeps_at_once_send_each_once(ctx: Context, app: Celery, broker: redis.Redis) -> None:
    """Six sweeps together: each consultation is sent by one of them."""
    submit(ctx, 12)
    together = threading.Barrier(6)

    def at_once(_: int) -> int:
        together.wait()
        return sweep.sweep(ctx, app, broker)

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(at_once, range(6))) == 12
    assert asked(broker) == 36


def test_what_has_expired_fails_with_its_event(ctx: Context, app: Celery, broker: redis.Redis) -> None:
    """Past its deadline: failed, `expired`, one event, nothing left to claim; the others go on."""
    late, other = consultations_of(ctx, submit(ctx, EXAMPLES[:2], purpose="care"))
    ask(ctx, "UPDATE consultations SET deadline_at = now() - interval '1 s' WHERE id = %s", late)
    assert sweep.sweep(ctx, app, broker) == 1
    sweep.sweep(ctx, app, broker)
    states = "SELECT state, reason, stage FROM consultations WHERE id = %s"
    assert ask(ctx, states, late) == [("failed", "expired", "ended")]
    assert ask(ctx, states, other) == [("open", None, "generating")]
    assert ask(ctx, "SELECT consultation_id, type FROM outbox_events") == [(late, "consultation.failed")]
    assert ask(ctx, "SELECT DISTINCT state FROM owed_answers WHERE consultation_id = %s", late) == [("void",)]
    assert all(claim(ctx, owed) is None for owed in owed_by(ctx, late))


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


def test_what_may_still_lie_in_a_queue_is_not_stalled(ctx: Context) -> None:
    """Stalled only when a heartbeat sent later came through the queue of what is owed."""
    [one] = all_dispatched(ctx, 1)
    ask(ctx, "UPDATE consultations SET sent_at = now()")
    with ctx.transaction() as session:
        [(queue, sent_ms)] = heartbeats.to_send(session, ["remote"], stale_s=60)
        assert heartbeats.to_send(session, ["remote"], stale_s=60) == [], "one at a time"
    stall(ctx, one)
    assert not in_transaction(ctx, consultations.resume, most=5)
    ask(ctx, "UPDATE consultations SET sent_at = now() - interval '1 min'")
    in_transaction(ctx, heartbeats.received, queue=queue, sent_ms=sent_ms, worker="w")
    assert in_transaction(ctx, consultations.resume, most=5) == {one: 1}
    with ctx.transaction() as session:
        assert len(heartbeats.to_send(session, ["remote"], stale_s=60)) == 1


def test_what_was_put_off_lately_is_not_stalled(ctx: Context) -> None:
    """A wait in the database that is just over brings its message back by itself."""
    [one] = all_dispatched(ctx, 1)
    stall(ctx, one)
    ask(
        ctx, "UPDATE owed_answers SET not_before = now() - interval '1 s' WHERE id = %s", owed_by(ctx, one)[0]
    )
    assert not in_transaction(ctx, consultations.resume, most=5)


def test_a_queue_without_workers_holds_what_waits_for_it(ctx: Context) -> None:
    """Silent for longer than `stale_s` with a message outstanding: held; let go when one comes through."""
    [one] = all_dispatched(ctx, 1)
    with ctx.transaction() as session:
        [(queue, sent_ms)] = heartbeats.to_send(session, ["remote"], stale_s=60)
        assert heartbeats.stale(session, stale_s=60) == []
    ask(ctx, "UPDATE heartbeats SET sent_at = now() - interval '61 s', received_at = now() - interval '62 s'")
    for queues, held in ((["remote"], "no workers"), ([], None)):
        with ctx.transaction() as session:
            assert heartbeats.stale(session, stale_s=60) == queues
            heartbeats.hold(session, queues)
            heartbeats.hold(session, queues)
        assert ask(ctx, "SELECT held FROM consultations WHERE id = %s", one) == [(held,)]
        in_transaction(ctx, heartbeats.received, queue=queue, sent_ms=sent_ms, worker="w")


def test_consumed_resumes_without_any_answer_end_it(ctx: Context, app: Celery, broker: redis.Redis) -> None:
    """After as many as the setting says it fails as `no_progress`; an answer in between starts anew."""
    few = replace(ctx, settings=ctx.settings.model_copy(update={"no_progress_resumes": 2}))
    [one] = all_dispatched(ctx, 1)
    broker.set(WIPE_MARKER, 1)
    with ctx.transaction() as session:
        heartbeats.to_send(session, ["remote"], stale_s=60)
    for sent in (1, 1, 0):
        stall(ctx, one)
        ask(ctx, "UPDATE heartbeats SET proven_at = now(), sent_at = now()")
        assert sweep.sweep(few, app, broker) == sent
    assert ask(ctx, "SELECT state, reason FROM consultations") == [("failed", "no_progress")]


def test_a_periodic_job_is_sent_once_a_period(ctx: Context, app: Celery, broker: redis.Redis) -> None:
    """Until somebody has begun it; and once, however many periods nobody was there."""

    def sent() -> int:
        return sum(b"recompute_reviewers" in message for message in broker.lrange("periodic", 0, -1))

    sweep.sweep(ctx, app, broker)
    assert sent() == 1
    with ctx.transaction() as session:
        assert workers.begin_period(session, "recompute_reviewers", ctx.settings.recompute_every_s)
        assert not workers.begin_period(session, "recompute_reviewers", ctx.settings.recompute_every_s)
    broker.delete("periodic")
    sweep.sweep(ctx, app, broker)
    assert sent() == 0
    ask(ctx, "UPDATE periodic_runs SET period = period - 3")
    sweep.sweep(ctx, app, broker)
    assert sent() == 1
