"""Consultations: their state for the flow, their end, and what the sweep picks."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.queries.heartbeats import OWN, QUEUE
from shared.family_mix import Families
from shared.flow import Owed

# Taken before anything is decided, so that of two copies of `advance` or `conclude` one waits for the other.
LOCK = text("""
    SELECT c.id, c.source_id, c.submission_id, c.n, c.seed, c.priority, c.kind, c.purpose, c.strategy,
           c.allowed, c.state, c.stage, c.record_id, c.document_id, c.reviewers_snapshot_id,
           c.chemistry_snapshot_id, c.support_snapshot_id, s.name AS source, s.policy,
           b.dials, b.families
    FROM consultations c
    JOIN sources s ON s.id = c.source_id
    JOIN submissions b ON b.id = c.submission_id AND b.source_id = c.source_id
    WHERE c.id = :id
    FOR UPDATE OF c
""")

# All that is owed, as the flow sees it.
OWED = text("""
    SELECT o.id, o.kind, o.seat, o.occupancy, o.about, o.state, m.location, m.name AS model, o.answer_id,
           o.reason, coalesce(o.claimed_until > now(), false) AS busy,
           extract(epoch FROM now() - o.away_since)::float AS away_s,
           o.crashes + (o.claimed_until IS NOT NULL AND o.claimed_until <= now())::int AS crashes,
           (o.not_before IS NULL OR o.not_before <= now() + make_interval(secs => :within_s)) AS ready
    FROM owed_answers o JOIN model_versions m ON m.id = o.model_version_id
    WHERE o.consultation_id = :id
    ORDER BY o.kind, o.seat, o.occupancy, o.id
""")

STAGE = text("""
    UPDATE consultations c
    SET stage = :stage, sent_at = now(),
        held = coalesce(CAST(:held AS varchar), (
            SELECT 'unread answer' FROM owed_answers o
            WHERE o.consultation_id = c.id AND o.state = 'owed' AND o.raw_id IS NOT NULL AND o.reason = 'bug'
            LIMIT 1))
    WHERE id = :id AND state = 'open'
""")

# What waits in the database is looked at again when the first of it is due.
WAIT = text("""
    UPDATE consultations c
    SET flagged = true, next_resume_at = w.due
    FROM (SELECT min(not_before) AS due FROM owed_answers
          WHERE consultation_id = :id AND state = 'owed') w
    WHERE c.id = :id AND c.state = 'open' AND w.due IS NOT NULL
""")

# It waits for something outside, and is looked at again after a while.
HOLD = text("""
    UPDATE consultations
    SET held = :held, flagged = true, next_resume_at = now() + make_interval(secs => :again_s)
    WHERE id = :id AND state = 'open'
""")

# The end, once, with its event; only a person puts a failed one back (see dead_letters).
END = text("""
    WITH ended AS (
        UPDATE consultations
        SET state = :state, reason = :reason, stage = 'ended', held = NULL, flagged = false, ended_at = now()
        WHERE id = :id AND state = 'open'
        RETURNING source_id, submission_id, id, requeues
    )
    INSERT INTO outbox_events (source_id, submission_id, consultation_id, type, times)
    SELECT source_id, submission_id, id, 'consultation.' || :state, requeues FROM ended
    ON CONFLICT DO NOTHING
""")

# Resume: dispatched, due, flagged or without progress for its stall time; and nobody works on it, nothing of
# it was put off lately, and whatever it had sent has left its queues (a heartbeat sent later came through).
# Each resume that has come to nothing makes the next wait longer (up to 8 times), with a jitter of a quarter.
RESUME = text(f"""
    WITH picked AS (
        SELECT id, source_id, NOT flagged AS counted FROM consultations c
        WHERE state = 'open' AND dispatched_at IS NOT NULL AND next_resume_at <= now()
          AND NOT EXISTS (SELECT FROM owed_answers o
                          WHERE o.consultation_id = c.id AND o.state = 'owed' AND o.claimed_until > now())
          AND (flagged OR progressed_at < now() - make_interval(secs => stall_s)
               AND NOT EXISTS (
                   SELECT FROM owed_answers o
                   JOIN model_versions m ON m.id = o.model_version_id
                   LEFT JOIN heartbeats h
                     ON h.queue = {QUEUE}
                   WHERE o.consultation_id = c.id AND o.state = 'owed'
                     AND (o.not_before > now() - make_interval(secs => c.stall_s)
                          OR h.queue IS NOT NULL AND coalesce(h.proven_at <= c.sent_at, true)))
               AND NOT EXISTS (
                   SELECT FROM heartbeats h  -- what follows the last answer
                   WHERE h.queue = '{OWN}'
                     AND coalesce(h.proven_at <= greatest(c.sent_at, c.progressed_at), true)))
        ORDER BY next_resume_at
        LIMIT :most
        FOR UPDATE SKIP LOCKED
    )
    UPDATE consultations c
    SET resumes = resumes + 1, fruitless = fruitless + p.counted::int, flagged = false,
        next_resume_at = now() + make_interval(
            secs => stall_s * least(power(2, fruitless), 8) * (0.75 + random() / 2))
    FROM picked p WHERE c.id = p.id AND c.source_id = p.source_id
    RETURNING c.id, c.fruitless
""")

# The broker could not be reached: these were not sent after all.
UNSEND = text("""
    UPDATE consultations SET flagged = true, next_resume_at = now()
    WHERE id = ANY(:ids) AND state = 'open'
""")

# The broker has forgotten everything, or a dead worker took messages with it: all in flight is due at once.
FLAG_ALL = text("""
    UPDATE consultations SET flagged = true, next_resume_at = now()
    WHERE state = 'open' AND dispatched_at IS NOT NULL
""")

# The deadline of what is not all received yet has not begun to count.
EXPIRED = text("""
    SELECT id FROM consultations c WHERE state = 'open' AND deadline_at < now()
      AND NOT EXISTS (SELECT FROM submissions s
                      WHERE s.id = c.submission_id AND s.source_id = c.source_id
                        AND s.state IN ('receiving', 'rejected'))
    ORDER BY deadline_at LIMIT 100 FOR UPDATE SKIP LOCKED
""")


@dataclass(frozen=True)
class Locked:
    """A consultation whose row is locked until the transaction ends."""

    id: uuid.UUID
    source_id: uuid.UUID
    submission_id: uuid.UUID
    n: int
    seed: int
    priority: int
    kind: str
    purpose: str
    strategy: str
    allowed: list[str]
    state: str
    stage: str
    record_id: uuid.UUID
    document_id: uuid.UUID
    reviewers_snapshot_id: uuid.UUID
    chemistry_snapshot_id: uuid.UUID | None
    support_snapshot_id: uuid.UUID | None
    source: str
    policy: dict[str, Any]
    dials: dict[str, float]
    families: Families


def lock(session: Session, consultation_id: uuid.UUID) -> Locked | None:
    """The consultation, locked; None if there is no such row."""
    row = session.execute(LOCK, {"id": consultation_id}).one_or_none()
    return Locked(**row._mapping) if row else None


def owed(session: Session, consultation_id: uuid.UUID, *, within_s: float) -> list[Owed]:
    """All owed answers; one is `ready` if it need not wait longer than `within_s` seconds."""
    rows = session.execute(OWED, {"id": consultation_id, "within_s": within_s})
    return [Owed(**row._mapping) for row in rows]


def set_stage(session: Session, consultation_id: uuid.UUID, stage: str, *, held: str | None = None) -> None:
    """Store how far it is, and what holds it; its canvas is about to be sent."""
    session.execute(STAGE, {"id": consultation_id, "stage": stage, "held": held})


def hold(session: Session, consultation_id: uuid.UUID, held: str, *, again_s: float) -> None:
    """It is held for this reason, and looked at again after so many seconds."""
    session.execute(HOLD, {"id": consultation_id, "held": held, "again_s": again_s})


def wait(session: Session, consultation_id: uuid.UUID) -> None:
    """All that is owed lies in the database until later: have it resumed then."""
    session.execute(WAIT, {"id": consultation_id})


def end(session: Session, consultation_id: uuid.UUID, state: str, reason: str | None = None) -> None:
    """End it as completed, needs_review, failed or cancelled, and tell so; what has ended stays as it is."""
    session.execute(END, {"id": consultation_id, "state": state, "reason": reason})


def resume(session: Session, *, most: int) -> dict[uuid.UUID, int]:
    """Take at most `most` stalled consultations; with how many resumes in a row have been fruitless."""
    return {row.id: row.fruitless for row in session.execute(RESUME, {"most": most})}


def unsend(session: Session, ids: list[uuid.UUID]) -> None:
    """Give back what could not be sent."""
    session.execute(UNSEND, {"ids": ids})


def flag_all(session: Session) -> None:
    """Have everything resumed that the broker should have held."""
    session.execute(FLAG_ALL)


def expired(session: Session) -> list[uuid.UUID]:
    """Open consultations past their deadline, locked."""
    return list(session.execute(EXPIRED).scalars())
