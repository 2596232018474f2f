"""Submissions that are still received: stored chunk by chunk, and cleared away where nothing comes any more.

receiving ─► open        all is there: from that commit on it is dispatched
receiving ─► rejected    given up, or nothing came for `ABANDONED_S`; cleared chunk by chunk: texts erased,
                         ids free
rejected  ─► cancelled   nothing of it is left but rows without text
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

ABANDONED_S = 3600.0
"""Seconds without a new chunk after which an incomplete submission is cancelled."""

# Every chunk is stored, and every look at one is taken, under this lock: two senders of one body take turns.
LOCK = text("SELECT state FROM submissions WHERE id = :id AND source_id = :source_id FOR UPDATE")
DIGEST = text("""
    SELECT digest FROM submission_chunks
    WHERE submission_id = :id AND source_id = :source_id AND ordinal = :ordinal
""")
ADD = text("""
    INSERT INTO submission_chunks (submission_id, source_id, ordinal, digest)
    VALUES (:id, :source_id, :ordinal, :digest)
""")
COUNT = text("""
    UPDATE submissions SET records = records + :records, set_aside = set_aside + :set_aside
    WHERE id = :id AND source_id = :source_id
""")
LAST = text("""
    SELECT max(ordinal) FROM submission_chunks WHERE submission_id = :id AND source_id = :source_id
""")
SET_ASIDE = text("""
    SELECT ordinal, line, error_code, error_path, error_reason FROM records
    WHERE submission_id = :id AND source_id = :source_id AND ordinal >= :first AND ordinal < :until
      AND state = 'set_aside'
    ORDER BY ordinal
""")
COMPLETE = text("UPDATE submissions SET state = 'open' WHERE id = :id AND source_id = :source_id")

# A deadline counts from when all was there; only where that took so long that it matters.
DEADLINES = text("""
    UPDATE consultations c SET deadline_at = c.deadline_at + (now() - c.accepted_at), accepted_at = now()
    FROM submissions s
    WHERE s.id = :id AND s.source_id = :source_id AND s.received_at < now() - interval '1 minute'
      AND c.submission_id = s.id AND c.source_id = s.source_id
""")

INCOMPLETE = text("""
    SELECT s.id, src.name AS source, s.records,
           extract(epoch FROM now() - coalesce(
               (SELECT max(k.stored_at) FROM submission_chunks k
                WHERE k.submission_id = s.id AND k.source_id = s.source_id), s.received_at))::float AS idle_s
    FROM submissions s JOIN sources src ON src.id = s.source_id
    WHERE s.state = 'receiving' AND (CAST(:id AS uuid) IS NULL OR s.id = :id)
    ORDER BY s.received_at
""")

# Its key is free from now on; whoever still sends it finds that it is no longer received.
ABANDON = text("""
    UPDATE submissions s SET state = 'rejected', idempotency_digest = NULL
    WHERE s.id IN (
        SELECT r.id FROM submissions r
        WHERE r.state = 'receiving' AND r.received_at < now() - make_interval(secs => :after_s)
          AND NOT EXISTS (SELECT FROM submission_chunks k
                          WHERE k.submission_id = r.id AND k.source_id = r.source_id
                            AND k.stored_at > now() - make_interval(secs => :after_s))
        FOR UPDATE SKIP LOCKED)
""")

_TO_CLEAR = """
    SELECT s.id, s.source_id,
           (SELECT max(k.ordinal) FROM submission_chunks k
            WHERE k.submission_id = s.id AND k.source_id = s.source_id) AS ordinal
    FROM submissions s WHERE s.state = 'rejected'
"""
NEXT_TO_CLEAR = text(_TO_CLEAR + "ORDER BY s.received_at LIMIT 1 FOR UPDATE SKIP LOCKED")
TO_CLEAR = text(_TO_CLEAR + "AND s.id = :id FOR UPDATE")
GIVE_UP = text("""
    UPDATE submissions SET state = 'rejected', idempotency_digest = NULL
    WHERE id = :id AND state = 'receiving'
""")
# The last chunk's texts are erased with their keys; its ids may be sent again; nothing of it is owed.
CLEAR = (
    text("""
        WITH keys AS (
            SELECT d.key_id AS id, d.source_id
            FROM records r JOIN clinical_documents d ON d.id = r.document_id AND d.source_id = r.source_id
            WHERE r.submission_id = :id AND r.source_id = :source_id AND r.ordinal >= :ordinal
        ), blank AS (
            UPDATE clinical_documents d SET ciphertext = '', key_id = NULL
            FROM keys WHERE d.key_id = keys.id AND d.source_id = keys.source_id
        )
        DELETE FROM data_keys k USING keys WHERE k.id = keys.id AND k.source_id = keys.source_id
    """),
    text("""
        UPDATE owed_answers SET state = 'void'
        WHERE state = 'owed' AND source_id = :source_id AND consultation_id = ANY(ARRAY(
            SELECT c.id FROM records r
            JOIN consultations c ON c.record_id = r.id AND c.source_id = r.source_id
            WHERE r.submission_id = :id AND r.source_id = :source_id AND r.ordinal >= :ordinal))
    """),
    text("""
        UPDATE consultations c
        SET state = 'cancelled', stage = 'ended', reason = 'abandoned', ended_at = now(), held = NULL
        FROM records r
        WHERE r.submission_id = :id AND r.source_id = :source_id AND r.ordinal >= :ordinal
          AND c.record_id = r.id AND c.source_id = r.source_id AND c.state = 'open'
    """),
    text("""
        UPDATE records SET own_id_digest = NULL
        WHERE submission_id = :id AND source_id = :source_id AND ordinal >= :ordinal
          AND own_id_digest IS NOT NULL
    """),
    text("""
        DELETE FROM submission_chunks
        WHERE submission_id = :id AND source_id = :source_id AND ordinal = :ordinal
    """),
)
CANCEL = text("UPDATE submissions SET state = 'cancelled', finished_at = now() WHERE id = :id")


@dataclass(frozen=True)
class Incomplete:
    """A submission that is not all there: records so far, seconds since the last of them were stored."""

    id: uuid.UUID
    source: str
    records: int
    idle_s: float


@dataclass(frozen=True)
class Receiving:
    """One submission while its chunks come in; every method is called in a chunk's own transaction."""

    id: uuid.UUID
    source_id: uuid.UUID

    def lock(self, session: Session) -> str:
        """Nobody else adds to it until the transaction ends; its state."""
        state: str = session.execute(LOCK, self._key()).scalar_one()
        return state

    def digest(self, session: Session, ordinal: int) -> bytes | None:
        """Of the chunk whose first record has this ordinal; None if it is not stored."""
        found = session.execute(DIGEST, self._key(ordinal=ordinal)).scalar_one_or_none()
        return None if found is None else bytes(found)

    def add(self, session: Session, ordinal: int, digest: bytes, *, records: int, set_aside: int) -> None:
        """A chunk's rows are stored."""
        session.execute(ADD, self._key(ordinal=ordinal, digest=digest))
        session.execute(COUNT, self._key(records=records, set_aside=set_aside))

    def last(self, session: Session) -> int | None:
        """Ordinal of the last chunk's first record; None where nothing is stored."""
        found: int | None = session.execute(LAST, self._key()).scalar_one()
        return found

    def set_aside(self, session: Session, first: int, until: int) -> Sequence[Any]:
        """What was set aside among these ordinals, in their order."""
        return session.execute(SET_ASIDE, self._key(first=first, until=until)).all()

    def complete(self, session: Session) -> None:
        """All is there: from the commit on it may be dispatched."""
        session.execute(DEADLINES, self._key())
        session.execute(COMPLETE, self._key())

    def _key(self, **values: Any) -> dict[str, Any]:
        return {"id": self.id, "source_id": self.source_id, **values}


def incomplete(session: Session, submission_id: uuid.UUID | None = None) -> list[Incomplete]:
    """All that is still received (or this one), the oldest first."""
    return [Incomplete(**row._mapping) for row in session.execute(INCOMPLETE, {"id": submission_id})]


def abandon(session: Session, *, after_s: float = ABANDONED_S) -> int:
    """Give up what nothing was added to for so many seconds; how many submissions."""
    done: Any = session.execute(ABANDON, {"after_s": after_s})
    return int(done.rowcount)


def give_up(session: Session, submission_id: uuid.UUID) -> bool:
    """Receive no more of it; what is stored is to be cleared. False: of any other state nothing changes."""
    done: Any = session.execute(GIVE_UP, {"id": submission_id})
    return bool(done.rowcount)


def clear(session: Session, submission_id: uuid.UUID | None = None) -> bool:
    """Clear the last chunk of one that was given up, or cancel it where none is left; False: none is.

    Of this one, or of the one that has waited longest and that nobody else is clearing.
    """
    next_one = NEXT_TO_CLEAR if submission_id is None else TO_CLEAR.bindparams(id=submission_id)
    found = session.execute(next_one).one_or_none()
    if found is None:
        return False
    key = {"id": found.id, "source_id": found.source_id}
    if found.ordinal is None:
        session.execute(CANCEL, {"id": found.id})
        return True
    for statement in CLEAR:
        session.execute(statement, {**key, "ordinal": found.ordinal})
    return True
