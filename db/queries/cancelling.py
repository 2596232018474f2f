"""Cancelling a submission: what has not begun ends, what is in flight goes on, what has ended stays."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.queries import dispatching

BATCH = 500
"""Consultations that are cancelled in one transaction."""

# Under the dispatcher's lock: what it is about to take is either taken when this looks, or cancelled before
# it looks. In one order, so that two who cancel wait for each other and do not lock each other out.
CANCEL = text("""
    WITH waiting AS (
        SELECT id, source_id FROM consultations
        WHERE submission_id = :id AND state = 'open' AND dispatched_at IS NULL
        ORDER BY id LIMIT :most FOR UPDATE
    ), cancelled AS (
        UPDATE consultations c
        SET state = 'cancelled', stage = 'ended', reason = 'cancelled', held = NULL, flagged = false,
            ended_at = now()
        FROM waiting w WHERE c.id = w.id AND c.source_id = w.source_id
        RETURNING c.id, c.source_id, c.submission_id, c.requeues
    ), void AS (
        UPDATE owed_answers o SET state = 'void'
        FROM cancelled c
        WHERE o.consultation_id = c.id AND o.source_id = c.source_id AND o.state = 'owed'
    ), told AS (
        INSERT INTO outbox_events (source_id, submission_id, consultation_id, type, times)
        SELECT source_id, submission_id, id, 'consultation.cancelled', requeues FROM cancelled
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) FROM cancelled
""")

COUNTS = text("""
    SELECT count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
           count(*) FILTER (WHERE state = 'open') AS going_on,
           count(*) FILTER (WHERE state NOT IN ('open', 'cancelled')) AS ended
    FROM consultations WHERE submission_id = :id
""")

STATE = text("SELECT state FROM submissions WHERE id = :id")


@dataclass(frozen=True)
class Counts:
    """Consultations of a submission: never begun, in flight, and those that have ended otherwise."""

    cancelled: int
    going_on: int
    ended: int


def state(session: Session, submission_id: uuid.UUID) -> str | None:
    """Of the submission; None if there is none."""
    found: str | None = session.execute(STATE, {"id": submission_id}).scalar_one_or_none()
    return found


def cancel(session: Session, submission_id: uuid.UUID, *, most: int = BATCH) -> int:
    """Cancel so many of those that wait for their first dispatch; how many. 0: none waits any more."""
    dispatching.lock(session)
    done: int = session.execute(CANCEL, {"id": submission_id, "most": most}).scalar_one()
    return done


def counts(session: Session, submission_id: uuid.UUID) -> Counts:
    """What became of its consultations so far."""
    return Counts(**session.execute(COUNTS, {"id": submission_id}).one()._mapping)
