"""Texts destroyed for good: of a record on request, and of what is past its retention.

    erased   the key destroyed, whatever is open cancelled, the source's own id free: a tombstone of ids and
             numbers is left
    purged   the key destroyed, once every text of the record has expired and its consultation has ended

The ciphertext goes with its key, so that a copy of the key that lies elsewhere opens nothing here.
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.queries import audit, consultations, owed_answers

# Two who erase the same take turns.
LOCK = text("""
    SELECT r.id, r.source_id, r.erased_at, d.key_id, c.id AS consultation
    FROM records r
    LEFT JOIN clinical_documents d ON d.id = r.document_id AND d.source_id = r.source_id
    LEFT JOIN consultations c ON c.record_id = r.id AND c.source_id = r.source_id
    WHERE r.id = :id
    FOR UPDATE OF r
""")
# What is stored at this moment keeps its ciphertext at most: the foreign key forgets its key too.
BLANK = text("""
    UPDATE clinical_documents SET ciphertext = '', key_id = NULL
    WHERE key_id = :key_id AND source_id = :source_id
""")
DESTROY = text("DELETE FROM data_keys WHERE id = :key_id AND source_id = :source_id")
MARK = text("""
    UPDATE records SET erased_at = now(), own_id_digest = NULL WHERE id = :id AND source_id = :source_id
""")

# `text`: whether what the source sent can still be read.
STANDING = text("""
    SELECT r.id AS record, r.submission_id AS submission, r.line, r.state, r.error_code, r.erased_at,
           CASE WHEN r.erased_at IS NOT NULL THEN 'erased' WHEN d.key_id IS NULL THEN 'purged'
                ELSE 'kept' END AS text,
           c.id AS consultation, c.state AS consultation_state, c.reason
    FROM records r
    LEFT JOIN clinical_documents d ON d.id = r.document_id AND d.source_id = r.source_id
    LEFT JOIN consultations c ON c.record_id = r.id AND c.source_id = r.source_id
    WHERE r.id = :id
""")

# By the index of what expires: a record's first text leads to it, and its last one decides. What somebody
# works on at this moment is left for the next time.
EXPIRED = text("""
    SELECT k.id AS key_id, k.source_id
    FROM clinical_documents v
    JOIN data_keys k ON k.id = v.key_id AND k.source_id = v.source_id
    WHERE v.key_id IS NOT NULL AND v.kind IN ('vignette', 'set_aside') AND v.expires_at < now()
      AND NOT EXISTS (SELECT FROM clinical_documents d
                      WHERE d.key_id = k.id AND d.source_id = k.source_id
                        AND (d.expires_at IS NULL OR d.expires_at >= now()))
      AND NOT EXISTS (SELECT FROM consultations c
                      WHERE c.id = v.consultation_id AND c.source_id = v.source_id AND c.state = 'open')
    ORDER BY v.expires_at LIMIT :most
    FOR UPDATE OF k SKIP LOCKED
""")


def standing(session: Session, record_id: uuid.UUID) -> dict[str, Any] | None:
    """A record without any text: its ids, states and `erased_at`; None if there is none."""
    row = session.execute(STANDING, {"id": record_id}).one_or_none()
    return None if row is None else dict(row._mapping)


def erase(session: Session, record_id: uuid.UUID, *, who: str) -> dict[str, Any] | None:
    """Erase a record, once, with its line in the audit; what is left of it, or None if there is none."""
    row = session.execute(LOCK, {"id": record_id}).one_or_none()
    if row is None:
        return None
    if row.erased_at is None:
        # the key first: what is being stored under it is waited for, and nothing is stored after it
        _destroy(session, row.key_id, row.source_id)
        if row.consultation is not None:
            found = consultations.lock(session, row.consultation)
            if found is not None and found.state == "open":
                consultations.end(session, row.consultation, "cancelled", "erased")
            owed_answers.void_rest(session, row.consultation)
        session.execute(MARK, {"id": record_id, "source_id": row.source_id})
        audit.record(session, who, "erase", str(record_id), row.source_id)
    return standing(session, record_id)


def purge(session: Session, *, most: int) -> int:
    """Destroy the texts of at most `most` records that are past their retention; of how many it were."""
    rows = session.execute(EXPIRED, {"most": most}).all()
    for row in rows:
        _destroy(session, row.key_id, row.source_id)
    return len(rows)


def _destroy(session: Session, key_id: uuid.UUID | None, source_id: uuid.UUID) -> None:
    for statement in (BLANK, DESTROY):
        session.execute(statement, {"key_id": key_id, "source_id": source_id})
