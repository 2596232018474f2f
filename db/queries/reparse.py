"""Stored raw answers that could not be read, once the reader has been mended: they are read again, unpaid."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.queries import dead_letters
from shared.flow import quorum

# (a) Our reader could not bear it: the answer is held, and due now instead of in a while.
UNREAD_DUE = text("""
    WITH due AS (
        UPDATE owed_answers o SET not_before = now()
        FROM consultations c
        WHERE o.state = 'owed' AND o.raw_id IS NOT NULL
          AND (o.claimed_until IS NULL OR o.claimed_until <= now())
          AND c.id = o.consultation_id AND c.source_id = o.source_id
          AND c.state = 'open' AND o.reason = 'bug'
          AND (CAST(:submission AS uuid) IS NULL OR c.submission_id = :submission)
        RETURNING o.id, o.consultation_id, o.source_id
    ), flagged AS (
        UPDATE consultations SET flagged = true, next_resume_at = now()
        WHERE state = 'open' AND (id, source_id) IN (SELECT consultation_id, source_id FROM due)
    )
    SELECT count(*) FROM due
""")

# (b) It was not in the form asked for, and its seat was excused: those of the seats' present occupants, while
# it still matters. Reviews are fixed when they are first owed, and a generation that was not there then has
# none; a consultation that concludes has counted what there is.
MALFORMED = """
    FROM owed_answers o
    JOIN consultations c ON c.id = o.consultation_id AND c.source_id = o.source_id
    JOIN seats s ON s.consultation_id = o.consultation_id AND s.source_id = o.source_id
                AND s.seat = o.seat AND s.occupancy = o.occupancy AND s.left_because IS NULL
    WHERE o.state = 'excused' AND o.reason = 'malformed' AND o.repair_of IS NOT NULL
      AND (c.state = 'open' AND c.stage <> 'concluding' OR c.state = 'failed' AND c.discarded_at IS NULL)
      AND (o.kind = 'review' OR NOT EXISTS (
               SELECT FROM owed_answers r
               WHERE r.consultation_id = c.id AND r.source_id = c.source_id AND r.kind = 'review'))
"""
CONSULTATIONS = text(f"""
    SELECT DISTINCT c.id {MALFORMED}
      AND (CAST(:submission AS uuid) IS NULL OR c.submission_id = :submission)
    ORDER BY c.id
""")
LOCK = text("SELECT id, state, n FROM consultations WHERE id = ANY(:ids) ORDER BY id FOR UPDATE")
UNREADABLE = text(
    f"SELECT o.id, o.consultation_id, o.kind, o.repair_of AS raw_id {MALFORMED} AND c.id = ANY(:ids)"
)

# What a failed consultation has, and what it would still have to ask for.
STANDING = text("""
    SELECT o.consultation_id,
           count(*) FILTER (WHERE o.kind = 'generation' AND o.state = 'answered') AS answered,
           count(*) FILTER (WHERE o.state IN ('owed', 'void')) AS to_ask
    FROM owed_answers o
    JOIN seats s ON s.consultation_id = o.consultation_id AND s.source_id = o.source_id
                AND s.seat = o.seat AND s.occupancy = o.occupancy AND s.left_because IS NULL
    WHERE o.consultation_id = ANY(:ids)
    GROUP BY o.consultation_id
""")

# To be read, and no more: a worker whose own reader is the old one excuses it again instead of asking.
PUT_BACK = text("""
    UPDATE owed_answers
    SET state = 'owed', raw_id = repair_of, repair_of = NULL, reason = NULL, tries = :tries, crashes = 0,
        not_before = NULL, limited_since = NULL, away_since = NULL, claimed_until = NULL
    WHERE id = ANY(:ids) AND state = 'excused'
""")
FLAG = text("""
    UPDATE consultations SET flagged = true, next_resume_at = now()
    WHERE id = ANY(:ids) AND state = 'open' AND dispatched_at IS NOT NULL
""")


@dataclass(frozen=True)
class Unreadable:
    """An excused answer whose raw text is stored."""

    id: uuid.UUID
    consultation_id: uuid.UUID
    kind: str
    raw_id: uuid.UUID


@dataclass(frozen=True)
class PutBack:
    """How many answers were put back, and of how many failed consultations they are not enough."""

    answers: int
    not_enough: int


def unread_due(session: Session, submission_id: uuid.UUID | None = None) -> int:
    """Have what is held as an unread answer read now; how many."""
    found: int = session.execute(UNREAD_DUE, {"submission": submission_id}).scalar_one()
    return found


def consultations(session: Session, submission_id: uuid.UUID | None = None) -> list[uuid.UUID]:
    """Those with answers that might be readable by now."""
    return list(session.execute(CONSULTATIONS, {"submission": submission_id}).scalars())


def unreadable(session: Session, ids: Sequence[uuid.UUID]) -> list[Unreadable]:
    """These consultations' answers that might be readable by now; the consultations are locked."""
    session.execute(LOCK, {"ids": list(ids)})
    return [Unreadable(**row._mapping) for row in session.execute(UNREADABLE, {"ids": list(ids)})]


def put_back(
    session: Session, readable: Sequence[Unreadable], *, max_tries: int, urgent_s: float, routine_s: float
) -> PutBack:
    """Owe these again, to be read. Their consultations are locked by `unreadable`.

    A failed consultation is opened only if they complete its quorum and nothing of it would have to be asked
    for; else it stays as it is.
    """
    ids = sorted({each.consultation_id for each in readable})
    rows = {row.id: row for row in session.execute(LOCK, {"ids": ids})}
    standing: dict[uuid.UUID, Any] = {
        row.consultation_id: row for row in session.execute(STANDING, {"ids": ids})
    }
    opened = []
    not_enough = set()
    for id_ in ids:
        if rows[id_].state != "failed":
            continue
        generations = sum(each.kind == "generation" for each in readable if each.consultation_id == id_)
        enough = standing[id_].answered + generations >= quorum(rows[id_].n)
        if enough and not standing[id_].to_ask:
            opened.append(id_)
        else:
            not_enough.add(id_)
    back = [each for each in readable if each.consultation_id not in not_enough]
    if opened:
        dead_letters.reopen(session, opened, urgent_s=urgent_s, routine_s=routine_s)
    session.execute(PUT_BACK, {"ids": [each.id for each in back], "tries": max_tries - 1})
    session.execute(FLAG, {"ids": ids})
    touched = sorted({each.consultation_id for each in back})
    session.execute(dead_letters.AUDIT, {"ids": touched, "what": "reparse"})
    return PutBack(len(back), len(not_enough))
