"""What turned out to be right, stored beside the consultation with all that follows from it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
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
    SELECT gold, definition, decision FROM outcomes
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

# A consultation with what was proposed; `refined` and `stops` are NULL where nothing was concluded.
PROPOSED = text("""
    SELECT c.source_id, k.refined, k.stops
    FROM consultations c
    LEFT JOIN consensus k ON k.consultation_id = c.id AND k.source_id = c.source_id
    WHERE c.id = :id
""")

# Consultations that came to a consensus, how many of them have an outcome, of any kind and of each, and what
# the newest decisions were; then how those with an outcome differ from the rest: means of the best grade, of
# the agreement and of the number of drugs proposed.
SHARES = text("""
    SELECT c.purpose, count(*) AS concluded, count(o.any) AS with_outcome,
           count(*) FILTER (WHERE o.gold) AS gold, count(*) FILTER (WHERE o.clinician) AS clinician,
           count(*) FILTER (WHERE o.imported) AS imported,
           count(*) FILTER (WHERE o.decision = 'accepted') AS accepted,
           count(*) FILTER (WHERE o.decision = 'edited') AS edited,
           count(*) FILTER (WHERE o.decision = 'rejected') AS rejected,
           avg(k.grade) FILTER (WHERE o.any) AS grade_with,
           avg(k.grade) FILTER (WHERE o.any IS NULL) AS grade_without,
           avg(k.agreement) FILTER (WHERE o.any) AS agreement_with,
           avg(k.agreement) FILTER (WHERE o.any IS NULL) AS agreement_without,
           avg(cardinality(k.refined)) FILTER (WHERE o.any)::float8 AS drugs_with,
           avg(cardinality(k.refined)) FILTER (WHERE o.any IS NULL)::float8 AS drugs_without
    FROM consensus k
    JOIN consultations c ON c.id = k.consultation_id AND c.source_id = k.source_id
    LEFT JOIN LATERAL (
        SELECT true AS any, bool_or(kind = 'gold') AS gold, bool_or(kind = 'clinician') AS clinician,
               bool_or(kind = 'imported') AS imported,
               (array_agg(decision ORDER BY known_at DESC, id DESC)
                FILTER (WHERE kind = 'clinician'))[1] AS decision
        FROM outcomes WHERE consultation_id = c.id AND source_id = c.source_id HAVING count(*) > 0
    ) o ON true
    GROUP BY c.purpose ORDER BY c.purpose
""")


@dataclass(frozen=True)
class Proposed:
    """What a consultation proposed, in ingredient codes; None where it is not concluded."""

    source_id: uuid.UUID
    refined: Sequence[str] | None
    stops: Sequence[str] | None


def proposed(session: Session, consultation_id: uuid.UUID) -> Proposed | None:
    """What was proposed; None if there is no such consultation."""
    row = session.execute(PROPOSED, {"id": consultation_id}).one_or_none()
    return None if row is None else Proposed(**row._mapping)


def add(
    session: Session,
    consultation_id: uuid.UUID,
    source_id: uuid.UUID,
    kind: str,
    gold: Gold,
    decision: str | None = None,
) -> bool:
    """Store an outcome (gold in ingredient codes, definition `list-1`); False if it was there already.

    `decision`: accepted, edited or rejected, where a clinician's on what was proposed is known.
    It is the newest now: the history rows' generation accuracy and the consensus' `was_right` follow it, if
    the consultation is concluded. One that still runs reads it when it concludes.
    """
    values = {"id": consultation_id, "source": source_id, "kind": kind}
    session.execute(LOCK, values)
    newest = session.execute(NEWEST, values).one_or_none()
    now = (DEFINITION, gold.model_dump(), decision)
    if newest is not None and (newest.definition, newest.gold, newest.decision) == now:
        return False
    session.execute(
        insert(Outcome).values(
            id=new_id(),
            source_id=source_id,
            consultation_id=consultation_id,
            kind=kind,
            definition=DEFINITION,
            gold=gold.model_dump(),
            decision=decision,
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
    """By purpose: concluded consultations, those with an outcome, and how these differ from the rest.

    Counts of each kind of outcome and of each decision; `share` in [0, 1]; means of grade and agreement (in
    [0, 1]) and of the number of drugs proposed, `…_with` and `…_without` an outcome, None of none.
    """
    rows = [dict(row._mapping) for row in session.execute(SHARES)]
    return [{**row, "share": row["with_outcome"] / row["concluded"]} for row in rows]
