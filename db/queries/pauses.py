"""What an operator has paused: everything, a source, or a model. Nothing new begins for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import text
from sqlalchemy.orm import Session

Scope = Literal["all", "source", "model"]

PAUSES = text("SELECT scope, name FROM pauses")

PAUSE = text("INSERT INTO pauses (scope, name) VALUES (:scope, :name) ON CONFLICT DO NOTHING RETURNING name")

RESUME = text("DELETE FROM pauses WHERE scope = :scope AND name = :name RETURNING name")

# What waited for it is due at once, in flight or not yet. What another pause still holds waits again.
DUE = text("""
    WITH waits AS (
        SELECT c.id, c.source_id, o.id AS owed_id
        FROM consultations c
        JOIN sources s ON s.id = c.source_id
        LEFT JOIN owed_answers o
          ON o.consultation_id = c.id AND o.source_id = c.source_id AND o.state = 'owed'
        LEFT JOIN model_versions m ON m.id = o.model_version_id
        WHERE c.state = 'open'
          AND (c.held IN ('paused', 'no models') OR (c.dispatched_at IS NOT NULL AND o.reason = 'paused'))
          AND (CAST(:scope AS text) <> 'source' OR s.name = :name)
          AND (CAST(:scope AS text) <> 'model' OR m.name = :name)
    ), due AS (
        UPDATE owed_answers o SET not_before = now(), away_since = NULL
        FROM waits w
        WHERE o.id = w.owed_id AND o.source_id = w.source_id AND o.state = 'owed' AND o.reason = 'paused'
    )
    UPDATE consultations c
    SET held = CASE WHEN held <> 'paused' THEN held END,
        flagged = dispatched_at IS NOT NULL, next_resume_at = now()
    WHERE state = 'open' AND (id, source_id) IN (SELECT id, source_id FROM waits)
""")


@dataclass(frozen=True)
class Paused:
    """What is paused now; sources and models by their names."""

    everything: bool
    sources: frozenset[str]
    models: frozenset[str]


def paused(session: Session) -> Paused:
    """All pauses."""
    rows = [(row.scope, row.name) for row in session.execute(PAUSES)]
    names = {scope: frozenset(n for s, n in rows if s == scope) for scope in ("all", "source", "model")}
    return Paused(bool(names["all"]), names["source"], names["model"])


def pause(session: Session, scope: Scope, name: str = "") -> bool:
    """Pause; False if it was paused already. `name` is empty for all."""
    done = session.execute(PAUSE, {"scope": scope, "name": name})
    return done.scalar_one_or_none() is not None


def resume(session: Session, scope: Scope, name: str = "") -> bool:
    """Lift a pause, and make what waited for it due at once; False if there was no such pause."""
    which = {"scope": scope, "name": name}
    if session.execute(RESUME, which).scalar_one_or_none() is None:
        return False
    session.execute(DUE, which)
    return True
