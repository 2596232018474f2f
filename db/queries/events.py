"""The outbox: events are written with what made them true, delivered afterwards, at least once, in order."""

from __future__ import annotations

import uuid

from sqlalchemy import text
from sqlalchemy.orm import Session

CHANNEL = "consilium"
"""PostgreSQL's notification channel: `<type> <submission id> <consultation id or -> <event id>`.

An event may come twice, after a crash or a restore; its id tells."""

# Those that may be finished, locked first: whoever puts a dead letter back locks its submission too, and a
# statement begun before that commit would not see it.
MAY_BE_FINISHED = text("""
    SELECT s.id FROM submissions s
    WHERE s.state = 'open' AND (CAST(:id AS uuid) IS NULL OR s.id = :id)
      AND NOT EXISTS (SELECT FROM consultations c
                      WHERE c.submission_id = s.id AND c.source_id = s.source_id AND c.state = 'open')
    ORDER BY s.id FOR UPDATE
""")

# A submission is finished when none of its consultations is open. Asked after the last one's commit.
FINISH = text("""
    WITH finished AS (
        UPDATE submissions s SET state = 'finished', finished_at = now()
        WHERE s.state = 'open' AND s.id = ANY(:ids)
          AND NOT EXISTS (SELECT FROM consultations c
                          WHERE c.submission_id = s.id AND c.source_id = s.source_id AND c.state = 'open')
        RETURNING s.id, s.source_id, s.reopened
    )
    INSERT INTO outbox_events (source_id, submission_id, type, times)
    SELECT source_id, id, 'submission.finished', reopened FROM finished
    ON CONFLICT DO NOTHING
""")

# One deliverer at a time, so that events leave in their order; asked before, that the next statement sees
# what the last one has committed.
IN_TURN = text("SELECT pg_advisory_xact_lock(hashtext('consilium outbox'))")

# Undelivered events, oldest first: told to who listens, and queued for each destination of their source.
DELIVER = text("""
    WITH picked AS (
        SELECT id FROM outbox_events WHERE delivered_at IS NULL ORDER BY id LIMIT :most
        FOR UPDATE SKIP LOCKED
    ), delivered AS (
        UPDATE outbox_events e SET delivered_at = now() FROM picked p WHERE e.id = p.id
        RETURNING e.id, e.event_id, e.type, e.source_id, e.submission_id, e.consultation_id, e.created_at
    ), queued AS (
        INSERT INTO deliveries (outbox_id, destination_id, source_id, about)
        SELECT e.id, d.id, e.source_id, coalesce(e.consultation_id, e.submission_id)
        FROM delivered e JOIN destinations d ON d.source_id = e.source_id
        WHERE d.disabled_at IS NULL AND d.created_at <= e.created_at
          AND (d.types = '{}' OR e.type = ANY(d.types))
        ON CONFLICT DO NOTHING
    )
    SELECT count(pg_notify(:channel, d.type || ' ' || d.submission_id || ' '
                                     || coalesce(d.consultation_id::text, '-') || ' ' || d.event_id))
    FROM (SELECT * FROM delivered ORDER BY id) d
""")


def finish_submissions(session: Session, submission_id: uuid.UUID | None = None) -> None:
    """Finish this submission (or all) where nothing is open any more, with its event."""
    ids = list(session.execute(MAY_BE_FINISHED, {"id": submission_id}).scalars())
    if ids:
        session.execute(FINISH, {"ids": ids})


def deliver(session: Session, *, most: int = 500) -> int:
    """Deliver undelivered events as PostgreSQL notifications (ids only), and queue them for webhooks and
    exchanges; how many. It waits for another who does the same until that one's transaction ends."""
    session.execute(IN_TURN)
    found: int = session.execute(DELIVER, {"most": most, "channel": CHANNEL}).scalar_one()
    return found
