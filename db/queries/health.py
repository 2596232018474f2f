"""Whether work flows: heartbeats through the queues, and the worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.queries.heartbeats import OWN

REVISION = text("SELECT version_num FROM alembic_version")
HAS_REVISION = text("SELECT to_regclass('alembic_version') IS NOT NULL")

# Stale: something was sent and nobody has taken it, for so long; the sweep's own queue: no sweep has run.
HEARTBEATS = text("""
    SELECT queue, greatest(extract(epoch FROM now() - received_at), 0)::float AS age_s,
           received_at < now() - make_interval(secs => :stale_s) AND (queue = :own OR sent_at > received_at)
               AS stale
    FROM heartbeats ORDER BY queue
""")

WORKERS = text("""
    SELECT name, queues, slots, stopped_at IS NOT NULL AS stopped,
           extract(epoch FROM now() - seen_at)::float AS seen_s,
           extract(epoch FROM now() - consumed_at)::float AS consumed_s
    FROM workers ORDER BY name
""")

# Leases that a worker holds now; a claim names its holder as "name boot-id". Reads the owed rows only.
LEASES = text("""
    SELECT count(*) FROM owed_answers
    WHERE state = 'owed' AND claimed_until > now() AND starts_with(holder, :name || ' ')
""")


@dataclass(frozen=True)
class Heartbeat:
    """The last message through a queue that only proves that work flows; ages in seconds."""

    queue: str
    age_s: float
    stale: bool


@dataclass(frozen=True)
class Worker:
    """A worker process as it registered; `seen_s` and `consumed_s` are seconds ago."""

    name: str
    queues: list[str]
    slots: int
    stopped: bool
    seen_s: float
    consumed_s: float


def revision(session: Session) -> str | None:
    """The migration that the database is at; None if it has none of our tables."""
    if not session.execute(HAS_REVISION).scalar_one():
        return None
    found: str | None = session.execute(REVISION).scalar_one_or_none()
    return found


def heartbeats(session: Session, *, stale_s: float) -> Sequence[Heartbeat]:
    """The heartbeat of each queue that ever had one."""
    rows = session.execute(HEARTBEATS, {"stale_s": stale_s, "own": OWN})
    return [Heartbeat(**row._mapping) for row in rows]


def workers(session: Session) -> Sequence[Worker]:
    """All registered worker processes, stopped ones too."""
    return [Worker(**row._mapping) for row in session.execute(WORKERS)]


def leases_of(session: Session, name: str) -> int:
    """How many owed answers this worker works on now."""
    found: int = session.execute(LEASES, {"name": name}).scalar_one()
    return found
