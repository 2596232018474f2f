"""Consultations: their state for the flow, and the dispatcher's and the sweeper's picks."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.flow import Owed

# Taken before anything is decided, so that of two copies of `advance` or `conclude` one waits for the other.
LOCK = text("""
    SELECT id, source_id, submission_id, n, seed, priority, kind, purpose, state, stage, record_id,
           document_id, reviewers_snapshot_id
    FROM consultations WHERE id = :id
    FOR UPDATE
""")

# All that is owed, as the flow sees it.
OWED = text("""
    SELECT o.id, o.kind, o.seat, o.state, m.location, o.answer_id,
           o.crashes + (o.claimed_until IS NOT NULL AND o.claimed_until <= now())::int AS crashes,
           (o.not_before IS NULL OR o.not_before <= now() + make_interval(secs => :within_s)) AS ready
    FROM owed_answers o JOIN model_versions m ON m.id = o.model_version_id
    WHERE o.consultation_id = :id
    ORDER BY o.kind, o.seat, o.id
""")

STAGE = text("UPDATE consultations SET stage = :stage WHERE id = :id AND state = 'open'")

# What waits in the database is looked at again when the first of it is due.
WAIT = text("""
    UPDATE consultations c
    SET flagged = true, next_resume_at = w.due
    FROM (SELECT min(not_before) AS due FROM owed_answers
          WHERE consultation_id = :id AND state = 'owed') w
    WHERE c.id = :id AND c.state = 'open' AND w.due IS NOT NULL
""")

# The end, once: a state that is not open is never left again.
END = text("""
    UPDATE consultations
    SET state = :state, reason = :reason, stage = 'ended', held = NULL, flagged = false, ended_at = now()
    WHERE id = :id AND state = 'open'
""")

EVENT = text("""
    INSERT INTO outbox_events (source_id, submission_id, consultation_id, type)
    SELECT source_id, submission_id, id, 'consultation.' || :state FROM consultations WHERE id = :id
    ON CONFLICT DO NOTHING
""")

# First dispatch: urgent before routine before background, oldest first, into the window's free places.
# The lock makes the count of places exact with any number of dispatchers; it is held for one statement.
DISPATCH_LOCK = text("SELECT pg_advisory_xact_lock(7302002)")
DISPATCH = text("""
    WITH places AS (
        SELECT greatest(:window - count(*), 0) AS free
        FROM consultations WHERE state = 'open' AND dispatched_at IS NOT NULL
    ), picked AS (
        SELECT c.id, c.source_id
        FROM consultations c JOIN submissions s ON s.id = c.submission_id AND s.source_id = c.source_id
        WHERE c.state = 'open' AND c.dispatched_at IS NULL AND s.state = 'open'
        ORDER BY c.priority, c.accepted_at
        LIMIT (SELECT free FROM places)
        FOR UPDATE OF c SKIP LOCKED
    )
    UPDATE consultations c
    SET dispatched_at = now(), progressed_at = now(), stage = 'generating', flagged = false,
        next_resume_at = now() + make_interval(secs => c.stall_s)
    FROM picked p WHERE c.id = p.id AND c.source_id = p.source_id
    RETURNING c.id
""")

# Resume: dispatched, due, without progress for its stall time (or flagged), and nobody works on it. Each
# resume waits longer than the one before (up to 8 times), with a jitter of a quarter.
RESUME = text("""
    WITH picked AS (
        SELECT id, source_id FROM consultations c
        WHERE state = 'open' AND dispatched_at IS NOT NULL AND next_resume_at <= now()
          AND (flagged OR progressed_at < now() - make_interval(secs => stall_s))
          AND NOT EXISTS (SELECT FROM owed_answers o
                          WHERE o.consultation_id = c.id AND o.state = 'owed' AND o.claimed_until > now())
        ORDER BY next_resume_at
        LIMIT :most
        FOR UPDATE SKIP LOCKED
    )
    UPDATE consultations c
    SET resumes = resumes + 1, flagged = false,
        next_resume_at = now() + make_interval(
            secs => stall_s * least(power(2, resumes), 8) * (0.75 + random() / 2))
    FROM picked p WHERE c.id = p.id AND c.source_id = p.source_id
    RETURNING c.id
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

EXPIRED = text("""
    SELECT id FROM consultations WHERE state = 'open' AND deadline_at < now()
    ORDER BY deadline_at LIMIT 100 FOR UPDATE SKIP LOCKED
""")

WAITING = text("""
    SELECT EXISTS (SELECT FROM consultations WHERE state = 'open' AND dispatched_at IS NULL)
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
    state: str
    stage: str
    record_id: uuid.UUID
    document_id: uuid.UUID
    reviewers_snapshot_id: uuid.UUID


def lock(session: Session, consultation_id: uuid.UUID) -> Locked | None:
    """The consultation, locked; None if there is no such row."""
    row = session.execute(LOCK, {"id": consultation_id}).one_or_none()
    return Locked(**row._mapping) if row else None


def owed(session: Session, consultation_id: uuid.UUID, *, within_s: float) -> list[Owed]:
    """All owed answers; one is `ready` if it need not wait longer than `within_s` seconds."""
    rows = session.execute(OWED, {"id": consultation_id, "within_s": within_s})
    return [Owed(**row._mapping) for row in rows]


def set_stage(session: Session, consultation_id: uuid.UUID, stage: str) -> None:
    """Store how far it is."""
    session.execute(STAGE, {"id": consultation_id, "stage": stage})


def wait(session: Session, consultation_id: uuid.UUID) -> None:
    """All that is owed lies in the database until later: have it resumed then."""
    session.execute(WAIT, {"id": consultation_id})


def end(session: Session, consultation_id: uuid.UUID, state: str, reason: str | None = None) -> None:
    """End it, with the event in the same transaction. `state` is completed, needs_review or failed."""
    session.execute(END, {"id": consultation_id, "state": state, "reason": reason})
    session.execute(EVENT, {"id": consultation_id, "state": state})


def dispatch(session: Session, *, window: int) -> list[uuid.UUID]:
    """Take waiting consultations into the window's free places."""
    session.execute(DISPATCH_LOCK)
    return list(session.execute(DISPATCH, {"window": window}).scalars())


def resume(session: Session, *, most: int) -> list[uuid.UUID]:
    """Take at most `most` stalled consultations."""
    return list(session.execute(RESUME, {"most": most}).scalars())


def unsend(session: Session, ids: list[uuid.UUID]) -> None:
    """Give back what could not be sent."""
    session.execute(UNSEND, {"ids": ids})


def flag_all(session: Session) -> None:
    """Have everything resumed that the broker should have held."""
    session.execute(FLAG_ALL)


def expired(session: Session) -> list[uuid.UUID]:
    """Open consultations past their deadline, locked."""
    return list(session.execute(EXPIRED).scalars())


def any_waiting(session: Session) -> bool:
    """Whether a consultation waits for its first dispatch."""
    found: bool = session.execute(WAITING).scalar_one()
    return found
