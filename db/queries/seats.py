"""Seats: who has sat in a consultation, and a seat that goes to another model."""

from __future__ import annotations

import uuid

from sqlalchemy import text
from sqlalchemy.orm import Session

SEATED = text("""
    SELECT m.name FROM seats s JOIN model_versions m ON m.id = s.model_version_id
    WHERE s.consultation_id = :consultation_id
""")

# The old answer is void, though it may still come, be booked and be kept; the seat's next occupant owes one
# of its own. Only where nobody works on the old one; twice is once.
REPLACE = text("""
    WITH gone AS (
        UPDATE owed_answers o SET state = 'void'
        WHERE o.id = :owed_id AND o.state IN ('owed', 'excused')
          AND (o.claimed_until IS NULL OR o.claimed_until <= now())
        RETURNING o.source_id, o.consultation_id, o.seat, o.occupancy, o.prompt_id
    ), lost AS (
        UPDATE model_calls SET outcome = 'lost', ended_at = now()
        WHERE owed_answer_id = :owed_id AND outcome IS NULL AND EXISTS (SELECT FROM gone)
    ), left_ AS (
        UPDATE seats s SET left_because = :reason FROM gone g
        WHERE s.consultation_id = g.consultation_id AND s.source_id = g.source_id
          AND s.seat = g.seat AND s.occupancy = g.occupancy
    ), seated AS (
        INSERT INTO seats (consultation_id, source_id, seat, occupancy, model_version_id)
        SELECT consultation_id, source_id, seat, occupancy + 1, :model_version_id FROM gone
    )
    INSERT INTO owed_answers
        (id, source_id, consultation_id, kind, seat, occupancy, model_version_id, prompt_id)
    SELECT :new_id, source_id, consultation_id, 'generation', seat, occupancy + 1, :model_version_id,
           prompt_id
    FROM gone
    RETURNING id
""")


def seated(session: Session, consultation_id: uuid.UUID) -> set[str]:
    """Names of all models that sit or have sat in it."""
    return set(session.execute(SEATED, {"consultation_id": consultation_id}).scalars())


def replace(
    session: Session,
    owed_id: uuid.UUID,
    *,
    reason: str,
    model_version_id: uuid.UUID,
    new_id: uuid.UUID,
) -> bool:
    """Give the seat of this owed generation to another model; False if somebody works on it, or it came."""
    values = {
        "owed_id": owed_id,
        "reason": reason,
        "model_version_id": model_version_id,
        "new_id": new_id,
    }
    return session.execute(REPLACE, values).scalar_one_or_none() is not None
