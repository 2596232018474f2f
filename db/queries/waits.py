"""Owed answers that wait in the database unclaimed: no place at their model, the model away, or paused."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

# Not claimed at all: there is no place at its model, or the model is away, or somebody paused it.
PUT_OFF = text("""
    UPDATE owed_answers
    SET not_before = now() + make_interval(secs => :wait_s), reason = :reason,
        away_since = CASE WHEN :away THEN coalesce(away_since, now()) END
    WHERE id = :id AND state = 'owed' AND (claimed_until IS NULL OR claimed_until <= now())
""")

# A model is back: what waited for it in flight goes on now.
WAKE = text("""
    WITH woken AS (
        UPDATE owed_answers o SET not_before = now()
        FROM consultations c, model_versions m
        WHERE c.id = o.consultation_id AND c.source_id = o.source_id
          AND c.state = 'open' AND c.dispatched_at IS NOT NULL
          AND m.id = o.model_version_id AND m.name = :model
          AND o.state = 'owed' AND o.away_since IS NOT NULL AND o.not_before > now()
        RETURNING o.consultation_id, o.source_id
    )
    UPDATE consultations SET flagged = true, next_resume_at = now()
    WHERE state = 'open' AND (id, source_id) IN (SELECT consultation_id, source_id FROM woken)
""")

# Its model stays away, nobody takes its place, and the others are enough.
EXCUSE_AWAY = text("""
    UPDATE owed_answers SET state = 'excused', reason = 'away'
    WHERE id = :id AND state = 'owed' AND (claimed_until IS NULL OR claimed_until <= now())
""")


def put_off(session: Session, owed_id: uuid.UUID, *, reason: str, wait_s: float, away: bool = False) -> None:
    """Have it wait in the database, unclaimed; nothing is counted."""
    session.execute(PUT_OFF, {"id": owed_id, "reason": reason, "wait_s": wait_s, "away": away})


def wake(session: Session, model: str) -> None:
    """What waits for this model to come back is due now."""
    session.execute(WAKE, {"model": model})


def excuse_away(session: Session, owed_id: uuid.UUID) -> bool:
    """Excuse a row whose model stays away; False if somebody works on it, or it came."""
    done: Any = session.execute(EXCUSE_AWAY, {"id": owed_id})
    return int(done.rowcount) > 0
