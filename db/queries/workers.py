"""Worker processes, and the periodic jobs that must run once a period."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

# Whether an earlier process of that name never said that it stopped.
DIED = text("SELECT EXISTS (SELECT FROM workers WHERE name = :name AND stopped_at IS NULL)")
REGISTER = text("""
    INSERT INTO workers (name, boot_id, pid, queues) VALUES (:name, :boot_id, :pid, :queues)
    ON CONFLICT (name) DO UPDATE
    SET boot_id = :boot_id, pid = :pid, queues = :queues, started_at = now(), seen_at = now(),
        stopped_at = NULL
""")
SEEN = text("UPDATE workers SET seen_at = now() WHERE name = :name AND boot_id = :boot_id")
STOPPED = text("UPDATE workers SET stopped_at = now() WHERE name = :name AND boot_id = :boot_id")

# The first to insert the period's row runs the job; a second beat's message finds it there.
BEGIN_PERIOD = text("""
    INSERT INTO periodic_runs (job, period)
    VALUES (:job, floor(extract(epoch FROM now()) / :every_s))
    ON CONFLICT DO NOTHING RETURNING period
""")
END_PERIOD = text("""
    UPDATE periodic_runs SET finished_at = now(), result = :result WHERE job = :job AND period = :period
""")


def register(session: Session, name: str, boot_id: uuid.UUID, queues: Sequence[str]) -> bool:
    """A worker process has started; whether its former self died without a word."""
    died: bool = session.execute(DIED, {"name": name}).scalar_one()
    session.execute(REGISTER, {"name": name, "boot_id": boot_id, "pid": os.getpid(), "queues": list(queues)})
    return died


def seen(session: Session, name: str, boot_id: uuid.UUID) -> None:
    """It is alive."""
    session.execute(SEEN, {"name": name, "boot_id": boot_id})


def stopped(session: Session, name: str, boot_id: uuid.UUID) -> None:
    """It has stopped cleanly."""
    session.execute(STOPPED, {"name": name, "boot_id": boot_id})


def begin_period(session: Session, job: str, every_s: float) -> int | None:
    """The current period of `every_s` seconds if this caller is the first to begin it, else None."""
    period: int | None = session.execute(BEGIN_PERIOD, {"job": job, "every_s": every_s}).scalar_one_or_none()
    return period


def end_period(session: Session, job: str, period: int, result: str) -> None:
    """Book how a period's run ended."""
    session.execute(END_PERIOD, {"job": job, "period": period, "result": result})
