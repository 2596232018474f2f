"""How far submissions are, and how long they took to go on after a fault."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

# How far submissions are. A live claim is a call in flight (or about to be).
PROGRESS = """
    SELECT count(*) AS n,
           count(*) FILTER (WHERE state = 'open') AS open,
           count(*) FILTER (WHERE state = 'failed') AS failed,
           count(*) FILTER (WHERE state = 'open' AND held IS NOT NULL) AS held,
           count(*) FILTER (WHERE state = 'open' AND dispatched_at IS NOT NULL) AS dispatched,
           count(*) FILTER (WHERE state = 'open' AND stage = 'generating') AS generating,
           count(*) FILTER (WHERE state = 'open' AND stage = 'reviewing') AS reviewing,
           count(*) FILTER (WHERE state = 'open' AND resumes > 0) AS resumed,
           (SELECT count(*) FROM submissions WHERE id = ANY(%(ids)s) AND state = 'open') AS unfinished
    FROM consultations WHERE submission_id = ANY(%(ids)s)
"""
ANSWERS = """
    SELECT count(*) FILTER (WHERE o.state = 'answered') AS answered,
           count(*) FILTER (WHERE o.state = 'owed' AND o.claimed_until > now()) AS in_flight
    FROM owed_answers o JOIN consultations c ON c.id = o.consultation_id AND c.source_id = o.source_id
    WHERE c.submission_id = ANY(%(ids)s)
"""

# For each consultation in flight when a fault was over: seconds to its next stored answer, or its end.
RECOVERY = """
    SELECT extract(epoch FROM coalesce(
               (SELECT min(m.ended_at) FROM model_calls m JOIN owed_answers o ON o.id = m.owed_answer_id
                WHERE o.consultation_id = c.id AND m.outcome = 'answered' AND m.ended_at > %(at)s),
               c.ended_at) - %(at)s)::float
    FROM consultations c
    WHERE c.submission_id = ANY(%(ids)s) AND c.dispatched_at <= %(at)s AND c.ended_at > %(at)s
"""


@dataclass(frozen=True)
class Now:
    """How far the submissions are that were asked about: numbers of consultations, and two of answers."""

    n: int
    open: int
    failed: int
    held: int
    dispatched: int  # open ones that are in the window
    generating: int
    reviewing: int
    resumed: int
    unfinished: int  # submissions
    answered: int  # stored answers
    in_flight: int  # live claims

    @property
    def share(self) -> float:
        """Stored answers, of nine a consultation: how far the work is, from 0 to 1."""
        return self.answered / (9 * self.n) if self.n else 0.0


def now(connection: psycopg.Connection[Any], ids: Iterable[uuid.UUID]) -> Now:
    """How far these submissions are."""
    values = {"ids": list(ids)}
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(PROGRESS, values).fetchone()
        answers = cursor.execute(ANSWERS, values).fetchone()
    return Now(**(row or {}), **(answers or {}))


def recovery_s(connection: psycopg.Connection[Any], ids: Iterable[uuid.UUID], at: datetime) -> list[float]:
    """For each consultation in flight when a fault was over at `at`: seconds until it went on."""
    found = connection.execute(RECOVERY, {"ids": list(ids), "at": at}).fetchall()
    return [seconds for (seconds,) in found if seconds is not None]
