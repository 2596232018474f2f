"""What `/metrics` tells, as aggregates that stay cheap with ten million ended rows.

Each statement reads a partial index of what is open, a range of time in the calls (BRIN), or the tail of the
outbox; none reads the history. They take no parameters that a plan depends on, so a plan kept by a connection
stays the good one. Ages and waits are seconds by PostgreSQL's own clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

TIME_TO_END_BOUNDS = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14_400.0, 86_400.0)
"""Upper bounds in seconds of the buckets of `times_to_end`; the last bucket has none."""
LATENCY_BOUNDS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds in seconds of the buckets of `latencies`."""

# What a dispatcher may take, and since when the oldest of it waits.
OLDEST_WAITING = text("""
    SELECT priority, count(*) AS consultations, extract(epoch FROM now() - min(accepted_at))::float AS age_s
    FROM consultations c
    WHERE state = 'open' AND dispatched_at IS NULL AND held IS NULL
      AND NOT EXISTS (SELECT FROM submissions s
                      WHERE s.id = c.submission_id AND s.source_id = c.source_id
                        AND s.state IN ('receiving', 'rejected'))
    GROUP BY priority
""")

OPEN = text("""
    SELECT stage, held, count(*) AS consultations FROM consultations WHERE state = 'open' GROUP BY stage, held
""")

# In flight past its stall time, and nothing says why: no hold, nobody at work, no wait until a set time.
STALLED = text("""
    SELECT c.id, extract(epoch FROM now() - c.progressed_at)::float AS age_s
    FROM consultations c
    WHERE c.state = 'open' AND c.dispatched_at IS NOT NULL AND c.held IS NULL
      AND c.progressed_at < now() - make_interval(secs => c.stall_s)
      AND NOT EXISTS (SELECT FROM owed_answers o
                      WHERE o.consultation_id = c.id AND o.state = 'owed'
                        AND (o.claimed_until > now() OR o.not_before > now()))
    ORDER BY c.progressed_at
""")

# Since when work is in flight and nothing has ended; 0 while nothing is in flight.
NOTHING_ENDED = text("""
    SELECT CASE WHEN count(*) = 0 THEN 0 ELSE extract(epoch FROM now() - greatest(
               min(dispatched_at),
               (SELECT created_at FROM outbox_events WHERE consultation_id IS NOT NULL
                ORDER BY id DESC LIMIT 1)
           )) END::float
    FROM consultations WHERE state = 'open' AND dispatched_at IS NOT NULL AND held IS NULL
""")

DEAD_LETTERS = text("""
    SELECT reason, count(*) AS consultations
    FROM consultations WHERE state = 'failed' AND discarded_at IS NULL GROUP BY reason
""")

# From accept to end, of what ended within the last hour: the outbox has the ends in their order (the latest
# 20,000 are looked at). LIMIT 1 keeps each end a look-up by key, where a join would read all consultations.
TIMES_TO_END = text("""
    SELECT c.priority, width_bucket(c.seconds, CAST(:bounds AS float[])) AS bucket,
           count(*) AS consultations, sum(c.seconds) AS seconds
    FROM (SELECT consultation_id, source_id, created_at FROM outbox_events ORDER BY id DESC LIMIT 20000) e
    CROSS JOIN LATERAL (
        SELECT priority, extract(epoch FROM ended_at - accepted_at)::float AS seconds
        FROM consultations
        WHERE id = e.consultation_id AND source_id = e.source_id AND ended_at IS NOT NULL LIMIT 1
    ) c
    WHERE e.created_at > now() - interval '1 hour' AND e.consultation_id IS NOT NULL
    GROUP BY c.priority, bucket
""")

# Calls that ended within five minutes. They began within the hour: so far the index on the beginning is read.
CALLS = text("""
    SELECT v.name AS model, m.outcome, m.error_kind, count(*) AS calls
    FROM model_calls m JOIN model_versions v ON v.id = m.model_version_id
    WHERE m.started_at > now() - interval '1 hour' AND m.ended_at > now() - interval '5 minutes'
      AND m.outcome <> 'unsent'
    GROUP BY v.name, m.outcome, m.error_kind
""")

LATENCIES = text("""
    SELECT m.model, width_bucket(m.seconds, CAST(:bounds AS float[])) AS bucket, count(*) AS calls,
           sum(m.seconds) AS seconds
    FROM (SELECT v.name AS model, extract(epoch FROM m.ended_at - m.started_at)::float AS seconds
          FROM model_calls m JOIN model_versions v ON v.id = m.model_version_id
          WHERE m.started_at > now() - interval '1 hour' AND m.ended_at > now() - interval '5 minutes'
            AND m.outcome = 'answered') m
    GROUP BY m.model, bucket
""")

IN_FLIGHT = text("""
    SELECT v.name AS model, count(*) AS calls
    FROM model_calls m JOIN model_versions v ON v.id = m.model_version_id
    WHERE m.outcome IS NULL GROUP BY v.name
""")

# What ended within the hour cost so much, as far as prices are known; the others are counted.
SPEND = text("""
    SELECT v.name AS model, coalesce(sum(m.cost_usd), 0) AS usd,
           count(*) FILTER (WHERE m.cost_usd IS NULL) AS unpriced
    FROM model_calls m JOIN model_versions v ON v.id = m.model_version_id
    WHERE m.started_at > now() - interval '2 hours' AND m.ended_at > now() - interval '1 hour'
      AND m.outcome <> 'unsent'
    GROUP BY v.name
""")

# What workers share about models: a row only where there is something to say.
MODELS = text("""
    SELECT name AS model,
           CASE WHEN opened_at IS NULL THEN 'closed' WHEN probe_at <= now() THEN 'half_open' ELSE 'open' END
               AS breaker,
           coalesce(extract(epoch FROM now() - opened_at), 0)::float AS open_s,
           coalesce(greatest(extract(epoch FROM waits_until - now()), 0), 0)::float AS wait_s,
           learned_limit
    FROM model_states
""")

PAUSES = text("SELECT scope, name FROM pauses ORDER BY scope, name")

PARKED = text("SELECT count(*) FROM parked_messages")


def _rows(session: Session, statement: Any, **values: Any) -> Sequence[dict[str, Any]]:
    return [dict(row._mapping) for row in session.execute(statement, values)]


def oldest_waiting(session: Session) -> Sequence[dict[str, Any]]:
    """By `priority` (0 urgent, 1 routine, 2 background): `consultations` that wait, `age_s` of the oldest."""
    return _rows(session, OLDEST_WAITING)


def open_consultations(session: Session) -> Sequence[dict[str, Any]]:
    """Open `consultations` by `stage` and by what holds them (`held`, None: nothing)."""
    return _rows(session, OPEN)


def stalled(session: Session) -> Sequence[dict[str, Any]]:
    """Consultations that stand still without a known reason: `id`, `age_s` since progress; longest first."""
    return _rows(session, STALLED)


def nothing_ended_s(session: Session) -> float:
    """Seconds for which work has been in flight without any end; 0 if none is."""
    found: float = session.execute(NOTHING_ENDED).scalar_one()
    return found


def dead_letters(session: Session) -> Sequence[dict[str, Any]]:
    """Failed `consultations` that nobody has discarded, by `reason`."""
    return _rows(session, DEAD_LETTERS)


def times_to_end(session: Session) -> Sequence[dict[str, Any]]:
    """From accept to end over the last hour: `consultations` and their `seconds` by `priority` and `bucket`.

    `bucket` is an index into `TIME_TO_END_BOUNDS`, one more for what is longer than all of them.
    """
    return _rows(session, TIMES_TO_END, bounds=list(TIME_TO_END_BOUNDS))


def calls(session: Session) -> Sequence[dict[str, Any]]:
    """`calls` that ended within five minutes by `model`, `outcome` and `error_kind` (None: no error)."""
    return _rows(session, CALLS)


def latencies(session: Session) -> Sequence[dict[str, Any]]:
    """How long answered calls of the last five minutes took: `calls`, `seconds` by `model` and `bucket`."""
    return _rows(session, LATENCIES, bounds=list(LATENCY_BOUNDS))


def in_flight(session: Session) -> Sequence[dict[str, Any]]:
    """`calls` that are open on record, by `model`."""
    return _rows(session, IN_FLIGHT)


def spend(session: Session) -> Sequence[dict[str, Any]]:
    """Known cost in `usd` (Decimal) of the last hour's calls and how many have none, by `model`."""
    return _rows(session, SPEND)


def models(session: Session) -> Sequence[dict[str, Any]]:
    """By `model`: `breaker` (closed, open, half_open), `open_s`, shared `wait_s`, `learned_limit` or None."""
    return _rows(session, MODELS)


def pauses(session: Session) -> Sequence[dict[str, Any]]:
    """What an operator has paused: `scope` (all, source, model), `name`; a source's name may be telling."""
    return _rows(session, PAUSES)


def parked(session: Session) -> int:
    """Messages of a version that no worker knew."""
    found: int = session.execute(PARKED).scalar_one()
    return found
