"""All that is measured of an evaluation, read set by set: consultations, generations, seats, calls."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

# One row for each consultation of each arm; the newest gold is what counts. Training is not measured.
CONSULTATIONS = text("""
    SELECT a.arm, a.repeat, s.strategy AS asked, c.strategy, c.n, c.id, c.vignette_digest, c.document_id,
           r.ordinal, c.kind, c.state, c.reason, c.draw_probability, c.explored,
           extract(epoch FROM c.ended_at - c.dispatched_at)::float AS wall_s,
           k.consultation_id IS NOT NULL AS concluded, k.rule, k.highest_graded, k.majority, k.refined,
           k.support, k.grade, k.variance, k.agreement, k.confidence, o.gold
    FROM evaluation_arms a
    JOIN submissions s ON s.id = a.submission_id AND s.source_id = a.source_id
    JOIN consultations c ON c.submission_id = a.submission_id AND c.source_id = a.source_id
    JOIN records r ON r.id = c.record_id AND r.source_id = c.source_id
    LEFT JOIN consensus k ON k.consultation_id = c.id AND k.source_id = c.source_id
    LEFT JOIN LATERAL (
        SELECT gold FROM outcomes WHERE consultation_id = c.id AND kind = 'gold'
        ORDER BY known_at DESC LIMIT 1
    ) o ON true
    WHERE a.evaluation_id = :id AND a.arm <> :training
    ORDER BY a.arm, a.repeat, r.ordinal
""")

# Who answered what, by seat; after_s counts from the dispatch.
GENERATIONS = text("""
    SELECT g.consultation_id, m.name AS model, g.starts,
           extract(epoch FROM g.created_at - c.dispatched_at)::float AS after_s
    FROM evaluation_arms a
    JOIN consultations c ON c.submission_id = a.submission_id AND c.source_id = a.source_id
    JOIN generations g ON g.consultation_id = c.id AND g.source_id = c.source_id
    JOIN owed_answers w ON w.id = g.owed_answer_id AND w.source_id = g.source_id
    JOIN model_versions m ON m.id = w.model_version_id
    WHERE a.evaluation_id = :id AND a.arm <> :training
    ORDER BY g.consultation_id, g.seat, g.occupancy
""")

SUBSTITUTIONS = text("""
    SELECT s.consultation_id, count(*) AS substitutions
    FROM evaluation_arms a
    JOIN consultations c ON c.submission_id = a.submission_id AND c.source_id = a.source_id
    JOIN seats s ON s.consultation_id = c.id AND s.source_id = c.source_id
    WHERE a.evaluation_id = :id AND a.arm <> :training AND s.occupancy > 1
    GROUP BY s.consultation_id
""")

# A call that was never sent costs nothing and is no try.
CALLS = text("""
    SELECT o.consultation_id, count(*) - count(DISTINCT m.owed_answer_id) AS retries,
           coalesce(sum(extract(epoch FROM m.ended_at - m.started_at)), 0)::float AS model_s,
           CASE WHEN bool_and(m.cost_usd IS NOT NULL) THEN sum(m.cost_usd)::float END AS cost_usd
    FROM evaluation_arms a
    JOIN consultations c ON c.submission_id = a.submission_id AND c.source_id = a.source_id
    JOIN owed_answers o ON o.consultation_id = c.id AND o.source_id = c.source_id
    JOIN model_calls m ON m.owed_answer_id = o.id AND m.source_id = o.source_id
    WHERE a.evaluation_id = :id AND a.arm <> :training AND m.outcome IS DISTINCT FROM 'unsent'
    GROUP BY o.consultation_id
""")


def consultations(session: Session, evaluation_id: uuid.UUID, training: str) -> Sequence[dict[str, Any]]:
    """Every consultation of every arm but `training`, with its consensus and gold (None: there is none)."""
    return _rows(session, CONSULTATIONS, evaluation_id, training)


def generations(session: Session, evaluation_id: uuid.UUID, training: str) -> Sequence[dict[str, Any]]:
    """`consultation_id`, `model`, `starts` and `after_s` of every answer, by seat."""
    return _rows(session, GENERATIONS, evaluation_id, training)


def substitutions(session: Session, evaluation_id: uuid.UUID, training: str) -> dict[uuid.UUID, int]:
    """How often a seat was given to another model, by consultation; absent: never."""
    rows = _rows(session, SUBSTITUTIONS, evaluation_id, training)
    return {row["consultation_id"]: row["substitutions"] for row in rows}


def calls(session: Session, evaluation_id: uuid.UUID, training: str) -> dict[uuid.UUID, dict[str, Any]]:
    """`retries`, `model_s` and `cost_usd` (None: a call without a price) by consultation."""
    return {row["consultation_id"]: row for row in _rows(session, CALLS, evaluation_id, training)}


def _rows(session: Session, statement: Any, evaluation_id: uuid.UUID, training: str) -> list[dict[str, Any]]:
    found = session.execute(statement, {"id": evaluation_id, "training": training})
    return [dict(row._mapping) for row in found]
