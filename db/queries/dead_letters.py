"""Dead letters: consultations that failed, until an operator puts them back or discards them.

failed ──requeue──► open, waiting: what was answered stays, what was not is owed again by the same seats
       ──discard──► failed, marked, and no longer listed
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

# By the partial index of dead letters: small whatever the history. `errors`: each seat's, in their order.
LISTED = """
    FROM consultations c JOIN sources src ON src.id = c.source_id
    WHERE c.state = 'failed' AND c.discarded_at IS NULL
      AND (CAST(:ids AS uuid[]) IS NULL OR c.id = ANY(:ids))
      AND (CAST(:submission AS uuid) IS NULL OR c.submission_id = :submission)
      AND (CAST(:reason AS text) IS NULL OR c.reason = :reason)
      AND (CAST(:older_than AS interval) IS NULL OR c.ended_at <= now() - :older_than)
      AND (CAST(:newer_than AS interval) IS NULL OR c.ended_at > now() - :newer_than)
"""
LIST = text(f"""
    SELECT c.id AS consultation, c.submission_id AS submission, src.name AS source, c.reason,
           c.ended_at AS failed_at,
           (SELECT array_agg(CASE o.state WHEN 'answered' THEN o.state ELSE coalesce(o.reason, o.state) END
                             ORDER BY o.seat)
            FROM owed_answers o
            JOIN seats s ON s.consultation_id = o.consultation_id AND s.source_id = o.source_id
                        AND s.seat = o.seat AND s.occupancy = o.occupancy AND s.left_because IS NULL
            WHERE o.consultation_id = c.id AND o.source_id = c.source_id AND o.kind = 'generation') AS errors,
           c.requeues, c.spent_usd AS cost_usd
    {LISTED}
    ORDER BY c.ended_at DESC, c.id LIMIT :most
""")
COUNT = text(f"SELECT count(*) {LISTED}")
LOCK = text(f"SELECT c.id {LISTED} ORDER BY c.id FOR UPDATE OF c")

REASONS = text("""
    SELECT reason, count(*) AS consultations FROM consultations
    WHERE state = 'failed' AND discarded_at IS NULL GROUP BY reason ORDER BY reason
""")

ONE = text("""
    SELECT c.id AS consultation, c.submission_id AS submission, src.name AS source, c.state, c.reason,
           c.kind, c.purpose, c.priority, c.n, c.accepted_at, c.deadline_at, c.ended_at, c.discarded_at,
           c.resumes, c.fruitless, c.requeues, c.expected_usd, c.spent_usd,
           d.key_id IS NULL AS erased
    FROM consultations c
    JOIN sources src ON src.id = c.source_id
    JOIN clinical_documents d ON d.id = c.document_id AND d.source_id = c.source_id
    WHERE c.id = :id
""")

# All that was ever owed, with whose it was: every occupancy, every review.
OWED = text("""
    SELECT o.kind, o.seat, o.occupancy, g.seat AS about_seat, m.name AS model, o.state, o.reason, o.claims,
           o.tries, o.crashes, s.left_because
    FROM owed_answers o
    JOIN model_versions m ON m.id = o.model_version_id
    JOIN seats s ON s.consultation_id = o.consultation_id AND s.source_id = o.source_id
                AND s.seat = o.seat AND s.occupancy = o.occupancy
    LEFT JOIN generations g ON g.id = o.about AND g.source_id = o.source_id
    WHERE o.consultation_id = :id
    ORDER BY o.kind, o.seat, o.occupancy, g.seat
""")

# Of these, whose text was erased (nobody could be asked), or whose submission is closed for good.
LEFT = text("""
    SELECT c.id FROM consultations c
    JOIN submissions s ON s.id = c.submission_id AND s.source_id = c.source_id
    JOIN clinical_documents d ON d.id = c.document_id AND d.source_id = c.source_id
    WHERE c.id = ANY(:ids) AND (d.key_id IS NULL OR s.state NOT IN ('open', 'finished'))
""")

# Back to the dispatcher. A deadline is counted anew: as long as it was when accepted; from the second time
# on, what was accepted can no longer be told from what was added, so the settings' length is taken.
REOPEN = text("""
    UPDATE consultations
    SET state = 'open', stage = 'waiting', reason = NULL, held = NULL, flagged = false, ended_at = NULL,
        dispatched_at = NULL, sent_at = NULL, next_resume_at = now(), fruitless = 0, resumes = 0,
        requeues = requeues + 1,
        deadline_at = now() + CASE
            WHEN requeues = 0 THEN deadline_at - accepted_at
            WHEN deadline_at IS NULL THEN NULL
            ELSE make_interval(secs => CASE priority WHEN 0 THEN :urgent_s ELSE :routine_s END)
        END
    WHERE id = ANY(:ids) AND state = 'failed'
""")

# Locked first, as the one that finishes a submission does: of the two, one sees what the other did.
LOCK_SUBMISSIONS = text("""
    SELECT s.id FROM submissions s
    WHERE (s.id, s.source_id) IN (SELECT submission_id, source_id FROM consultations WHERE id = ANY(:ids))
    ORDER BY s.id FOR UPDATE
""")
REOPEN_SUBMISSIONS = text("""
    UPDATE submissions s
    SET state = 'open', finished_at = NULL, reopened = reopened + 1
    WHERE s.state = 'finished'
      AND (s.id, s.source_id) IN (SELECT submission_id, source_id FROM consultations WHERE id = ANY(:ids))
""")

# What the seats' present occupants did not answer is owed again, except generations of a consultation whose
# reviews are fixed: it went on without them. Rows of replaced occupants, and reviews of what they wrote, stay
# void. A stored answer, unread or unreadable so far, is read again before anybody is asked. A lease that
# still runs keeps its call: nobody else claims it meanwhile.
OWE_AGAIN = text("""
    UPDATE owed_answers o
    SET state = 'owed', reason = NULL, tries = 0, crashes = 0, not_before = NULL, limited_since = NULL,
        away_since = NULL, claimed_until = CASE WHEN o.claimed_until > now() THEN o.claimed_until END,
        raw_id = coalesce(o.raw_id, o.repair_of), repair_of = NULL
    FROM seats s
    WHERE o.consultation_id = ANY(:ids) AND o.state IN ('void', 'excused')
      AND s.consultation_id = o.consultation_id AND s.source_id = o.source_id
      AND s.seat = o.seat AND s.occupancy = o.occupancy AND s.left_because IS NULL
      AND CASE o.kind
          WHEN 'generation' THEN NOT EXISTS (
              SELECT FROM owed_answers r
              WHERE r.consultation_id = o.consultation_id AND r.source_id = o.source_id AND r.kind = 'review')
          ELSE EXISTS (
              SELECT FROM generations g
              JOIN seats a ON a.consultation_id = g.consultation_id AND a.source_id = g.source_id
                          AND a.seat = g.seat AND a.occupancy = g.occupancy AND a.left_because IS NULL
              WHERE g.id = o.about AND g.source_id = o.source_id)
          END
""")

DISCARD = text("UPDATE consultations SET discarded_at = now() WHERE id = ANY(:ids) AND state = 'failed'")

AUDIT = text("""
    INSERT INTO audit (source_id, who, what, which)
    SELECT source_id, 'cli', :what, CAST(id AS text) FROM consultations WHERE id = ANY(:ids)
""")


@dataclass(frozen=True)
class Which:
    """Which dead letters; None: whatever it is. Ages count from the failure."""

    ids: tuple[uuid.UUID, ...] = ()
    submission: uuid.UUID | None = None
    reason: str | None = None
    older_than: timedelta | None = None
    newer_than: timedelta | None = None

    @property
    def anything(self) -> bool:
        """Whether nothing was asked for in particular."""
        return self == Which()


@dataclass(frozen=True)
class Requeued:
    """What a requeue did."""

    ids: tuple[uuid.UUID, ...]
    left: tuple[uuid.UUID, ...]  # text erased, or submission closed: these stay as they are


def find(session: Session, which: Which, *, most: int | None = None) -> Sequence[dict[str, Any]]:
    """Dead letters, the newest first."""
    rows = session.execute(LIST, {**_values(which), "most": most})
    return [dict(row._mapping) for row in rows]


def count(session: Session, which: Which) -> int:
    """How many there are."""
    found: int = session.execute(COUNT, _values(which)).scalar_one()
    return found


def reasons(session: Session) -> dict[str, int]:
    """All dead letters by reason."""
    return {row.reason: row.consultations for row in session.execute(REASONS)}


def one(session: Session, consultation_id: uuid.UUID) -> dict[str, Any] | None:
    """One consultation, dead letter or not; None if there is no such row."""
    row = session.execute(ONE, {"id": consultation_id}).one_or_none()
    return dict(row._mapping) if row else None


def owed(session: Session, consultation_id: uuid.UUID) -> Sequence[dict[str, Any]]:
    """All that it ever owed: by kind, seat and occupancy."""
    return [dict(row._mapping) for row in session.execute(OWED, {"id": consultation_id})]


def requeue(session: Session, which: Which, *, urgent_s: float, routine_s: float) -> Requeued:
    """Put them back: what was answered stays, and what was not is owed again.

    `urgent_s`, `routine_s`: lengths of deadlines in seconds, for those that are requeued for another time.
    """
    found = _lock(session, which)
    left = set(session.execute(LEFT, {"ids": found}).scalars())
    ids = [id_ for id_ in found if id_ not in left]
    if ids:
        reopen(session, ids, urgent_s=urgent_s, routine_s=routine_s)
        session.execute(OWE_AGAIN, {"ids": ids})
        session.execute(AUDIT, {"ids": ids, "what": "failed.requeue"})
    return Requeued(tuple(ids), tuple(sorted(left)))


def reopen(session: Session, ids: Collection[uuid.UUID], *, urgent_s: float, routine_s: float) -> None:
    """Open failed consultations that the caller has locked, and their submissions; what they owe stays."""
    session.execute(LOCK_SUBMISSIONS, {"ids": list(ids)})
    session.execute(REOPEN, {"ids": list(ids), "urgent_s": urgent_s, "routine_s": routine_s})
    session.execute(REOPEN_SUBMISSIONS, {"ids": list(ids)})


def discard(session: Session, which: Which) -> int:
    """Mark them: they stay failed and are no longer listed; how many."""
    ids = _lock(session, which)
    session.execute(DISCARD, {"ids": ids})
    session.execute(AUDIT, {"ids": ids, "what": "failed.discard"})
    return len(ids)


def _lock(session: Session, which: Which) -> list[uuid.UUID]:
    return list(session.execute(LOCK, _values(which)).scalars())


def _values(which: Which) -> dict[str, Any]:
    return {**vars(which), "ids": list(which.ids) or None}
