"""Caps on what is spent: a submission's for all of its time, a source's for a day in UTC.

Checked before dispatch with the expected cost: what is spent, and what is promised to those in flight. Over a
cap the work waits as `held = 'budget'`, until the cap is raised, the day ends, or those in flight cost less
than was expected of them.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.queries import dispatching

SUBMISSION = text("""
    SELECT coalesce(sum(spent_usd), 0)
         + coalesce(sum(greatest(expected_usd - spent_usd, 0))
                    FILTER (WHERE state = 'open' AND dispatched_at IS NOT NULL), 0)
    FROM consultations WHERE submission_id = :id
""")

# Today's calls by the BRIN index of their start; what is in flight by the partial index of what is due.
SOURCE_TODAY = text("""
    SELECT (SELECT coalesce(sum(cost_usd), 0) FROM model_calls
            WHERE started_at >= date_trunc('day', now(), 'UTC') AND source_id = :id)
         + (SELECT coalesce(sum(greatest(expected_usd - spent_usd, 0)), 0) FROM consultations
            WHERE state = 'open' AND dispatched_at IS NOT NULL AND source_id = :id)
""")

HOLD = text("""
    UPDATE consultations SET held = 'budget'
    WHERE state = 'open' AND dispatched_at IS NULL AND held IS NULL
      AND (CAST(:submission_id AS uuid) IS NULL OR submission_id = :submission_id)
      AND (CAST(:source_id AS uuid) IS NULL OR source_id = :source_id)
""")

# Open submissions with work that a cap holds, and the most expensive of it: there must be room for that, or
# what is released would be held again at once.
HELD = text("""
    SELECT s.id, s.source_id, s.budget_usd, src.daily_budget_usd, h.largest
    FROM submissions s
    JOIN sources src ON src.id = s.source_id
    CROSS JOIN LATERAL (
        SELECT count(*) AS n, coalesce(max(c.expected_usd), 0) AS largest FROM consultations c
        WHERE c.submission_id = s.id AND c.source_id = s.source_id
          AND c.state = 'open' AND c.dispatched_at IS NULL AND c.held = 'budget'
    ) h
    WHERE s.state = 'open' AND h.n > 0
      AND CASE WHEN CAST(:submission_id AS uuid) IS NOT NULL THEN s.id = :submission_id
               WHEN CAST(:source_id AS uuid) IS NOT NULL THEN s.source_id = :source_id
               ELSE s.budget_usd IS NOT NULL OR src.daily_budget_usd IS NOT NULL END
    ORDER BY s.received_at, s.id
""")
# What is not known cannot be promised to stay below a cap: it waits until there is none.
RELEASE = text("""
    UPDATE consultations SET held = NULL
    WHERE submission_id = ANY(:ids) AND state = 'open' AND dispatched_at IS NULL AND held = 'budget'
      AND (expected_usd IS NOT NULL OR submission_id = ANY(:uncapped))
""")

HELD_OF_SOURCE = text("""
    SELECT count(*) FROM consultations
    WHERE source_id = :id AND state = 'open' AND dispatched_at IS NULL AND held = 'budget'
""")

SET_SUBMISSION = text("UPDATE submissions SET budget_usd = :usd WHERE id = :id")
SET_SOURCE = text("UPDATE sources SET daily_budget_usd = :usd WHERE id = :id")

# Who may be asked for a submission's answers, and what of it has no known price.
ASKED = text("""
    SELECT s.strategy, s.models,
           (SELECT allowed FROM consultations c WHERE c.submission_id = s.id AND c.source_id = s.source_id
            LIMIT 1) AS allowed
    FROM submissions s WHERE s.id = :id
""")
UNPRICED = text("""
    SELECT count(*) FROM consultations
    WHERE state = 'open' AND expected_usd IS NULL
      AND (CAST(:submission_id AS uuid) IS NULL OR submission_id = :submission_id)
      AND (CAST(:source_id AS uuid) IS NULL OR source_id = :source_id)
""")

# What has a cap: sources, and submissions that are not finished (or the one that is asked for).
SUBMISSIONS = text("""
    SELECT s.id AS submission, src.name AS source, s.budget_usd, t.spent_usd, t.expected_usd, t.unpriced,
           t.held
    FROM submissions s
    JOIN sources src ON src.id = s.source_id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(c.spent_usd), 0) AS spent_usd,
               coalesce(sum(greatest(c.expected_usd - c.spent_usd, 0)) FILTER (WHERE c.state = 'open'), 0)
                 AS expected_usd,
               count(*) FILTER (WHERE c.state = 'open' AND c.expected_usd IS NULL) AS unpriced,
               count(*) FILTER (WHERE c.held = 'budget') AS held
        FROM consultations c WHERE c.submission_id = s.id AND c.source_id = s.source_id
    ) t
    WHERE s.id = :id OR (CAST(:id AS uuid) IS NULL AND s.state = 'open' AND s.budget_usd IS NOT NULL)
    ORDER BY s.received_at
""")
SOURCES = text("""
    SELECT id, name AS source, daily_budget_usd FROM sources WHERE daily_budget_usd IS NOT NULL ORDER BY name
""")


def spent_and_promised(session: Session, *, submission_id: uuid.UUID) -> Decimal:
    """USD that a submission has cost, and is still expected to cost for what is in flight."""
    found: Decimal = session.execute(SUBMISSION, {"id": submission_id}).scalar_one()
    return found


def source_spent_today(session: Session, source_id: uuid.UUID) -> Decimal:
    """USD for a source's calls begun today (UTC), and still expected for what it has in flight."""
    found: Decimal = session.execute(SOURCE_TODAY, {"id": source_id}).scalar_one()
    return found


def hold_for_budget(
    session: Session, *, submission_id: uuid.UUID | None = None, source_id: uuid.UUID | None = None
) -> int:
    """Hold all that waits of a submission or of a source; how many.

    Raises `ValueError` for neither: everybody's work is no budget's.
    """
    if submission_id is None and source_id is None:
        raise ValueError("a budget is a submission's or a source's")
    done: Any = session.execute(HOLD, {"submission_id": submission_id, "source_id": source_id})
    return int(done.rowcount)


def release_source_holds(
    session: Session, *, submission_id: uuid.UUID | None = None, source_id: uuid.UUID | None = None
) -> int:
    """Let go on what no cap holds any more: of a submission, a source, or all that have one; how many.

    A cap was raised, a source's day is over, or what was in flight has cost less than expected.
    """
    ids, uncapped = [], []
    for row in session.execute(HELD, {"submission_id": submission_id, "source_id": source_id}).all():
        left = []
        if row.budget_usd is not None:
            left.append(row.budget_usd - spent_and_promised(session, submission_id=row.id))
        if row.daily_budget_usd is not None:
            left.append(row.daily_budget_usd - source_spent_today(session, row.source_id))
        if all(usd >= row.largest for usd in left):
            ids.append(row.id)
        if not left:
            uncapped.append(row.id)
    if not ids:
        return 0
    done: Any = session.execute(RELEASE, {"ids": ids, "uncapped": uncapped})
    return int(done.rowcount)


def set_submission(session: Session, submission_id: uuid.UUID, usd: Decimal | None) -> int:
    """Set a submission's cap in USD, None: none; how many held consultations go on."""
    dispatching.lock(session)  # no dispatcher holds by the old cap afterwards
    session.execute(SET_SUBMISSION, {"id": submission_id, "usd": usd})
    return release_source_holds(session, submission_id=submission_id)


def set_source(session: Session, source_id: uuid.UUID, usd: Decimal | None) -> int:
    """Set a source's cap in USD a day (UTC), None: none; how many held consultations go on."""
    dispatching.lock(session)
    session.execute(SET_SOURCE, {"id": source_id, "usd": usd})
    return release_source_holds(session, source_id=source_id)


def models_of(session: Session, submission_id: uuid.UUID) -> Sequence[str] | None:
    """Names of the models that may be asked for a submission; None if there is no such submission."""
    row = session.execute(ASKED, {"id": submission_id}).one_or_none()
    if row is None:
        return None
    models: Sequence[str] = row.models if row.strategy == "FIXED" else row.allowed or ()
    return models


def unpriced(
    session: Session, *, submission_id: uuid.UUID | None = None, source_id: uuid.UUID | None = None
) -> int:
    """How many open consultations were accepted while a price was not known."""
    found: int = session.execute(
        UNPRICED, {"submission_id": submission_id, "source_id": source_id}
    ).scalar_one()
    return found


def held_of_source(session: Session, source_id: uuid.UUID) -> int:
    """How many of its consultations wait for a cap."""
    found: int = session.execute(HELD_OF_SOURCE, {"id": source_id}).scalar_one()
    return found


def of_submissions(session: Session, submission_id: uuid.UUID | None = None) -> Sequence[dict[str, Any]]:
    """Caps in USD (None: none), what is spent and expected yet, how many are unpriced and held.

    Of one submission; without it, of all open ones that have a cap.
    """
    return [dict(row._mapping) for row in session.execute(SUBMISSIONS, {"id": submission_id})]


def of_sources(session: Session) -> Sequence[dict[str, Any]]:
    """Sources with a cap a day, and what today has cost and is promised."""
    return [
        {**row._mapping, "today_usd": source_spent_today(session, row.id)} for row in session.execute(SOURCES)
    ]
