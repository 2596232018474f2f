"""The measurements: what they count, and that none of them reads the history."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from db.engine import transaction
from db.queries import (
    consultations,
    dispatching,
    events,
    health,
    heartbeats,
    measurements,
    model_calls,
    owed_answers,
    waits,
)
from db.tables import Consultation
from tests.accepted import TRIO, ask, claim, consultations_of, context, one_owed, owed_by, submit
from workers.context import Context

BIG = ("consultations", "owed_answers", "model_calls", "outbox_events")

OF_IDS = {
    "id": "c",
    "record_id": "c",
    **dict.fromkeys(("accepted_at", "dispatched_at", "progressed_at", "ended_at"), "at"),
}
COLUMNS = {c.name: OF_IDS.get(c.name, f"one.{c.name}") for c in Consultation.__table__.columns}

# Ended consultations, each with an owed answer, a call and an event, copied from one that was accepted;
# foreign keys are not checked meanwhile, since no measurement reads what they refer to.
HISTORY = """
SET LOCAL session_replication_role = replica;
CREATE TEMP TABLE one AS SELECT * FROM consultations LIMIT 1;
UPDATE one SET state = 'completed', stage = 'ended';
CREATE TEMP TABLE ids AS
    SELECT i, gen_random_uuid() AS c, gen_random_uuid() AS o, now() - i * interval '10 seconds' AS at
    FROM generate_series({ended}, 1, -1) i;
INSERT INTO consultations ({columns}) SELECT {values} FROM one, ids;
INSERT INTO owed_answers (id, source_id, consultation_id, kind, seat, model_version_id, prompt_id, state,
                          answer_id)
SELECT ids.o, w.source_id, ids.c, 'generation', 0, w.model_version_id, w.prompt_id, 'answered', ids.o
FROM ids, (SELECT * FROM owed_answers LIMIT 1) w;
INSERT INTO model_calls (owed_answer_id, source_id, claim, model_version_id, started_at, ended_at, outcome,
                         cost_usd)
SELECT ids.o, w.source_id, 1, w.model_version_id, at - interval '2 seconds', at, 'answered', 0.001
FROM ids, (SELECT * FROM owed_answers LIMIT 1) w ORDER BY i DESC;
INSERT INTO outbox_events (source_id, submission_id, consultation_id, type, created_at, delivered_at)
SELECT one.source_id, one.submission_id, ids.c, 'consultation.completed', at, at FROM ids, one ORDER BY i DESC
"""


@pytest.fixture
def ctx(database_url: str) -> Context:
    """A site with nothing in it."""
    return context(database_url)


def _all(ctx: Context, function: Any) -> Any:
    with ctx.transaction() as session:
        return function(session)


def _in_flight(ctx: Context, *, stood_s: float = 0) -> tuple[uuid.UUID, list[uuid.UUID]]:
    """A dispatched consultation without progress for so long, and what it owes."""
    [found] = consultations_of(ctx, submit(ctx))
    ask(
        ctx,
        "UPDATE consultations SET dispatched_at = now() - make_interval(secs => %s), stage = 'generating', "
        "progressed_at = now() - make_interval(secs => %s) WHERE id = %s",
        stood_s,
        stood_s,
        found,
    )
    return found, owed_by(ctx, found)


def _end(
    ctx: Context, consultation: uuid.UUID, state: str, reason: str | None = None, ago_s: float = 0
) -> None:
    """It ends, with its event."""
    ask(
        ctx,
        "UPDATE consultations SET state = %s, reason = %s, stage = 'ended', "
        "ended_at = now() - make_interval(secs => %s) WHERE id = %s",
        *(state, reason, ago_s, consultation),
    )
    ask(
        ctx,
        "INSERT INTO outbox_events (source_id, submission_id, consultation_id, type, created_at) "
        "SELECT source_id, submission_id, id, 'consultation.' || state, ended_at FROM consultations "
        "WHERE id = %s",
        consultation,
    )


# What every sweep and every dispatch asks.
SWEPT = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module, names in (
        (dispatching, ("FREE", "NEXT", "WAITING")),
        (consultations, ("RESUME", "FLAG_ALL", "EXPIRED")),
        (heartbeats, ("HOLD", "FREE")),
        (owed_answers, ("END_LEASES_OF_FORMER_SELF",)),
        (waits, ("WAKE",)),
        (model_calls, ("OPEN",)),
        (events, ("MAY_BE_FINISHED", "DELIVER")),
    )
    for name in names
}
VALUES: dict[str, Any] = {"bounds": [1.0, 2.0], "queues": ["remote"], "id": None}


def test_no_measurement_reads_the_history(ctx: Context, size: int) -> None:
    """With many ended consultations (in full: 200,000) no statement scans a table that grows with them."""
    submit(ctx, 3)
    history = HISTORY.format(
        ended=200_000 if size >= 500 else 20_000,
        columns=", ".join(COLUMNS),
        values=", ".join(COLUMNS.values()),
    )
    with transaction(ctx.settings.require_database()) as session:
        for statement in history.split(";\n"):
            session.connection().exec_driver_sql(statement)
        session.connection().exec_driver_sql("DROP TABLE one, ids")
    ask(ctx, "ANALYZE")
    statements = {
        name: value
        for module in (measurements, health)
        for name, value in vars(module).items()
        if isinstance(value, type(text("")))
    }
    assert len(statements) >= 15
    statements |= SWEPT
    scanned = {}
    with ctx.transaction() as session:
        for name, statement in statements.items():
            values = {k: VALUES.get(k, "60") for k in statement.compile().params}
            explained = text(f"EXPLAIN (FORMAT JSON) {statement.text}")
            plan = session.execute(explained, values).scalar_one()
            scanned[name] = sorted(set(_seq_scans(plan[0]["Plan"])) & set(BIG))
    assert {name: tables for name, tables in scanned.items() if tables} == {}
    assert sum(row["consultations"] for row in _all(ctx, measurements.times_to_end)) in range(300, 361)
    assert sum(row["calls"] for row in _all(ctx, measurements.calls)) in range(1, 31)


def _seq_scans(plan: dict[str, Any]) -> list[str]:
    found = [plan["Relation Name"]] if plan["Node Type"] == "Seq Scan" else []
    return found + [table for part in plan.get("Plans", []) for table in _seq_scans(part)]


def test_what_waits_and_what_is_held(ctx: Context) -> None:
    """The oldest that waits by priority; what is held does not wait, and is counted by its reason."""
    urgent, routine = submit(ctx, 2, priority="urgent", purpose="care"), submit(ctx, 3)
    ask(
        ctx,
        "UPDATE consultations SET accepted_at = now() - interval '90 s' WHERE id = %s",
        consultations_of(ctx, urgent)[0],
    )
    for held in consultations_of(ctx, routine)[:2]:
        ask(
            ctx,
            "UPDATE consultations SET held = 'budget', accepted_at = now() - interval '1 day' WHERE id = %s",
            held,
        )
    waiting = {row["priority"]: row for row in _all(ctx, measurements.oldest_waiting)}
    assert {p: row["consultations"] for p, row in waiting.items()} == {0: 2, 2: 1}
    assert 90 <= waiting[0]["age_s"] < 200
    assert waiting[2]["age_s"] < 90
    opened = {(r["stage"], r["held"]): r["consultations"] for r in _all(ctx, measurements.open_consultations)}
    assert opened == {("waiting", None): 3, ("waiting", "budget"): 2}


def test_stalled_is_what_nothing_explains(ctx: Context) -> None:
    """A hold, a live claim and a wait until a set time explain it; a lease that ran out does not."""
    assert _all(ctx, measurements.nothing_ended_s) == 0
    stalled, _ = _in_flight(ctx, stood_s=10_000)
    moving, _ = _in_flight(ctx)
    held, _ = _in_flight(ctx, stood_s=10_000)
    ask(ctx, "UPDATE consultations SET held = 'no models' WHERE id = %s", held)
    _, claimed = _in_flight(ctx, stood_s=10_000)
    assert claim(ctx, claimed[0])
    _, waits = _in_flight(ctx, stood_s=10_000)
    ask(ctx, "UPDATE owed_answers SET not_before = now() + interval '1 h' WHERE id = %s", waits[1])
    longest, run_out = _in_flight(ctx, stood_s=20_000)
    assert claim(ctx, run_out[0])
    ask(ctx, "UPDATE owed_answers SET claimed_until = now() - interval '1 s' WHERE id = %s", run_out[0])
    found = _all(ctx, measurements.stalled)
    assert [row["id"] for row in found] == [longest, stalled]
    assert 10_000 <= found[1]["age_s"] < 10_100
    assert 20_000 <= _all(ctx, measurements.nothing_ended_s) < 20_100
    _end(ctx, moving, "completed", ago_s=40)
    assert 40 <= _all(ctx, measurements.nothing_ended_s) < 140


def test_dead_letters_are_what_nobody_discarded(ctx: Context) -> None:
    """By reason; discarded ones are gone from it."""
    first, second, third, fourth = consultations_of(ctx, submit(ctx, 4))
    for failed, reason in ((first, "no_quorum"), (second, "expired"), (third, "expired")):
        _end(ctx, failed, "failed", reason)
    _end(ctx, fourth, "needs_review", "low_agreement")
    ask(ctx, "UPDATE consultations SET discarded_at = now() WHERE id = %s", third)
    found = {row["reason"]: row["consultations"] for row in _all(ctx, measurements.dead_letters)}
    assert found == {"no_quorum": 1, "expired": 1}


def test_times_to_end_are_of_the_last_hour(ctx: Context) -> None:
    """Each end falls into the bucket of its time; what ended before the hour is left out."""
    quick, slow, endless, before = consultations_of(ctx, submit(ctx, 4))
    for consultation, took_s in ((quick, 20), (slow, 200), (endless, 100_000), (before, 20)):
        ask(
            ctx,
            "UPDATE consultations SET accepted_at = now() - make_interval(secs => %s) WHERE id = %s",
            took_s + (4000 if consultation == before else 0),
            consultation,
        )
        _end(ctx, consultation, "completed", ago_s=4000 if consultation == before else 0)
    found = {row["bucket"]: row for row in _all(ctx, measurements.times_to_end)}
    assert {b: row["consultations"] for b, row in found.items()} == {1: 1, 4: 1, 10: 1}
    assert found[4]["seconds"] == pytest.approx(200, abs=5)


def test_calls_by_model(ctx: Context) -> None:
    """Outcomes, latency and cost of lately ended calls; a claim without a call is none; open ones apart."""
    owed = [one_owed(ctx) for _ in range(6)]
    for id_ in owed:
        assert claim(ctx, id_)
    ends = (
        ("answered", None, 3, 60, "0.25"),
        ("failed", "rate_limited", 1, 60, None),
        ("unsent", None, 0, 60, None),
        ("answered", None, 5, 1800, "0.5"),  # of the hour's cost, not of the last five minutes' calls
        ("answered", None, 5, 4000, "1"),
    )
    for id_, (outcome, error, took_s, ago_s, cost) in zip(owed, ends, strict=False):
        ask(
            ctx,
            "UPDATE model_calls SET outcome = %s, error_kind = %s, cost_usd = %s, "
            "started_at = now() - make_interval(secs => %s), ended_at = now() - make_interval(secs => %s) "
            "WHERE owed_answer_id = %s",
            *(outcome, error, cost, ago_s + took_s, ago_s, id_),
        )
    calls = {(r["outcome"], r["error_kind"]): r["calls"] for r in _all(ctx, measurements.calls)}
    assert calls == {("answered", None): 1, ("failed", "rate_limited"): 1}
    [latency] = _all(ctx, measurements.latencies)
    assert (latency["model"], latency["bucket"], latency["calls"]) == (TRIO[0], 3, 1)
    assert latency["seconds"] == pytest.approx(3, abs=0.01)
    assert _all(ctx, measurements.in_flight) == [{"model": TRIO[0], "calls": 1}]
    assert _all(ctx, measurements.spend) == [{"model": TRIO[0], "usd": Decimal("0.75"), "unpriced": 1}]


def test_what_workers_share_about_models(ctx: Context) -> None:
    """Closed, open and half open breakers, since when; a wait that is over is none."""
    ask(
        ctx,
        "INSERT INTO model_states (name, opened_at, probe_at, waits_until, learned_limit) VALUES "
        "('a', NULL, NULL, now() - interval '1 h', 7), "
        "('b', now() - interval '100 s', now() + interval '1 h', now() + interval '100 s', NULL), "
        "('c', now() - interval '100 s', now(), NULL, NULL)",
    )
    found = {row["model"]: row for row in _all(ctx, measurements.models)}
    assert [found[m]["breaker"] for m in "abc"] == ["closed", "open", "half_open"]
    assert (found["a"]["open_s"], found["a"]["wait_s"], found["a"]["learned_limit"]) == (0, 0, 7)
    assert 100 <= found["b"]["open_s"] < 200
    assert 0 < found["b"]["wait_s"] <= 100
