"""Webhooks of sources, and the exchanges of the doors' file: added, listed, disabled, removed, sent again."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, insert, text
from sqlalchemy.orm import Session

from db.ids import new_id
from db.queries.deliveries import BY_HAND
from db.queries.documents import Vault
from db.tables import DataKey, Destination

TYPES = (
    "consultation.completed",
    "consultation.needs_review",
    "consultation.failed",
    "consultation.cancelled",
    "submission.finished",
)
"""Events that there are."""
LEFT_OUT = "not in the doors' file"

LIST = text("""
    SELECT d.id AS webhook, s.name AS source, d.url, d.types, d.allow_private,
           CASE WHEN d.disabled_at IS NOT NULL THEN 'disabled: ' || d.disabled_reason
                WHEN d.failures > 0 THEN 'failing' ELSE 'active' END AS state,
           n.pending, n.dead, l.status AS last_status, l.error AS last_error
    FROM destinations d JOIN sources s ON s.id = d.source_id
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE dead_at IS NULL) AS pending, count(dead_at) AS dead FROM deliveries
        WHERE destination_id = d.id AND source_id = d.source_id AND delivered_at IS NULL
    ) n
    LEFT JOIN LATERAL (
        SELECT status, error FROM deliveries
        WHERE destination_id = d.id AND source_id = d.source_id AND attempts > 0
        ORDER BY outbox_id DESC LIMIT 1
    ) l ON true
    WHERE d.kind = 'webhook' AND (CAST(:id AS uuid) IS NULL OR d.id = :id)
    ORDER BY s.name, d.created_at
""")
DISABLE = text("""
    UPDATE destinations SET disabled_at = now(), disabled_reason = :reason
    WHERE id = :id AND disabled_at IS NULL
""")
ENABLE = text("""
    UPDATE destinations SET disabled_at = NULL, disabled_reason = NULL, failures = 0, failing_since = NULL,
                            not_before = NULL
    WHERE id = :id
""")
# What waited goes out at once, and has a whole day for it.
START_AGAIN = text("""
    UPDATE deliveries SET queued_at = now(), next_at = now()
    WHERE destination_id = :id AND delivered_at IS NULL AND dead_at IS NULL
""")
FORGET = text("DELETE FROM deliveries WHERE destination_id = :id")

# One event, delivered or not; or all since, but those that have arrived or are still on their way.
REDELIVER = text("""
    INSERT INTO deliveries (outbox_id, destination_id, source_id, about)
    SELECT e.id, d.id, e.source_id, coalesce(e.consultation_id, e.submission_id)
    FROM outbox_events e JOIN destinations d ON d.source_id = e.source_id
    WHERE d.id = :id AND (CAST(:event_id AS uuid) IS NULL OR e.event_id = :event_id)
      AND (CAST(:since AS interval) IS NULL OR e.created_at > now() - CAST(:since AS interval)
           AND e.created_at >= d.created_at AND (d.types = '{}' OR e.type = ANY(d.types)))
    ON CONFLICT (outbox_id, destination_id, source_id) DO UPDATE
    SET queued_at = now(), next_at = now(), attempts = 0, error = NULL, delivered_at = NULL, dead_at = NULL
    WHERE deliveries.dead_at IS NOT NULL OR CAST(:since AS interval) IS NULL
""")

# Doors by their names, each with its source's; those that the file names no longer get no events.
OPEN_DOORS = text("""
    INSERT INTO destinations (id, source_id, kind, door)
    SELECT gen_random_uuid(), s.id, 'exchange', n.door
    FROM unnest(CAST(:doors AS text[]), CAST(:sources AS text[])) AS n(door, source)
    JOIN sources s ON s.name = n.source
    ON CONFLICT (door, source_id) DO UPDATE SET disabled_at = NULL, disabled_reason = NULL
    WHERE destinations.disabled_reason = :left_out
""")
CLOSE_DOORS = text("""
    UPDATE destinations d SET disabled_at = now(), disabled_reason = :left_out
    FROM sources s
    WHERE s.id = d.source_id AND d.kind = 'exchange' AND d.disabled_at IS NULL
      AND NOT EXISTS (SELECT FROM unnest(CAST(:doors AS text[]), CAST(:sources AS text[])) AS n(door, source)
                      WHERE n.door = d.door AND n.source = s.name)
""")


def add(
    session: Session,
    vault: Vault,
    source_id: uuid.UUID,
    url: str,
    *,
    types: Sequence[str] = (),
    allow_private: bool = False,
) -> tuple[uuid.UUID, str]:
    """A new webhook of a source: its id, and its secret (`whsec_…`), which nobody can show again."""
    key, row = vault.new_key(source_id)
    session.execute(insert(DataKey).values(**row))
    webhook_id = new_id()
    session.execute(
        insert(Destination).values(
            id=webhook_id,
            source_id=source_id,
            kind="webhook",
            url=url,
            key_id=key.id,
            types=list(types),
            allow_private=allow_private,
        )
    )
    return webhook_id, f"whsec_{base64.b64encode(key.secret).decode()}"


def listed(session: Session, webhook_id: uuid.UUID | None = None) -> list[dict[str, Any]]:
    """All webhooks, or this one, with what waits for each."""
    return [dict(row) for row in session.execute(LIST, {"id": webhook_id}).mappings()]


def disable(session: Session, webhook_id: uuid.UUID) -> None:
    """It gets nothing until it is enabled; events of that time are not kept for it."""
    session.execute(DISABLE, {"id": webhook_id, "reason": BY_HAND})


def enable(session: Session, webhook_id: uuid.UUID) -> None:
    """It gets events again, first those that waited when it was disabled."""
    session.execute(ENABLE, {"id": webhook_id})
    session.execute(START_AGAIN, {"id": webhook_id})


def remove(session: Session, found: Destination) -> None:
    """It, its secret and its deliveries are gone."""
    session.execute(FORGET, {"id": found.id})
    session.execute(delete(Destination).where(Destination.id == found.id))
    session.execute(delete(DataKey).where(DataKey.id == found.key_id))


def redeliver(
    session: Session,
    webhook_id: uuid.UUID,
    *,
    event_id: uuid.UUID | None = None,
    since: timedelta | None = None,
) -> int:
    """Send one event again, or all of so long ago that never arrived; how many."""
    done: Any = session.execute(REDELIVER, {"id": webhook_id, "event_id": event_id, "since": since})
    return int(done.rowcount)


def open_doors(session: Session, doors: Iterable[tuple[str, str]]) -> None:
    """Events go to the exchanges of these doors (name, source's name) and of no others."""
    names, sources = zip(*doors, strict=True) if (doors := list(doors)) else ((), ())
    given = {"doors": list(names), "sources": list(sources), "left_out": LEFT_OUT}
    session.execute(OPEN_DOORS, given)
    session.execute(CLOSE_DOORS, given)
