"""What must hold in the stored data, each as a count of what breaks it: 0 expected.

All look at the submissions received since a moment and at all that are still open; read in one snapshot
(REPEATABLE READ) the counts are of one moment, whatever goes on meanwhile.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

SNAPSHOT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

SUBMISSIONS = text("""
    SELECT id FROM submissions
    WHERE state NOT IN ('receiving', 'rejected')
      AND (state = 'open' OR CAST(:days AS float) IS NULL
           OR received_at > now() - make_interval(secs => CAST(:days AS float) * 86400))
    ORDER BY received_at
""")

# Every record is accepted or set aside, and every accepted one has its one consultation.
ADD_UP = text("""
    SELECT count(*) FROM submissions s
    WHERE s.id = ANY(:ids)
      AND (s.records, s.records - s.set_aside, s.records - s.set_aside) <> (
          SELECT count(*), count(*) FILTER (WHERE r.state = 'accepted'), count(c.id)
          FROM records r LEFT JOIN consultations c ON c.record_id = r.id AND c.source_id = r.source_id
          WHERE r.submission_id = s.id AND r.source_id = s.source_id)
""")

CONSENSUS = text("""
    SELECT count(*) FROM consultations c
    WHERE c.submission_id = ANY(:ids)
      AND (c.state IN ('completed', 'needs_review')) <>
          EXISTS (SELECT FROM consensus k WHERE k.consultation_id = c.id AND k.source_id = c.source_id)
""")

# The end of its last requeue; whoever cancelled it was told by that.
ONE_END_EVENT = text("""
    SELECT count(*) FROM consultations c
    WHERE c.submission_id = ANY(:ids) AND c.state <> 'cancelled'
      AND (SELECT count(*) FROM outbox_events e
           WHERE e.submission_id = c.submission_id AND e.consultation_id = c.id AND e.times = c.requeues)
          <> (c.state <> 'open')::int
""")

NOTHING_OWED_AFTER_THE_END = text("""
    SELECT count(*) FROM owed_answers o
    JOIN consultations c ON c.id = o.consultation_id AND c.source_id = o.source_id
    WHERE o.state = 'owed' AND c.state <> 'open' AND c.submission_id = ANY(:ids)
""")

ANSWERED_HAS_ITS_ANSWER = text("""
    SELECT count(*) FROM consultations c
    JOIN owed_answers o ON o.consultation_id = c.id AND o.source_id = c.source_id
    WHERE c.submission_id = ANY(:ids) AND o.state = 'answered'
      AND NOT EXISTS (SELECT FROM generations g WHERE g.owed_answer_id = o.id AND g.id = o.answer_id)
      AND NOT EXISTS (SELECT FROM reviews r WHERE r.owed_answer_id = o.id AND r.id = o.answer_id)
""")

FINISHED_HAS_NOTHING_OPEN = text("""
    SELECT count(*) FROM submissions s
    WHERE s.id = ANY(:ids) AND s.state = 'finished'
      AND EXISTS (SELECT FROM consultations c WHERE c.submission_id = s.id AND c.state = 'open')
""")

SPENT_IS_THE_SUM = text("""
    SELECT count(*) FROM consultations c
    WHERE c.submission_id = ANY(:ids)
      AND c.spent_usd <> (SELECT coalesce(sum(m.cost_usd), 0) FROM owed_answers o
                          JOIN model_calls m ON m.owed_answer_id = o.id AND m.source_id = o.source_id
                          WHERE o.consultation_id = c.id AND o.source_id = c.source_id)
""")

# An open call is the last claim's, live or run out and not taken over yet. One whose answer was given up
# meanwhile (void, excused) may still come for as long as a lease lasts.
OPEN_CALL_HAS_ITS_CLAIM = text("""
    SELECT count(*) FROM model_calls m
    JOIN owed_answers o ON o.id = m.owed_answer_id AND o.source_id = m.source_id
    WHERE m.outcome IS NULL
      AND NOT (o.state = 'owed' AND o.claims = m.claim AND o.claimed_until IS NOT NULL)
      AND m.started_at < now() - make_interval(secs => :lease_s)
""")

INVARIANTS: Mapping[str, Any] = {
    "accepted records are consultations": ADD_UP,
    "a consensus where concluded, and only there": CONSENSUS,
    "one event for each end": ONE_END_EVENT,
    "nothing is owed after the end": NOTHING_OWED_AFTER_THE_END,
    "what is answered has its answer": ANSWERED_HAS_ITS_ANSWER,
    "nothing is open in what is finished": FINISHED_HAS_NOTHING_OPEN,
    "spent is the sum of the known costs": SPENT_IS_THE_SUM,
}
"""By name, those that take the submissions' `ids` alone."""

# Leases: who works on what, and who does no more.
LEASES = text("""
    SELECT count(*) FILTER (WHERE o.claimed_until > now()) AS live,
           count(*) FILTER (WHERE o.claimed_until <= now()) AS run_out,
           coalesce(max(extract(epoch FROM now() - o.claimed_until))
                    FILTER (WHERE o.claimed_until <= now()), 0)::float AS run_out_s,
           count(*) FILTER (WHERE o.claimed_until > now() AND NOT EXISTS (
               SELECT FROM workers w
               WHERE w.stopped_at IS NULL AND o.holder = w.name || ' ' || w.boot_id)) AS orphaned
    FROM owed_answers o WHERE o.state = 'owed' AND o.claimed_until IS NOT NULL
""")

CLOCK = text("SELECT extract(epoch FROM clock_timestamp())::float")
VERSION = text("SELECT current_setting('server_version_num')::int, current_setting('server_version')")


def snapshot(session: Session) -> None:
    """From now on this transaction reads one moment, and writes nothing. Its first statement."""
    session.execute(SNAPSHOT)


def submissions(session: Session, days: float | None) -> Sequence[uuid.UUID]:
    """Submissions received within so many days (None: ever), and all that are open; oldest first."""
    return list(session.execute(SUBMISSIONS, {"days": days}).scalars())


def broken(session: Session, name: str, ids: Sequence[uuid.UUID]) -> int:
    """How many break the invariant of that name (a key of `INVARIANTS`) in these submissions."""
    found: int = session.execute(INVARIANTS[name], {"ids": list(ids)}).scalar_one()
    return found


def calls_without_claim(session: Session, *, lease_s: float) -> int:
    """Open calls older than the longest lease that belong to no claim."""
    found: int = session.execute(OPEN_CALL_HAS_ITS_CLAIM, {"lease_s": lease_s}).scalar_one()
    return found


def leases(session: Session) -> dict[str, Any]:
    """Counts: leases `live`, of those `orphaned` (no such holder); `run_out`, the oldest for `run_out_s`."""
    return dict(session.execute(LEASES).one()._mapping)


def clock_s(session: Session) -> float:
    """The database's clock, in seconds since 1970."""
    found: float = session.execute(CLOCK).scalar_one()
    return found


def version(session: Session) -> tuple[int, str]:
    """The server's version as a number (160004) and in words."""
    number, words = session.execute(VERSION).one()
    return number, words
