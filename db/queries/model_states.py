"""What all workers share about a model: the circuit breaker, and an operator's limits.

closed ──outages in a row──► open ──a probe is due──► one call tries ──answered──► closed
                              ▲                             │
                              └── twice the wait ◄──outage──┘
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

STATES = text("""
    SELECT name, max_in_flight, requests_per_minute, tokens_per_minute, failures, opened_at, probe_at,
           cooldown_s, in_flight, learned_limit, waits_until, looked_at,
           CASE WHEN probe_at IS NOT NULL THEN greatest(extract(epoch FROM probe_at - now()), 0)::float END
               AS probe_in_s
    FROM model_states
""")

ENSURE = text("INSERT INTO model_states (name) VALUES (:name) ON CONFLICT DO NOTHING")

# One more outage. The breaker opens when they are enough; a failed probe doubles the wait. Calls that were in
# flight when it opened change nothing.
FAILED = text("""
    UPDATE model_states
    SET failures = failures + 1,
        opened_at = CASE WHEN failures + 1 >= :enough THEN coalesce(opened_at, now()) ELSE opened_at END,
        cooldown_s = CASE WHEN opened_at IS NULL THEN :cooldown_s
                          WHEN :probe THEN least(cooldown_s * 2, :cap_s) ELSE cooldown_s END,
        probe_at = CASE WHEN opened_at IS NULL AND failures + 1 >= :enough
                          THEN now() + make_interval(secs => :cooldown_s)
                        WHEN opened_at IS NOT NULL AND :probe
                          THEN now() + make_interval(secs => least(cooldown_s * 2, :cap_s))
                        ELSE probe_at END
    WHERE name = :name
    RETURNING CASE WHEN probe_at IS NOT NULL THEN greatest(extract(epoch FROM probe_at - now()), 0)::float END
               AS probe_in_s
""")

ANSWERED = text("""
    WITH before AS (
        SELECT name, opened_at IS NOT NULL AS open FROM model_states WHERE name = :name AND failures > 0
        FOR UPDATE
    )
    UPDATE model_states s SET failures = 0, opened_at = NULL, probe_at = NULL, cooldown_s = NULL
    FROM before b WHERE s.name = b.name
    RETURNING b.open
""")

# Whoever finds a probe due takes it; the next is due when this one must have ended.
PROBE = text("""
    UPDATE model_states SET probe_at = now() + make_interval(secs => :lease_s)
    WHERE name = :name AND opened_at IS NOT NULL AND probe_at <= now()
    RETURNING name
""")

# A probe that made no call after all leaves the next one due now.
UNPROBE = text("UPDATE model_states SET probe_at = now() WHERE name = :name AND opened_at IS NOT NULL")

LEARNED = text("""
    INSERT INTO model_states (name, in_flight, learned_limit, waits_until, looked_at)
    VALUES (:name, :in_flight, :learned_limit, now() + make_interval(secs => :waits_s), now())
    ON CONFLICT (name) DO UPDATE
    SET in_flight = excluded.in_flight, learned_limit = excluded.learned_limit,
        waits_until = excluded.waits_until, looked_at = excluded.looked_at
""")


@dataclass(frozen=True)
class State:
    """One model's row; `probe_in_s` is None while its breaker is closed, 0.0 when a probe is due."""

    name: str
    max_in_flight: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    failures: int = 0
    opened_at: datetime | None = None
    probe_at: datetime | None = None
    cooldown_s: float | None = None
    in_flight: int | None = None
    learned_limit: float | None = None
    waits_until: datetime | None = None
    looked_at: datetime | None = None
    probe_in_s: float | None = None


def states(session: Session) -> dict[str, State]:
    """By name, of the models of which there is anything to say."""
    return {row.name: State(**row._mapping) for row in session.execute(STATES)}


def failed(
    session: Session, name: str, *, probe: bool, enough: int, cooldown_s: float, cap_s: float
) -> float | None:
    """Book an outage; seconds until the next probe if the breaker is open now, else None."""
    session.execute(ENSURE, {"name": name})
    values = {"name": name, "probe": probe, "enough": enough, "cooldown_s": cooldown_s, "cap_s": cap_s}
    probe_in_s: float | None = session.execute(FAILED, values).scalar_one()
    return probe_in_s


def answered(session: Session, name: str) -> bool:
    """It answers: the breaker is closed; whether it was open."""
    return bool(session.execute(ANSWERED, {"name": name}).scalar_one_or_none())


def probe(session: Session, name: str, *, lease_s: float) -> bool:
    """Take the probe that is due; False if somebody else was quicker, or none is."""
    return session.execute(PROBE, {"name": name, "lease_s": lease_s}).scalar_one_or_none() is not None


def unprobe(session: Session, name: str) -> None:
    """The probe was not made."""
    session.execute(UNPROBE, {"name": name})


def set_limits(session: Session, name: str, **limits: int | None) -> None:
    """An operator's limits: `max_in_flight`, `requests_per_minute`, `tokens_per_minute`; None: models.toml's.

    Those not named stay. Raises `ValueError` for another name.
    """
    known = {"max_in_flight", "requests_per_minute", "tokens_per_minute"}
    if unknown := limits.keys() - known:
        raise ValueError(f"no limits: {', '.join(sorted(unknown))}")
    session.execute(ENSURE, {"name": name})
    columns = ", ".join(f"{column} = :{column}" for column in limits)
    session.execute(text(f"UPDATE model_states SET {columns} WHERE name = :name"), {"name": name, **limits})


def learned(session: Session, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Store what the limiter knows: model → in_flight, learned_limit, waits_s."""
    for name in sorted(rows):
        session.execute(LEARNED, {"name": name, **rows[name]})
