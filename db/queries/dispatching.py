"""First dispatch: who goes into the broker's bounded window next.

Urgent before routine before background, each `ageing_s` of waiting lifting by one; within that, the sources
take turns, so that a large batch of one does not keep the others waiting.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.orm import Session

# Makes the count of places exact with any number of dispatchers; held until the transaction ends.
LOCK = text("SELECT pg_advisory_xact_lock(7302002)")

# What is held takes no place: its models may be away for days, and others are not to wait for them. Of one
# source no more than its window is ever held so.
FREE = text("""
    SELECT greatest(:window - count(*), 0) FROM consultations
    WHERE state = 'open' AND dispatched_at IS NOT NULL AND held IS NULL
""")

# Of each source and priority only the oldest few are read (ix_consultations__waiting), however many wait. A
# source's turns count on from what it has in flight, those of its urgent work from what of that is not held.
NEXT = text("""
    WITH in_flight AS (
        SELECT source_id, count(*) AS n, count(*) FILTER (WHERE held IS NULL) AS moving FROM consultations
        WHERE state = 'open' AND dispatched_at IS NOT NULL GROUP BY source_id
    ), waiting AS (
        SELECT w.*, s.daily_budget_usd,
               row_number() OVER (PARTITION BY s.id ORDER BY w.class, w.accepted_at, w.id)
                 + coalesce(CASE WHEN p.priority = 0 THEN f.moving ELSE f.n END, 0) AS turn
        FROM sources s
        LEFT JOIN in_flight f ON f.source_id = s.id
        CROSS JOIN (VALUES (0), (1), (2)) AS p (priority)
        CROSS JOIN LATERAL (
            SELECT c.id, c.source_id, c.submission_id, c.expected_usd, c.accepted_at, b.budget_usd,
                   greatest(c.priority - floor(extract(epoch FROM now() - c.accepted_at) / :ageing_s), 0)
                     AS class
            FROM consultations c
            JOIN submissions b ON b.id = c.submission_id AND b.source_id = c.source_id AND b.state = 'open'
            WHERE c.source_id = s.id AND c.priority = p.priority
              AND c.state = 'open' AND c.dispatched_at IS NULL AND c.held IS NULL
            ORDER BY c.accepted_at
            LIMIT :most
        ) w
        WHERE NOT EXISTS (SELECT FROM pauses
                          WHERE scope = 'all' OR scope = 'source' AND name = s.name)
    )
    SELECT id, source_id, submission_id, expected_usd, budget_usd, daily_budget_usd
    FROM waiting WHERE turn <= :source_window
    ORDER BY class, turn, accepted_at, id
    LIMIT :most
""")

TAKE = text("""
    UPDATE consultations
    SET dispatched_at = now(), progressed_at = now(), sent_at = now(), stage = 'generating', flagged = false,
        next_resume_at = now() + make_interval(secs => stall_s)
    WHERE id = ANY(:ids) AND state = 'open' AND dispatched_at IS NULL
    RETURNING id
""")

WAITING = text("""
    SELECT EXISTS (SELECT FROM consultations WHERE state = 'open' AND dispatched_at IS NULL AND held IS NULL)
""")


@dataclass(frozen=True)
class Waiting:
    """A consultation whose turn it is, with what caps its cost (USD; None: no cap, or not known)."""

    id: uuid.UUID
    source_id: uuid.UUID
    submission_id: uuid.UUID
    expected_usd: Decimal | None
    budget_usd: Decimal | None
    daily_budget_usd: Decimal | None


def lock(session: Session) -> None:
    """Be the only dispatcher until the transaction ends."""
    session.execute(LOCK)


def free_places(session: Session, *, window: int) -> int:
    """How many more may be in flight."""
    return int(session.execute(FREE, {"window": window}).scalar_one())


def next_waiting(session: Session, *, most: int, source_window: int, ageing_s: float) -> list[Waiting]:
    """The next `most` in order, of each source no more than make `source_window` with those in flight."""
    rows = session.execute(NEXT, {"most": most, "source_window": source_window, "ageing_s": ageing_s})
    return [Waiting(**row._mapping) for row in rows]


def take(session: Session, ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Take them into the window, in this order; those that are."""
    taken = set(session.execute(TAKE, {"ids": list(ids)}).scalars())
    return [id_ for id_ in ids if id_ in taken]


def any_waiting(session: Session) -> bool:
    """Whether a consultation waits for its first dispatch."""
    found: bool = session.execute(WAITING).scalar_one()
    return found
