"""The sweep against PostgreSQL and Redis: what stalled goes on, what expired ends, and nothing twice."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import redis
from celery import Celery

from db.queries import consultations, heartbeats, workers
from shared.broker import QUEUES, WIPE_MARKER
from shared.registry import Registry
from tests import accepted
from tests.accepted import ask, claim, consultations_of, owed_by, submit
from tests.db.dispatched import EXAMPLES, all_dispatched, asked, in_transaction, stall
from workers import sweep
from workers.context import Context


@pytest.fixture
def ctx(database_url: str) -> Context:
    """A worker's context on a fresh database."""
    return accepted.context(database_url, window=50)


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


def test_calls_that_nobody_will_close_are_lost(ctx: Context, app: Celery, broker: redis.Redis) -> None:
    """Their process died, and their consultation ended meanwhile: no claim will come to say so."""
    expired, running = all_dispatched(ctx, 2)
    died, alive = owed_by(ctx, expired)[0], owed_by(ctx, running)[0]
    assert claim(ctx, died) is not None
    assert claim(ctx, alive) is not None
    ask(ctx, "UPDATE consultations SET deadline_at = now() - interval '1 s' WHERE id = %s", expired)

    def outcomes() -> list[tuple[object, ...]]:
        sweep.sweep(ctx, app, broker)
        return ask(
            ctx, "SELECT outcome, ended_at IS NOT NULL FROM model_calls ORDER BY owed_answer_id = %s", alive
        )

    assert outcomes() == [(None, False), (None, False)], "its lease runs still: it may come yet"
    accepted.run_out(ctx, died)
    assert outcomes() == [("lost", True), (None, False)]


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


def test_what_had_to_wait_is_not_looked_at_less_often(ctx: Context) -> None:
    """Resumes because something was put off or paused came to nothing wrong: the next wait is a plain one."""
    [one] = all_dispatched(ctx, 1)
    for _ in range(4):
        ask(ctx, "UPDATE consultations SET flagged = true, next_resume_at = now() WHERE id = %s", one)
        assert in_transaction(ctx, consultations.resume, most=5) == {one: 0}
    [(waits,)] = ask(
        ctx, "SELECT (extract(epoch FROM next_resume_at - now()) / stall_s)::float FROM consultations"
    )
    assert 0.74 < waits <= 1.25


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


def test_an_end_is_told_once(ctx: Context) -> None:
    """Who comes with another end finds it ended: no second event, whatever its kind."""
    [one] = all_dispatched(ctx, 1)
    in_transaction(ctx, consultations.end, consultation_id=one, state="completed")
    in_transaction(ctx, consultations.end, consultation_id=one, state="failed", reason="no_progress")
    assert ask(ctx, "SELECT state, reason FROM consultations") == [("completed", None)]
    assert ask(ctx, "SELECT type FROM outbox_events") == [("consultation.completed",)]


def test_a_flush_is_told_again_to_the_next_sweep_if_the_first_dies(
    ctx: Context, app: Celery, broker: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The marker is back only when what it stands for is stored."""

    def dies(_: object) -> None:
        raise RuntimeError

    submit(ctx, 2)
    sweep.sweep(ctx, app, broker)
    broker.delete(*QUEUES, WIPE_MARKER)
    with monkeypatch.context() as broken:
        broken.setattr(sweep.heartbeats, "forget", dies)
        with pytest.raises(RuntimeError):
            sweep.sweep(ctx, app, broker)
    assert not broker.exists(WIPE_MARKER)
    assert sweep.sweep(ctx, app, broker) == 2
    assert broker.exists(WIPE_MARKER)


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


def test_what_may_still_lie_in_the_sweeps_own_queue_is_not_stalled(ctx: Context) -> None:
    """Its last answer is in and what follows waits behind others: that a sweep runs proves nothing of it."""
    [one] = all_dispatched(ctx, 1)
    ask(ctx, "UPDATE owed_answers SET state = 'excused', reason = 'refused'")
    in_transaction(ctx, heartbeats.tick, worker="w")
    ask(ctx, "UPDATE consultations SET sent_at = now()")
    stall(ctx, one)
    in_transaction(ctx, heartbeats.tick, worker="w")
    assert not in_transaction(ctx, consultations.resume, most=5)
    [(queue, sent_ms)] = in_transaction(ctx, heartbeats.to_send, queues=["conclude"], stale_s=60)
    assert not in_transaction(ctx, consultations.resume, most=5), "it is on its way"
    in_transaction(ctx, heartbeats.received, queue=queue, sent_ms=sent_ms, worker="w")
    assert in_transaction(ctx, consultations.resume, most=5) == {one: 1}


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


def test_a_location_without_models_needs_no_workers(ctx: Context, app: Celery, broker: redis.Redis) -> None:
    """Once nothing in flight waits there, nothing is sent through its queues, and none of them is stale."""
    [one] = all_dispatched(ctx, 1)
    sweep.sweep(ctx, app, broker)
    ask(ctx, "UPDATE heartbeats SET sent_at = now() - interval '2 h', received_at = now() - interval '3 h'")
    elsewhere = [model for model in ctx.registry.values() if model.location == "local"]
    assert 0 < len(elsewhere) < len(ctx.registry)
    housed = replace(ctx, registry=Registry(elsewhere))
    sweep.sweep(housed, app, broker)
    assert "remote" in in_transaction(ctx, heartbeats.stale, stale_s=60)
    in_transaction(ctx, consultations.end, consultation_id=one, state="completed")
    sweep.sweep(housed, app, broker)
    left = {queue for (queue,) in ask(ctx, "SELECT queue FROM heartbeats")}
    assert left == {queue for queue in QUEUES if not queue.startswith("remote")}


def test_what_is_in_quarantine_waits_for_its_worker(ctx: Context) -> None:
    """What has crashed twice goes through a queue of its own: whether that is served is what counts."""
    [one] = all_dispatched(ctx, 1)
    ask(ctx, "UPDATE owed_answers SET crashes = 2")
    ask(ctx, "UPDATE consultations SET sent_at = now() - interval '1 min'")
    with ctx.transaction() as session:
        heartbeats.to_send(session, ["remote", "quarantine"], stale_s=60)
    ask(ctx, "UPDATE heartbeats SET proven_at = now() WHERE queue = 'remote'")
    ask(ctx, "UPDATE heartbeats SET proven_at = now() - interval '1 h' WHERE queue = 'quarantine'")
    stall(ctx, one)
    assert not in_transaction(ctx, consultations.resume, most=5), "it lies in the queue of quarantine"
    for queues, held in ((["remote"], None), (["quarantine"], "no workers"), (["remote"], None)):
        in_transaction(ctx, heartbeats.hold, queues=queues)
        assert ask(ctx, "SELECT held FROM consultations") == [(held,)]


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
