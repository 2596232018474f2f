"""What turned out to be right, stored beside the consultation with all that follows from it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from db.ids import new_id
from db.tables import Outcome
from shared.measures import DEFINITION, right
from shared.schemas import Gold

# A consultation that is being concluded reads its outcomes under this lock: none is missed by both.
LOCK = text("SELECT id FROM consultations WHERE id = :id AND source_id = :source FOR UPDATE")

# The newest outcome of a kind; a later one of the same kind replaces it in what is learned.
NEWEST = text("""
    SELECT gold, definition FROM outcomes
    WHERE consultation_id = :id AND source_id = :source AND kind = :kind
    ORDER BY known_at DESC, id DESC LIMIT 1
""")

STARTS = text("""
    SELECT g.seat, g.occupancy, g.starts FROM generations g
    JOIN interactions i ON i.consultation_id = g.consultation_id AND i.source_id = g.source_id
         AND i.seat = g.seat AND i.occupancy = g.occupancy
    WHERE g.consultation_id = :id AND g.source_id = :source
""")

GENERATION = text("""
    UPDATE interactions SET generation_accuracy = :accuracy
    WHERE consultation_id = :id AND source_id = :source AND seat = :seat AND occupancy = :occupancy
""")

REFINED = text("SELECT refined FROM consensus WHERE consultation_id = :id AND source_id = :source")

CONSENSUS = text("""
    UPDATE consensus SET was_right = :was_right WHERE consultation_id = :id AND source_id = :source
""")

OF_RECORD = text("""
    SELECT c.id, c.source_id FROM consultations c
    JOIN records r ON r.id = c.record_id AND r.source_id = c.source_id
    WHERE c.submission_id = :submission AND r.line = :line
    ORDER BY r.ordinal
""")

OF_ID = text("SELECT id, source_id FROM consultations WHERE id = :id")

# Consultations that came to a consensus, and how many of them have an outcome, of any kind and of each.
SHARES = text("""
    SELECT c.purpose, count(*) AS concluded, count(o.any) AS with_outcome,
           count(*) FILTER (WHERE o.gold) AS gold, count(*) FILTER (WHERE o.clinician) AS clinician,
           count(*) FILTER (WHERE o.imported) AS imported
    FROM consensus s
    JOIN consultations c ON c.id = s.consultation_id AND c.source_id = s.source_id
    LEFT JOIN LATERAL (
        SELECT true AS any, bool_or(kind = 'gold') AS gold, bool_or(kind = 'clinician') AS clinician,
               bool_or(kind = 'imported') AS imported
        FROM outcomes WHERE consultation_id = c.id AND source_id = c.source_id HAVING count(*) > 0
    ) o ON true
    GROUP BY c.purpose ORDER BY c.purpose
""")


def add(session: Session, consultation_id: uuid.UUID, source_id: uuid.UUID, kind: str, gold: Gold) -> bool:
    """Store an outcome (gold in ingredient codes, definition `list-1`); False if it was there already.

    It is the newest now: the history rows' generation accuracy and the consensus' `was_right` follow it, if
    the consultation is concluded. One that still runs reads it when it concludes.
    """
    values = {"id": consultation_id, "source": source_id, "kind": kind}
    session.execute(LOCK, values)
    newest = session.execute(NEWEST, values).one_or_none()
    if newest is not None and newest.definition == DEFINITION and newest.gold == gold.model_dump():
        return False
    session.execute(
        insert(Outcome).values(
            id=new_id(),
            source_id=source_id,
            consultation_id=consultation_id,
            kind=kind,
            definition=DEFINITION,
            gold=gold.model_dump(),
        )
    )
    for row in session.execute(STARTS, values).all():
        accuracy = float(right(row.starts, gold))
        seat = {"seat": row.seat, "occupancy": row.occupancy}
        session.execute(GENERATION, {**values, **seat, "accuracy": accuracy})
    refined = session.execute(REFINED, values).scalar_one_or_none()
    if refined is not None:
        session.execute(CONSENSUS, {**values, "was_right": right(refined, gold)})
    return True


def of_record(session: Session, submission_id: uuid.UUID, line: int) -> Sequence[tuple[uuid.UUID, uuid.UUID]]:
    """(consultation, source) of what was accepted from a line of a submission.

    Several where the submission was made of several files; none where there is no such record.
    """
    found = session.execute(OF_RECORD, {"submission": submission_id, "line": line})
    return [(row.id, row.source_id) for row in found]


def of_id(session: Session, consultation_id: uuid.UUID) -> Sequence[tuple[uuid.UUID, uuid.UUID]]:
    """(consultation, source), or nothing."""
    return [(row.id, row.source_id) for row in session.execute(OF_ID, {"id": consultation_id})]


def shares(session: Session) -> Sequence[dict[str, Any]]:
    """By purpose: concluded consultations, those with an outcome, and with one of each kind."""
    return [dict(row._mapping) for row in session.execute(SHARES)]
