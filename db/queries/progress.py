"""How far submissions are, as numbers only: what `consilium watch` asks again and again.

Each statement starts from the submissions it is asked about and goes on by their indexes, however long the
history is.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.orm import Session

OPEN = text("""
    SELECT id FROM submissions
    WHERE state = 'open' AND (CAST(:source_id AS uuid) IS NULL OR source_id = :source_id)
""")

BATCHES = text("""
    SELECT s.id, src.name AS source, s.state, s.purpose, s.strategy, s.n, s.records, s.set_aside,
           s.budget_usd, s.received_at,
           extract(epoch FROM coalesce(s.finished_at, now()) - s.received_at)::float AS age_s
    FROM submissions s JOIN sources src ON src.id = s.source_id
    WHERE s.id = ANY(:ids) ORDER BY s.received_at, s.id
""")

# What holds an open one, as in `reports.STAGES`: its own word, a pause, or that not even the sweep runs.
WORK = text("""
    WITH paused AS (
        SELECT s.id FROM sources s
        WHERE EXISTS (SELECT FROM pauses p WHERE p.scope = 'all' OR p.scope = 'source' AND p.name = s.name)
    ), idle AS (
        SELECT 'no workers' AS held FROM heartbeats
        WHERE queue = 'conclude' AND received_at < now() - make_interval(secs => :stale_s)
    )
    SELECT c.state, c.stage, c.reason,
           CASE WHEN c.state = 'open' THEN coalesce(
               c.held,
               CASE WHEN c.dispatched_at IS NULL AND c.source_id IN (SELECT id FROM paused) THEN 'paused' END,
               (SELECT held FROM idle)) END AS held,
           count(*) AS n,
           count(*) FILTER (WHERE c.ended_at > now() - make_interval(secs => :lately_s)) AS lately,
           sum(c.spent_usd) AS spent_usd,
           extract(epoch FROM now() - min(c.dispatched_at))::float AS begun_s
    FROM consultations c WHERE c.submission_id = ANY(:ids)
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
""")

# A call without an outcome is in flight as long as its lease lasts; afterwards nobody knows of it any more.
# By an array of ids, so that all calls are never read for the sake of a few, whatever the statistics say.
CALLS = text("""
    SELECT v.name AS model,
           count(*) FILTER (WHERE m.outcome IS NULL AND o.claimed_until > now()) AS in_flight,
           count(*) FILTER (WHERE m.outcome = 'answered' AND m.error_kind IS NULL) AS answered,
           count(*) FILTER (WHERE m.outcome IS NOT NULL
                              AND NOT (m.outcome = 'answered' AND m.error_kind IS NULL)) AS failed,
           count(*) FILTER (WHERE m.error_kind = 'rate_limited') AS rate_limited,
           count(*) FILTER (WHERE m.claim > 1) AS retries,
           count(m.cost_usd) AS priced,
           count(*) FILTER (WHERE m.outcome IS NOT NULL AND m.cost_usd IS NULL) AS unpriced,
           (percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM m.ended_at - m.started_at))
            FILTER (WHERE m.outcome = 'answered'))::float AS median_s
    FROM owed_answers o
    JOIN model_calls m ON m.owed_answer_id = o.id AND m.source_id = o.source_id
    JOIN model_versions v ON v.id = m.model_version_id
    WHERE o.consultation_id = ANY(ARRAY(SELECT id FROM consultations WHERE submission_id = ANY(:ids)))
      AND m.outcome IS DISTINCT FROM 'unsent'
    GROUP BY v.name ORDER BY v.name
""")

# Why a model is not asked at this moment.
STANDSTILLS = text("""
    SELECT s.name,
           CASE WHEN s.opened_at IS NOT NULL THEN 'away' ELSE 'rate limited' END AS why,
           greatest(extract(epoch FROM CASE WHEN s.opened_at IS NOT NULL THEN s.probe_at
                                            ELSE s.waits_until END - now()), 0)::float AS for_s
    FROM model_states s WHERE s.opened_at IS NOT NULL OR s.waits_until > now()
    UNION ALL
    SELECT p.name, 'paused', NULL FROM pauses p WHERE p.scope = 'model'
""")


@dataclass(frozen=True)
class Batch:
    """One submission. `age_s`: seconds from its receipt to now, or to its end."""

    id: uuid.UUID
    source: str
    state: str
    purpose: str
    strategy: str
    n: int
    records: int
    set_aside: int
    budget_usd: Decimal | None
    received_at: datetime
    age_s: float


@dataclass(frozen=True)
class Work:
    """So many (`n`) consultations of one state, stage, reason and cause of waiting.

    `lately`: those that ended within the last `lately_s` seconds. `spent_usd`: of known costs. `begun_s`:
    seconds since the first of them was dispatched; None: none was.
    """

    state: str
    stage: str
    reason: str | None
    held: str | None
    n: int
    lately: int
    spent_usd: Decimal
    begun_s: float | None = None


@dataclass(frozen=True)
class ModelCalls:
    """What one model was asked: counts of calls; `median_s` of its answers, in seconds.

    `retries` are calls after the first for the same owed answer, `unpriced` have ended and their cost is not
    known. `why` (away, rate limited, paused): it is not asked now, for `for_s` seconds at least.
    """

    model: str
    in_flight: int
    answered: int
    failed: int
    rate_limited: int
    retries: int
    priced: int
    unpriced: int
    median_s: float | None
    why: str | None = None
    for_s: float | None = None


def open_submissions(session: Session, source_id: uuid.UUID | None = None) -> list[uuid.UUID]:
    """Ids of the submissions that are open now: all, or those of one source."""
    return list(session.execute(OPEN, {"source_id": source_id}).scalars())


def batches(session: Session, ids: Collection[uuid.UUID]) -> Sequence[Batch]:
    """These submissions, oldest first."""
    return [Batch(**row._mapping) for row in session.execute(BATCHES, {"ids": list(ids)})]


def work(
    session: Session, ids: Collection[uuid.UUID], *, lately_s: float, stale_s: float = 60.0
) -> Sequence[Work]:
    """Their consultations, counted; `stale_s` is the settings' `heartbeat_stale_s`."""
    asked = {"ids": list(ids), "lately_s": lately_s, "stale_s": stale_s}
    return [Work(**row._mapping) for row in session.execute(WORK, asked)]


def calls(session: Session, ids: Collection[uuid.UUID]) -> Sequence[ModelCalls]:
    """Their calls, counted by model, by name."""
    stands = {row.name: {"why": row.why, "for_s": row.for_s} for row in session.execute(STANDSTILLS)}
    rows = [row._mapping for row in session.execute(CALLS, {"ids": list(ids)})]
    return [ModelCalls(**row, **stands.get(row["model"], {})) for row in rows]
