"""Calls to models that are open now, and those that nobody will close."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

# Those whose claim is alive; the partial index holds open calls only.
OPEN = text("""
    SELECT m.name AS model, c.owed_answer_id || ':' || c.claim AS id,
           extract(epoch FROM o.claimed_until - now())::float AS lease_left_s
    FROM model_calls c
    JOIN owed_answers o ON o.id = c.owed_answer_id AND o.source_id = c.source_id AND o.claims = c.claim
    JOIN model_versions m ON m.id = c.model_version_id
    WHERE c.outcome IS NULL AND o.claimed_until > now()
""")

# Whoever made it died, and nobody asks again for an answer that is owed no more: else the next claim says so.
LOST = text("""
    UPDATE model_calls c SET outcome = 'lost', ended_at = now()
    FROM owed_answers o
    WHERE c.outcome IS NULL AND o.id = c.owed_answer_id AND o.source_id = c.source_id
      AND o.state <> 'owed' AND (o.claimed_until IS NULL OR o.claimed_until <= now())
""")


@dataclass(frozen=True)
class OpenCall:
    """One call in flight; `id` is its X-Request-ID."""

    model: str
    id: str
    lease_left_s: float


def open_calls(session: Session) -> list[OpenCall]:
    """All calls in flight, on all machines."""
    return [OpenCall(**row._mapping) for row in session.execute(OPEN)]


def close_lost(session: Session) -> int:
    """Close as lost what stands open of answers that are owed no more, when their leases have run out."""
    done: Any = session.execute(LOST)
    return int(done.rowcount)
