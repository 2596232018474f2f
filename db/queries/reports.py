"""What people ask about stored work: counts, results in the order of the input, one consultation in full."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

MOST = 20
"""Without an id, the newest submissions that are told of."""

# Picked first, and counted each by itself (LATERAL): joined at once, PostgreSQL takes the newest for as large
# as the average, and reads all that is stored.
_PICKED = """
    WITH picked AS (
        SELECT * FROM submissions WHERE CAST(:id AS uuid) IS NULL OR id = :id
        ORDER BY received_at DESC LIMIT :most
    )
"""

_COUNTED = """
    SELECT s.id, src.name AS source, s.state, s.purpose, s.priority, s.strategy, s.n, s.records, s.set_aside,
           s.received_at, s.finished_at, counted.*
    FROM picked s
    JOIN sources src ON src.id = s.source_id
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE c.state = 'completed') AS completed,
               count(*) FILTER (WHERE c.state = 'needs_review') AS needs_review,
               count(*) FILTER (WHERE c.state = 'failed') AS failed,
               count(*) FILTER (WHERE c.state = 'cancelled') AS cancelled,
               count(*) FILTER (WHERE c.state = 'open') AS open
        FROM consultations c WHERE c.submission_id = s.id AND c.source_id = s.source_id
    ) counted
    ORDER BY s.received_at DESC, s.id DESC
"""
SUBMISSIONS = text(_PICKED + _COUNTED)

# The next ones older than `after`; none where that is not there.
LISTED = text(f"""
    WITH picked AS (
        SELECT * FROM submissions
        WHERE (CAST(:state AS text) IS NULL OR state = :state)
          AND (CAST(:after AS uuid) IS NULL
               OR (received_at, id) < (SELECT received_at, id FROM submissions WHERE id = :after))
        ORDER BY received_at DESC, id DESC LIMIT :most
    )
    {_COUNTED}
""")

# Where not even the sweep runs, nobody could store that there are no workers; and what waits for a source or
# everything to be resumed is not touched at all.
STAGES = text("""
    SELECT c.stage,
           coalesce(c.held,
                    CASE WHEN c.dispatched_at IS NULL AND EXISTS (
                        SELECT FROM pauses p JOIN sources s ON s.id = c.source_id
                        WHERE p.scope = 'all' OR p.scope = 'source' AND p.name = s.name) THEN 'paused' END,
                    CASE WHEN b.state <> 'open' THEN b.state END,
                    w.held) AS held,
           count(*) AS consultations, min(c.accepted_at) AS oldest
    FROM consultations c
    JOIN submissions b ON b.id = c.submission_id AND b.source_id = c.source_id
    LEFT JOIN (SELECT 'no workers' AS held FROM heartbeats
               WHERE queue = 'conclude' AND received_at < now() - make_interval(secs => :stale_s)) w ON true
    WHERE c.state = 'open' AND (CAST(:id AS uuid) IS NULL OR c.submission_id = :id)
    GROUP BY 1, 2 ORDER BY 1, 2
""")

FAILURES = text(f"""{_PICKED}
    SELECT counted.state, counted.reason, sum(counted.n)::bigint AS consultations
    FROM picked s
    CROSS JOIN LATERAL (
        SELECT c.state, c.reason, count(*) AS n FROM consultations c
        WHERE c.submission_id = s.id AND c.source_id = s.source_id AND c.state IN ('failed', 'needs_review')
        GROUP BY c.state, c.reason
    ) counted
    GROUP BY counted.state, counted.reason ORDER BY counted.state, counted.reason
""")

# One row per record of the input, in its order: the page after one ordinal. The source is named so that its
# unique index leads straight there.
RESULTS = text("""
    SELECT r.id, r.line, r.ordinal, r.state AS record, r.document_id, r.error_code, r.error_path,
           r.error_reason, r.erased_at,
           c.id AS consultation, c.state, c.reason, c.kind, c.accepted_at, c.ended_at,
           k.refined, k.majority, k.highest_graded, k.stops, k.minority, k.grade, k.variance, k.agreement,
           k.confidence, k.rule, k.form, k.method, k.findings, c.n AS seats,
           (SELECT count(*) FROM generations g WHERE g.consultation_id = c.id) AS answered,
           (SELECT count(*) FROM seats s WHERE s.consultation_id = c.id AND s.occupancy > 1) AS substituted,
           (SELECT bool_or(m.simulated) FROM seats s JOIN model_versions m ON m.id = s.model_version_id
            WHERE s.consultation_id = c.id) AS simulated,
           (SELECT o.gold FROM outcomes o WHERE o.consultation_id = c.id AND o.kind = 'gold'
            ORDER BY o.known_at DESC LIMIT 1) AS gold
    FROM records r
    LEFT JOIN consultations c ON c.record_id = r.id AND c.source_id = r.source_id
    LEFT JOIN consensus k ON k.consultation_id = c.id AND k.source_id = c.source_id
    WHERE r.submission_id = :id AND r.source_id = (SELECT source_id FROM submissions WHERE id = :id)
      AND r.ordinal > :after AND (NOT CAST(:set_aside AS boolean) OR r.state = 'set_aside')
    ORDER BY r.ordinal LIMIT :most
""")

# Calls with what makes them worth a look. `dup`: made although a readable answer was stored; `overlap`: while
# another call for the same owed answer was open.
CALL_COUNTS = text(f"""{_PICKED}
    SELECT count(*) FILTER (WHERE x.outcome IS DISTINCT FROM 'unsent') AS calls,
           count(*) FILTER (WHERE x.outcome = 'lost') AS lost,
           count(*) FILTER (WHERE x.outcome = 'given_up') AS given_up,
           count(*) FILTER (WHERE x.outcome = 'failed') AS failed,
           count(*) FILTER (WHERE x.dup) AS dup,
           count(*) FILTER (WHERE x.overlap) AS overlap,
           sum(x.prompt_tokens) AS prompt_tokens, sum(x.completion_tokens) AS completion_tokens,
           sum(x.cost_usd) AS cost_usd,
           count(*) FILTER (WHERE x.cost_usd IS NULL AND x.outcome IS DISTINCT FROM 'unsent') AS unpriced
    FROM picked s CROSS JOIN LATERAL (
        SELECT m.*,
               EXISTS (SELECT FROM model_calls e
                       WHERE e.owed_answer_id = m.owed_answer_id AND e.claim < m.claim
                         AND e.outcome = 'answered' AND e.error_kind IS NULL) AS dup,
               EXISTS (SELECT FROM model_calls e
                       WHERE e.owed_answer_id = m.owed_answer_id AND e.claim < m.claim
                         AND e.outcome IN ('answered', 'late', 'failed')
                         AND e.ended_at > m.started_at) AS overlap
        FROM consultations c CROSS JOIN LATERAL (
            SELECT m.* FROM owed_answers o
            JOIN model_calls m ON m.owed_answer_id = o.id AND m.source_id = o.source_id
            WHERE o.consultation_id = c.id AND o.source_id = c.source_id
            OFFSET 0
        ) m
        WHERE c.submission_id = s.id AND c.source_id = s.source_id
        OFFSET 0
    ) x
""")

# How far each consultation of a submission is: for a live board.
BOARD = text("""
    SELECT c.id, c.document_id, c.kind, c.stage, c.state, c.n,
           count(o.id) FILTER (WHERE o.kind = 'generation' AND o.state = 'answered') AS answers,
           count(o.id) FILTER (WHERE o.kind = 'review' AND o.state = 'answered') AS reviews,
           count(o.id) FILTER (WHERE o.kind = 'review') AS reviews_owed
    FROM consultations c
    JOIN records r ON r.id = c.record_id AND r.source_id = c.source_id
    LEFT JOIN owed_answers o ON o.consultation_id = c.id AND o.source_id = c.source_id
    WHERE c.submission_id = :id
    GROUP BY c.id, c.source_id, r.ordinal
    ORDER BY r.ordinal
""")

CONSULTATION = text("""
    SELECT c.*, k.form, k.grade, k.variance, k.agreement, k.confidence, k.rule, k.highest_graded, k.majority,
           k.refined, k.stops, k.minority, k.support, k.method, k.findings, k.trace, k.refinement, k.detail,
           n.number AS memory_number
    FROM consultations c
    LEFT JOIN consensus k ON k.consultation_id = c.id AND k.source_id = c.source_id
    JOIN snapshots n ON n.id = c.reviewers_snapshot_id
    WHERE c.id = :id
""")

SEATS = text("""
    SELECT s.seat, s.occupancy, s.since, s.left_because, m.name, coalesce(v.returned, m.returned) AS returned,
           m.family, m.location, m.simulated,
           o.state, o.reason, o.tries, o.crashes, g.id AS generation, g.document_id, g.decision, g.starts,
           g.stops, g.latency_s
    FROM seats s
    JOIN model_versions m ON m.id = s.model_version_id
    JOIN owed_answers o ON o.consultation_id = s.consultation_id AND o.kind = 'generation'
                       AND o.seat = s.seat AND o.occupancy = s.occupancy
    LEFT JOIN generations g ON g.owed_answer_id = o.id
    LEFT JOIN model_versions v ON v.id = g.model_version_id
    WHERE s.consultation_id = :id
    ORDER BY s.seat, s.occupancy
""")

REVIEWS = text("""
    SELECT r.seat AS reviewer, g.seat AS author, r.grade, r.label, r.position, r.scrubbed, r.document_id,
           r.latency_s
    FROM reviews r JOIN generations g ON g.id = r.generation_id
    WHERE r.consultation_id = :id
    ORDER BY r.seat, r.position
""")

CALLS = text("""
    SELECT o.kind, o.seat, g.seat AS about_seat, m.claim, v.name AS model, m.started_at,
           extract(epoch FROM m.ended_at - m.started_at)::float AS seconds, m.outcome, m.error_kind, m.status,
           m.prompt_tokens, m.completion_tokens, m.cost_usd
    FROM model_calls m
    JOIN owed_answers o ON o.id = m.owed_answer_id AND o.source_id = m.source_id
    JOIN model_versions v ON v.id = m.model_version_id
    LEFT JOIN generations g ON g.id = o.about
    WHERE o.consultation_id = :id
    ORDER BY m.started_at, m.owed_answer_id
""")


def _rows(session: Session, statement: Any, **values: Any) -> Sequence[dict[str, Any]]:
    return [dict(row._mapping) for row in session.execute(statement, values)]


def submissions(
    session: Session, submission_id: uuid.UUID | None = None, most: int = MOST
) -> Sequence[dict[str, Any]]:
    """Submissions with their counts by state, newest first."""
    return _rows(session, SUBMISSIONS, id=submission_id, most=most)


def listed(
    session: Session, *, after: uuid.UUID | None = None, state: str | None = None, most: int = MOST
) -> Sequence[dict[str, Any]]:
    """A page of submissions with their counts by state, newest first: those older than `after`."""
    return _rows(session, LISTED, after=after, state=state, most=most)


def stages(
    session: Session, submission_id: uuid.UUID | None = None, *, stale_s: float = 60.0
) -> Sequence[dict[str, Any]]:
    """Open consultations by stage and by what holds them; `stale_s` is the settings' `heartbeat_stale_s`."""
    return _rows(session, STAGES, id=submission_id, stale_s=stale_s)


def failures(session: Session, submission_id: uuid.UUID | None = None) -> Sequence[dict[str, Any]]:
    """Ended consultations that need a person, by reason; without an id, of the newest `MOST` submissions."""
    return _rows(session, FAILURES, id=submission_id, most=MOST)


def results(
    session: Session,
    submission_id: uuid.UUID,
    *,
    after: int = -1,
    most: int | None = None,
    set_aside: bool = False,
) -> Sequence[dict[str, Any]]:
    """One row per record, in the order of the input: the first `most` (None: all) behind ordinal `after`.

    `set_aside`: of the records that were not accepted alone.
    """
    return _rows(session, RESULTS, id=submission_id, after=after, most=most, set_aside=set_aside)


def call_counts(session: Session, submission_id: uuid.UUID | None = None) -> dict[str, Any]:
    """How many calls were made, and how many of them were lost, failed, doubled or not priced.

    Without an id, for the newest `MOST` submissions.
    """
    return _rows(session, CALL_COUNTS, id=submission_id, most=MOST)[0]


def board(session: Session, submission_id: uuid.UUID) -> Sequence[dict[str, Any]]:
    """How far each consultation of a submission is, in the order of the input."""
    return _rows(session, BOARD, id=submission_id)


def consultation(session: Session, consultation_id: uuid.UUID) -> dict[str, Any] | None:
    """One consultation with its consensus, or None."""
    found = _rows(session, CONSULTATION, id=consultation_id)
    return found[0] if found else None


def seats(session: Session, consultation_id: uuid.UUID) -> Sequence[dict[str, Any]]:
    """Who sat, and what each answered."""
    return _rows(session, SEATS, id=consultation_id)


def reviews(session: Session, consultation_id: uuid.UUID) -> Sequence[dict[str, Any]]:
    """Every grade, with what the reviewer was shown."""
    return _rows(session, REVIEWS, id=consultation_id)


def calls(session: Session, consultation_id: uuid.UUID) -> Sequence[dict[str, Any]]:
    """Every call to a model, in time's order."""
    return _rows(session, CALLS, id=consultation_id)
