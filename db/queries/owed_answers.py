"""Owed answers: the claim, and the ways out of it.

owed ──claim──► (a lease) ──► answered          the answer is stored
                           ──► owed again        a counted failure, a wait, or given back
                           ──► excused           it will not come, with the reason
A lease that ran out leaves `claimed_until` in the past and not NULL: the next claim counts a crash.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.engine import Runs
from db.ids import new_id

CRASHES_BEFORE_QUARANTINE = 2
CRASHES_BEFORE_EXCUSE = 3

# Everything a worker needs to know about one owed answer, before it claims it.
LOOK = text("""
    SELECT o.id, o.source_id, o.consultation_id, o.kind, o.seat, o.occupancy, o.about, o.state, o.prompt_id,
           o.crashes + (o.claimed_until IS NOT NULL AND o.claimed_until <= now())::int AS crashes,
           greatest(extract(epoch FROM o.claimed_until - now()), 0)::float AS busy_s,
           greatest(extract(epoch FROM o.not_before - now()), 0)::float AS waits_s,
           o.claims, o.raw_id IS NOT NULL AS stored,
           c.document_id, c.seed, c.n, c.kind AS task_kind, c.priority,
           m.name AS model, m.id AS model_version_id, s.policy, s.name AS source,
           g.seat AS about_seat, g.document_id AS about_document_id,
           ARRAY(SELECT reviewed.seat
                 FROM owed_answers r
                 JOIN generations reviewed ON reviewed.id = r.about AND reviewed.source_id = r.source_id
                 WHERE o.kind = 'review' AND r.consultation_id = o.consultation_id AND r.kind = 'review'
                   AND r.seat = o.seat AND r.state <> 'void') AS reviewed
    FROM owed_answers o
    JOIN consultations c ON c.id = o.consultation_id AND c.source_id = o.source_id
    JOIN model_versions m ON m.id = o.model_version_id
    JOIN sources s ON s.id = o.source_id
    LEFT JOIN generations g ON g.id = o.about AND g.source_id = o.source_id
    WHERE o.id = :id
""")

# The claim: one UPDATE on the answer's own row. READ COMMITTED checks the WHERE again on the newest version,
# so of two copies one wins. The call's row is opened in the same statement: a call whose process dies is on
# record. Calls left open by an earlier claim died with it.
CLAIM = text("""
    WITH claimed AS (
        UPDATE owed_answers
        SET holder = :holder, claimed_until = now() + make_interval(secs => :lease_s), claims = claims + 1,
            crashes = crashes + (claimed_until IS NOT NULL)::int
        WHERE id = :id AND state = 'owed'
          AND (claimed_until IS NULL OR claimed_until <= now())
          AND (not_before IS NULL OR not_before <= now())
          AND crashes + (claimed_until IS NOT NULL)::int < :crashes_below
        RETURNING id, source_id, claims, tries, raw_id, repair_of, limited_since, model_version_id
    ), lost AS (
        UPDATE model_calls SET outcome = 'lost', ended_at = now()
        WHERE owed_answer_id = :id AND outcome IS NULL AND EXISTS (SELECT FROM claimed)
    ), opened AS (
        INSERT INTO model_calls (owed_answer_id, source_id, claim, model_version_id)
        SELECT id, source_id, claims, model_version_id FROM claimed WHERE raw_id IS NULL
    )
    SELECT claims AS claim, tries, raw_id, repair_of,
           extract(epoch FROM now() - limited_since)::float AS limited_s
    FROM claimed
""")

# The call's outcome, tokens and cost, once: only a call that was given up for lost may end otherwise yet.
# What is known of its cost is spent by its consultation.
CLOSED = """
        UPDATE model_calls
        SET outcome = {outcome}, ended_at = now(), error_kind = :error_kind, status = :status,
            prompt_tokens = :prompt_tokens, completion_tokens = :completion_tokens, cost_usd = :cost_usd,
            masked = :masked
        {only} owed_answer_id = :id AND claim = :claim AND (outcome IS NULL OR outcome = 'lost')
        RETURNING owed_answer_id, source_id, cost_usd
"""
SPENT = """
    UPDATE consultations c SET spent_usd = c.spent_usd + closed.cost_usd
    FROM closed JOIN owed_answers o ON o.id = closed.owed_answer_id AND o.source_id = closed.source_id
    WHERE c.id = o.consultation_id AND c.source_id = o.source_id AND closed.cost_usd > 0
"""
CLOSE_CALL = text(f"WITH closed AS ({CLOSED.format(outcome=':outcome', only='WHERE')}) {SPENT}")

# A paid answer that could not be read: what follows it is a repair, not a double payment. The claim that read
# it need not be the one that paid for it.
MARK_MALFORMED = text("""
    UPDATE model_calls SET error_kind = 'malformed'
    WHERE owed_answer_id = :id AND outcome = 'answered'
      AND claim = (SELECT max(claim) FROM model_calls
                   WHERE owed_answer_id = :id AND claim <= :claim AND outcome = 'answered')
""")

# The claim ends without an answer: counted or not, now or later, with a repair to ask for, or for good. A row
# excused for what could not be read keeps that answer, for a better reader.
RELEASE = text("""
    UPDATE owed_answers
    SET claimed_until = NULL, raw_id = NULL, tries = tries + :counted, reason = :reason,
        repair_of = :repair_of,
        not_before = now() + make_interval(secs => :wait_s),
        limited_since = CASE WHEN :limited THEN coalesce(limited_since, now()) END,
        away_since = CASE WHEN :away THEN coalesce(away_since, now()) END,
        state = CASE WHEN :excuse THEN 'excused' ELSE state END
    WHERE id = :id AND state = 'owed' AND claims = :claim
""")

# Our own parser failed on a stored answer: keep it, wait, and say what holds the consultation.
HOLD_UNREAD = text("""
    WITH kept AS (
        UPDATE owed_answers
        SET claimed_until = NULL, reason = 'bug', not_before = now() + make_interval(secs => :wait_s)
        WHERE id = :id AND state = 'owed' AND claims = :claim AND raw_id IS NOT NULL
        RETURNING consultation_id, source_id
    )
    UPDATE consultations SET held = 'unread answer'
    WHERE (id, source_id) IN (SELECT consultation_id, source_id FROM kept)
""")

# Given back at shutdown: as if the claim had never been, but for its number.
GIVE_BACK = text("""
    UPDATE owed_answers SET claimed_until = NULL
    WHERE id = :id AND state = 'owed' AND claims = :claim
""")

# Excused without a claim of ours (its leases ran out too often); the last of them counts, its call is lost.
EXCUSE = text("""
    WITH excused AS (
        UPDATE owed_answers
        SET state = 'excused', reason = :reason, claimed_until = NULL,
            crashes = crashes + (claimed_until IS NOT NULL)::int
        WHERE id = :id AND state = 'owed' AND (claimed_until IS NULL OR claimed_until <= now())
        RETURNING id
    )
    UPDATE model_calls SET outcome = 'lost', ended_at = now()
    WHERE owed_answer_id = :id AND outcome IS NULL AND EXISTS (SELECT FROM excused)
""")

# A restarted worker ends the leases of its former self, and what they held goes on at once. They stay "run
# out" (past, not NULL), so the next claim counts a crash. Reads the partial index of owed rows only.
END_LEASES_OF_FORMER_SELF = text("""
    WITH ended AS (
        UPDATE owed_answers SET claimed_until = now()
        WHERE state = 'owed' AND claimed_until > now()
          AND starts_with(holder, :name || ' ') AND holder <> :holder
        RETURNING consultation_id, source_id
    ), flagged AS (
        UPDATE consultations SET flagged = true, next_resume_at = now()
        WHERE state = 'open' AND (id, source_id) IN (SELECT consultation_id, source_id FROM ended)
    )
    SELECT count(*) FROM ended
""")

# The reviews that a consultation owes, once it is known who answered. Twice is once.
OWE_REVIEWS = text("""
    INSERT INTO owed_answers
        (id, source_id, consultation_id, kind, seat, occupancy, about, model_version_id, prompt_id)
    SELECT owed.id, c.source_id, c.id, 'review', s.seat, s.occupancy, owed.about, s.model_version_id,
           c.review_prompt_id
    FROM consultations c
    CROSS JOIN unnest(CAST(:ids AS uuid[]), CAST(:seats AS int[]), CAST(:abouts AS uuid[]))
                 AS owed (id, seat, about)
    JOIN seats s ON s.consultation_id = c.id AND s.source_id = c.source_id
                AND s.seat = owed.seat AND s.left_because IS NULL
    WHERE c.id = :consultation_id
    ON CONFLICT ON CONSTRAINT uq_owed_answers__key DO NOTHING
""")

# Work that no longer matters (the consultation has ended): nobody is to claim it.
VOID_REST = text("""
    UPDATE owed_answers SET state = 'void'
    WHERE consultation_id = :consultation_id AND state = 'owed'
""")


@dataclass(frozen=True)
class Look:
    """One owed answer with its surroundings; `busy_s` until its lease ends, `waits_s` until its wait does."""

    id: uuid.UUID
    source_id: uuid.UUID
    consultation_id: uuid.UUID
    kind: str
    seat: int
    occupancy: int
    about: uuid.UUID | None
    state: str
    prompt_id: str
    crashes: int
    busy_s: float
    waits_s: float
    claims: int
    stored: bool  # a raw answer waits to be read: nobody is called
    document_id: uuid.UUID
    seed: int
    n: int
    task_kind: str
    priority: int
    model: str
    model_version_id: uuid.UUID
    policy: dict[str, Any]
    source: str
    about_seat: int | None  # of a review: whose answer it is about, where that lies,
    about_document_id: uuid.UUID | None
    reviewed: list[int]  # and the seats of all that this reviewer reviews


@dataclass(frozen=True)
class Claim:
    """A lease won. `raw_id` set: an answer is stored already, so it is read and nobody is called."""

    claim: int
    tries: int
    raw_id: uuid.UUID | None
    repair_of: uuid.UUID | None
    limited_s: float | None  # seconds since the first of the rate limits in a row


@dataclass(frozen=True)
class Usage:
    """What a call used; None is "not known", never 0."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: Decimal | None = None
    status: int | None = None
    masked: int | None = None  # places of the messages that were masked; None: not masked, or not sent


def look(session: Runs, owed_id: uuid.UUID) -> Look | None:
    """The owed answer, or None if there is no such row."""
    row = session.execute(LOOK, {"id": owed_id}).one_or_none()
    return Look(**row._mapping) if row else None


def claim(
    session: Runs, owed_id: uuid.UUID, *, holder: str, lease_s: float, quarantine: bool
) -> Claim | None:
    """Try to claim for `lease_s` seconds; None if it is settled, busy, waiting, or for quarantine only."""
    below = CRASHES_BEFORE_EXCUSE if quarantine else CRASHES_BEFORE_QUARANTINE
    row = session.execute(
        CLAIM, {"id": owed_id, "holder": holder, "lease_s": lease_s, "crashes_below": below}
    ).one_or_none()
    return Claim(**row._mapping) if row else None


def close_call(
    session: Session,
    owed_id: uuid.UUID,
    claim_number: int,
    outcome: str,
    usage: Usage,
    error_kind: str | None = None,
) -> None:
    """Book how a call ended; what is booked already stays."""
    session.execute(
        CLOSE_CALL,
        {"id": owed_id, "claim": claim_number, "outcome": outcome, "error_kind": error_kind, **vars(usage)},
    )


def release(
    session: Session,
    owed_id: uuid.UUID,
    claim_number: int,
    *,
    reason: str,
    counted: bool,
    wait_s: float = 0,
    limited: bool = False,
    away: bool = False,
    excuse: bool = False,
    repair_of: uuid.UUID | None = None,
) -> None:
    """End the claim without an answer; `away`: its model is, by the circuit breaker."""
    if reason == "malformed":
        session.execute(MARK_MALFORMED, {"id": owed_id, "claim": claim_number})
    session.execute(
        RELEASE,
        {
            "id": owed_id,
            "claim": claim_number,
            "reason": reason,
            "counted": int(counted),
            "wait_s": wait_s,
            "limited": limited,
            "away": away,
            "excuse": excuse,
            "repair_of": repair_of,
        },
    )


def hold_unread(session: Session, owed_id: uuid.UUID, claim_number: int, *, wait_s: float) -> bool:
    """Keep a stored answer that could not be read for a bug of ours; False if none is stored."""
    return (
        _changed(session.execute(HOLD_UNREAD, {"id": owed_id, "claim": claim_number, "wait_s": wait_s})) > 0
    )


def give_back(session: Session, owed_id: uuid.UUID, claim_number: int) -> None:
    """Give the lease back at shutdown, counting nothing."""
    session.execute(GIVE_BACK, {"id": owed_id, "claim": claim_number})


def excuse(session: Runs, owed_id: uuid.UUID, reason: str) -> None:
    """Excuse a row that nobody holds."""
    session.execute(EXCUSE, {"id": owed_id, "reason": reason})


def end_leases_of_former_self(session: Session, *, name: str, holder: str) -> int:
    """End what an earlier process of this worker's name still held; how many leases that were."""
    found: int = session.execute(END_LEASES_OF_FORMER_SELF, {"name": name, "holder": holder}).scalar_one()
    return found


def owe_reviews(
    session: Session, consultation_id: uuid.UUID, reviews: Sequence[tuple[int, uuid.UUID]]
) -> None:
    """Owe these reviews: each by the occupant of a seat, about a generation."""
    session.execute(
        OWE_REVIEWS,
        {
            "consultation_id": consultation_id,
            "ids": [new_id() for _ in reviews],
            "seats": [seat for seat, _ in reviews],
            "abouts": [about for _, about in reviews],
        },
    )


def void_rest(session: Session, consultation_id: uuid.UUID) -> None:
    """Void what is still owed for a consultation that has ended."""
    session.execute(VOID_REST, {"consultation_id": consultation_id})


def _changed(result: Any) -> int:
    return int(result.rowcount)
