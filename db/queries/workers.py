"""Worker processes, and the periodic jobs that must run once a period."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

# Whether an earlier process of that name never said that it stopped.
DIED = text("SELECT EXISTS (SELECT FROM workers WHERE name = :name AND stopped_at IS NULL)")
REGISTER = text("""
    INSERT INTO workers (name, boot_id, pid, queues, slots) VALUES (:name, :boot_id, :pid, :queues, :slots)
    ON CONFLICT (name) DO UPDATE
    SET boot_id = :boot_id, pid = :pid, queues = :queues, slots = :slots, started_at = now(), seen_at = now(),
        consumed_at = now(), stopped_at = NULL
""")
SEEN = text("""
    UPDATE workers SET seen_at = now(), consumed_at = now() - make_interval(secs => :idle_s)
    WHERE name = :name AND boot_id = :boot_id
""")
STOPPED = text("UPDATE workers SET stopped_at = now() WHERE name = :name AND boot_id = :boot_id")

PARK = text(
    "INSERT INTO parked_messages (task, version, about) VALUES (:task, :version, CAST(:about AS uuid))"
)

# The first to insert the period's row runs the job; a second beat's message finds it there.
BEGIN_PERIOD = text("""
    INSERT INTO periodic_runs (job, period)
    VALUES (:job, floor(extract(epoch FROM now()) / :every_s))
    ON CONFLICT DO NOTHING RETURNING period
""")
BEGUN = text("""
    SELECT EXISTS (SELECT FROM periodic_runs
                   WHERE job = :job AND period = floor(extract(epoch FROM now()) / :every_s))
""")
LAST_RUN = text("""
    SELECT started_at, result FROM periodic_runs WHERE job = :job ORDER BY period DESC LIMIT 1
""")
END_PERIOD = text("""
    UPDATE periodic_runs SET finished_at = now(), result = :result WHERE job = :job AND period = :period
""")


def register(session: Session, name: str, boot_id: uuid.UUID, queues: Sequence[str], slots: int) -> bool:
    """A worker process of so many slots has started; whether its former self died without a word."""
    died: bool = session.execute(DIED, {"name": name}).scalar_one()
    values = {"name": name, "boot_id": boot_id, "pid": os.getpid(), "queues": list(queues), "slots": slots}
    session.execute(REGISTER, values)
    return died


def seen(session: Session, name: str, boot_id: uuid.UUID, *, idle_s: float) -> None:
    """It is alive, and took its last message so many seconds ago."""
    session.execute(SEEN, {"name": name, "boot_id": boot_id, "idle_s": idle_s})


def stopped(session: Session, name: str, boot_id: uuid.UUID) -> None:
    """It has stopped cleanly."""
    session.execute(STOPPED, {"name": name, "boot_id": boot_id})


def is_due(session: Session, job: str, every_s: float) -> bool:
    """Whether nobody has begun the current period of `every_s` seconds yet."""
    return not session.execute(BEGUN, {"job": job, "every_s": every_s}).scalar_one()


def begin_period(session: Session, job: str, every_s: float) -> int | None:
    """The current period of `every_s` seconds if this caller is the first to begin it, else None."""
    period: int | None = session.execute(BEGIN_PERIOD, {"job": job, "every_s": every_s}).scalar_one_or_none()
    return period


def park(session: Session, task: str, version: int, about: str | None) -> None:
    """Keep a message of a version that this process does not know."""
    session.execute(PARK, {"task": task, "version": version, "about": about})


def end_period(session: Session, job: str, period: int, result: str) -> None:
    """Book how a period's run ended."""
    session.execute(END_PERIOD, {"job": job, "period": period, "result": result})


def last_run(session: Session, job: str) -> tuple[datetime, str | None] | None:
    """When the job last began, and how it ended (None: it has not); None if it never ran."""
    row = session.execute(LAST_RUN, {"job": job}).one_or_none()
    return None if row is None else (row.started_at, row.result)
