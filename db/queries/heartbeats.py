"""Heartbeats: a message that goes through a queue proves that its workers take from it.

The sweep sends at most one at a time through each queue. It runs from the queue `conclude` itself, which is
told at once, but says nothing of what was sent after it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.queries.owed_answers import CRASHES_BEFORE_QUARANTINE

# Those whose last one has come back, or was lost so long ago that another may be tried.
SEND = text("""
    INSERT INTO heartbeats AS h (queue) SELECT unnest(CAST(:queues AS varchar[]))
    ON CONFLICT (queue) DO UPDATE SET sent_at = now()
    WHERE h.proven_at >= h.sent_at OR h.sent_at < now() - make_interval(secs => :stale_s)
    RETURNING h.queue, (extract(epoch FROM h.sent_at) * 1000)::bigint AS sent_ms
""")

RECEIVED = text("""
    UPDATE heartbeats
    SET received_at = now(), worker = :worker,
        proven_at = greatest(proven_at, least(to_timestamp(:sent_ms / 1000.0) + interval '1 ms', sent_at))
    WHERE queue = :queue
""")

STALE = text("""
    SELECT queue FROM heartbeats
    WHERE received_at < now() - make_interval(secs => :stale_s)
      AND (queue = :own OR sent_at > received_at)
""")

QUEUE = f"""CASE
    WHEN o.crashes + (o.claimed_until IS NOT NULL AND o.claimed_until <= now())::int
         >= {CRASHES_BEFORE_QUARANTINE} THEN 'quarantine'
    ELSE m.location || CASE c.priority WHEN 0 THEN '.urgent' ELSE '' END END"""
"""In SQL: the queue of the answer o that consultation c owes to model version m, as `workers.canvas` says."""

OWN = "conclude"
"""The sweep's own queue: silent when no sweep has run, whether or not one was sent through it."""

TICK = text("""
    WITH before AS (SELECT FROM heartbeats WHERE queue = :own)
    INSERT INTO heartbeats (queue, proven_at, worker) VALUES (:own, now(), :worker)
    ON CONFLICT (queue) DO UPDATE SET received_at = now(), worker = excluded.worker
    RETURNING NOT EXISTS (SELECT FROM before)
""")

# A location whose last model was taken out of models.toml may lose its workers: what has gone through its
# queues tells nothing any more, unless something in flight still waits there.
UNUSED = text("""
    DELETE FROM heartbeats h
    WHERE queue <> :own AND queue <> ALL(:queues)
      AND NOT EXISTS (SELECT FROM consultations c
                      JOIN owed_answers o ON o.consultation_id = c.id AND o.state = 'owed'
                      JOIN model_versions m ON m.id = o.model_version_id
                      WHERE c.state = 'open' AND c.dispatched_at IS NOT NULL
                        AND m.location = split_part(h.queue, '.', 1))
""")
ALL = text("SELECT queue FROM heartbeats WHERE queue <> :own")

# Nothing sent before a flush proves anything: each queue may be tried again at once.
FORGET = text("UPDATE heartbeats SET sent_at = now() - interval '1 day'")

# Work in flight that waits for a queue without workers says so, and no longer once they are back.
HOLD = text(f"""
    UPDATE consultations c SET held = 'no workers'
    WHERE c.state = 'open' AND c.dispatched_at IS NOT NULL AND c.held IS NULL
      AND EXISTS (SELECT FROM owed_answers o JOIN model_versions m ON m.id = o.model_version_id
                  WHERE o.consultation_id = c.id AND o.state = 'owed'
                    AND {QUEUE} = ANY(:queues))
""")
FREE = text(f"""
    UPDATE consultations c SET held = NULL
    WHERE c.state = 'open' AND c.held = 'no workers'
      AND NOT EXISTS (SELECT FROM owed_answers o JOIN model_versions m ON m.id = o.model_version_id
                      WHERE o.consultation_id = c.id AND o.state = 'owed'
                        AND {QUEUE} = ANY(:queues))
""")


def tick(session: Session, worker: str) -> bool:
    """The sweep runs; whether it is the first ever."""
    first: bool = session.execute(TICK, {"own": OWN, "worker": worker}).scalar_one()
    return first


def to_send(session: Session, queues: Sequence[str], *, stale_s: float) -> list[tuple[str, int]]:
    """The queues to send one through now, with the moment of sending in ms since 1970."""
    rows = session.execute(SEND, {"queues": list(queues), "stale_s": stale_s})
    return [(row.queue, row.sent_ms) for row in rows]


def in_use(session: Session, queues: Sequence[str]) -> list[str]:
    """These, and others for which something in flight still waits; the rest is forgotten, and not stale."""
    session.execute(UNUSED, {"own": OWN, "queues": list(queues)})
    others = session.execute(ALL, {"own": OWN}).scalars()
    return list(dict.fromkeys([*queues, *others]))


def received(session: Session, queue: str, *, sent_ms: int, worker: str) -> None:
    """One came through."""
    session.execute(RECEIVED, {"queue": queue, "sent_ms": sent_ms, "worker": worker})


def stale(session: Session, *, stale_s: float) -> list[str]:
    """The queues through which nothing came for `stale_s` seconds."""
    return list(session.execute(STALE, {"stale_s": stale_s, "own": OWN}).scalars())


def forget(session: Session) -> None:
    """The broker was flushed."""
    session.execute(FORGET)


def hold(session: Session, queues: Sequence[str]) -> None:
    """Hold what waits for these queues, and let go what does not any more."""
    session.execute(FREE, {"queues": list(queues)})
    if queues:
        session.execute(HOLD, {"queues": list(queues)})
