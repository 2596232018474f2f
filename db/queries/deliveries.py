"""Deliveries of events to a source's webhooks and exchanges: at least once, in order within a consultation.

    pending ─► delivered
       │  └──► dead        a day of attempts without success
       └ taken: `next_at` lies ahead, so nobody else sends it; whoever dies with it has it sent again

An event waits while an earlier one of the same consultation is pending for the same destination. A
destination that fails is asked one event at a time, at growing intervals, and disabled after a day of that.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

LEASE_S = 120.0
"""Seconds that a taken delivery is left to whoever took it."""
PATIENCE = "1 day"
"""So long a delivery is tried, and a destination may fail."""
FIRST_S, LONGEST_S = 5.0, 3600.0
"""The first wait after a failure, which doubles, and the longest; half to all of it, at random."""

DUE = text("""
    SELECT d.id FROM destinations d
    WHERE d.kind = :kind AND d.disabled_at IS NULL AND (d.not_before IS NULL OR d.not_before <= now())
      AND (CAST(:door AS text) IS NULL OR d.door = :door) AND d.id <> ALL(CAST(:busy AS uuid[]))
      AND EXISTS (SELECT FROM deliveries q
                  WHERE q.destination_id = d.id AND q.delivered_at IS NULL AND q.dead_at IS NULL
                    AND q.next_at <= now())
    ORDER BY random()  -- all get their turn, also where more are behind than are sent to at once
""")

# Another's are skipped. Of a destination that fails, one: if it takes that, it is asked for the rest.
TAKE = text("""
    WITH due AS (
        SELECT q.outbox_id FROM deliveries q
        WHERE q.destination_id = :id AND q.delivered_at IS NULL AND q.dead_at IS NULL AND q.next_at <= now()
          AND NOT EXISTS (SELECT FROM deliveries p
                          WHERE p.destination_id = q.destination_id AND p.about = q.about
                            AND p.outbox_id < q.outbox_id AND p.delivered_at IS NULL AND p.dead_at IS NULL)
        ORDER BY q.outbox_id
        LIMIT (SELECT CASE WHEN failures > 0 THEN 1 ELSE :most END FROM destinations WHERE id = :id)
        FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE deliveries q SET next_at = now() + make_interval(secs => :lease_s), attempts = attempts + 1
        FROM due WHERE q.destination_id = :id AND q.outbox_id = due.outbox_id
        RETURNING q.outbox_id
    )
    SELECT e.id AS outbox_id, e.event_id, e.type, e.created_at, e.submission_id, e.consultation_id
    FROM taken t JOIN outbox_events e ON e.id = t.outbox_id
    ORDER BY e.id
""")
WEBHOOK = text("""
    SELECT d.url, d.allow_private, k.id AS key_id, k.wrapped
    FROM destinations d LEFT JOIN data_keys k ON k.id = d.key_id AND k.source_id = d.source_id
    WHERE d.id = :id AND d.disabled_at IS NULL
""")

DELIVERED = text("""
    UPDATE deliveries SET delivered_at = now(), status = :status, error = NULL
    WHERE destination_id = :id AND outbox_id = ANY(:events)
""")
RECOVERED = text("""
    UPDATE destinations SET failures = 0, failing_since = NULL, not_before = NULL
    WHERE id = :id AND failures > 0
""")

_WAIT = """make_interval(secs => greatest(:at_least_s,
    least(:longest_s, :first_s * 2 ^ least({so_often}, 20)) * (0.5 + random() / 2)))"""
# The day counts from the first failure (before it there is no `error`): nobody may have sent for longer.
FAILED = text(f"""
    UPDATE deliveries
    SET status = :status, error = :error, next_at = now() + {_WAIT.format(so_often="attempts - 1")},
        queued_at = CASE WHEN error IS NULL THEN now() ELSE queued_at END,
        dead_at = CASE WHEN error IS NOT NULL AND queued_at < now() - interval '{PATIENCE}' THEN now() END
    WHERE destination_id = :id AND outbox_id = :event
""")
FAILING = text(f"""
    UPDATE destinations
    SET failures = failures + 1, failing_since = coalesce(failing_since, now()),
        not_before = now() + {_WAIT.format(so_often="failures")},
        disabled_at = CASE WHEN :gone OR failing_since < now() - interval '{PATIENCE}' THEN now() END,
        disabled_reason = CASE WHEN :gone THEN :error
                               WHEN failing_since < now() - interval '{PATIENCE}'
                               THEN 'failed for a day: ' || :error END
    WHERE id = :id AND disabled_at IS NULL
    RETURNING disabled_reason
""")
GIVE_BACK = text("""
    UPDATE deliveries SET next_at = now(), attempts = attempts - 1
    WHERE destination_id = :id AND outbox_id = ANY(:events)
""")

# Since when the oldest event waits that somebody should have by now, anew from its first failure; dead ones
# wait for a person.
OLDEST = text("""
    SELECT coalesce(extract(epoch FROM now() - min(q.queued_at)), 0)::float
    FROM destinations d CROSS JOIN LATERAL (
        SELECT queued_at FROM deliveries
        WHERE destination_id = d.id AND delivered_at IS NULL AND dead_at IS NULL
        ORDER BY outbox_id LIMIT 1
    ) q
    WHERE d.disabled_at IS NULL
""")

DISABLED = text("""
    SELECT count(*) FROM destinations
    WHERE kind = 'webhook' AND disabled_at IS NOT NULL AND disabled_reason <> :by_hand
""")
BY_HAND = "by an operator"


@dataclass(frozen=True)
class Event:
    """One event on its way."""

    outbox_id: int
    event_id: uuid.UUID
    type: str
    created_at: datetime
    submission_id: uuid.UUID
    consultation_id: uuid.UUID | None

    def body(self) -> bytes:
        """What is sent of it: ids, and nothing about the patient."""
        consultation = self.consultation_id and str(self.consultation_id)
        data = {"submission": str(self.submission_id), "consultation": consultation}
        told = {"type": self.type, "timestamp": self.created_at.isoformat(), "data": data}
        return json.dumps(told, separators=(",", ":")).encode()


def due(
    session: Session, kind: str, *, door: str | None = None, busy: Collection[uuid.UUID] = ()
) -> list[uuid.UUID]:
    """Destinations that something is to be sent to now, but those `busy`."""
    given = {"kind": kind, "door": door, "busy": list(busy)}
    return list(session.execute(DUE, given).scalars())


def take(session: Session, destination_id: uuid.UUID, *, most: int) -> list[Event]:
    """The next events for it, in their order. From the commit on nobody else has them for `LEASE_S`."""
    rows = session.execute(TAKE, {"id": destination_id, "most": most, "lease_s": LEASE_S})
    return [Event(**row._mapping) for row in rows]


def webhook(session: Session, destination_id: uuid.UUID) -> Any:
    """`url`, `allow_private`, secret (`key_id`, `wrapped`; None once erased); None: gone or disabled."""
    return session.execute(WEBHOOK, {"id": destination_id}).one_or_none()


def delivered(
    session: Session, destination_id: uuid.UUID, events: Sequence[Event], status: int | None = None
) -> None:
    """They have arrived, and the destination is well."""
    ids = [event.outbox_id for event in events]
    session.execute(DELIVERED, {"id": destination_id, "events": ids, "status": status})
    session.execute(RECOVERED, {"id": destination_id})


def failed(
    session: Session,
    destination_id: uuid.UUID,
    event: Event,
    error: str,
    *,
    status: int | None = None,
    gone: bool = False,
    wait_s: float = 0,
) -> str | None:
    """It has not arrived, for this kind of `error`; tried again after `wait_s` at the earliest.

    `gone` disables the destination at once. The reason, where it is disabled from now on.
    """
    waits = {"at_least_s": min(wait_s, LONGEST_S), "first_s": FIRST_S, "longest_s": LONGEST_S}
    about = {"id": destination_id, "error": error, **waits}
    session.execute(FAILED, {**about, "event": event.outbox_id, "status": status})
    reason: str | None = session.execute(FAILING, {**about, "gone": gone}).scalar_one_or_none()
    return reason


def give_back(session: Session, destination_id: uuid.UUID, events: Sequence[Event]) -> None:
    """They were taken and not tried."""
    ids = [event.outbox_id for event in events]
    session.execute(GIVE_BACK, {"id": destination_id, "events": ids})


def oldest_s(session: Session) -> float:
    """Seconds since which the oldest event waits for a destination that is not disabled; 0: none waits."""
    return float(session.execute(OLDEST).scalar_one())


def disabled(session: Session) -> int:
    """Webhooks that were disabled, but those by an operator."""
    found: int = session.execute(DISABLED, {"by_hand": BY_HAND}).scalar_one()
    return found
