"""The check: each accepted consultation ends exactly once, nothing stored is paid again, the counts add up.

lost      accepted and not ended
double    ended twice: two events of an end
early     concluded while something was owed
overlap   two open calls for one owed answer (the panel's own word)
dup       called although a readable answer was stored
extra     calls that the panel saw and that brought neither a stored readable answer nor a failure that
          the retry table asks again for: their process died, they were given up, came late, or met a
          bug of ours
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import dict_row

ENDS = """
    WITH mine AS (SELECT * FROM consultations WHERE submission_id = ANY(%(ids)s))
    SELECT count(*) AS consultations,
           count(*) FILTER (WHERE state = 'open') AS lost,
           count(*) FILTER (WHERE state = 'failed') AS failed,
           coalesce(sum(resumes), 0)::int AS resumes,
           -- the events of the ends, one for each time that it was open
           count(*) FILTER (WHERE e.ends > requeues + 1) AS double,
           count(*) FILTER (WHERE state <> 'open' AND e.ends < requeues + 1) AS silent,
           count(*) FILTER (WHERE (state IN ('completed', 'needs_review')) <> k.concluded) AS torn,
           count(*) FILTER (WHERE k.concluded AND (o.unsettled OR o.short OR late.answer)) AS early
    FROM mine c
    CROSS JOIN LATERAL (
        SELECT count(*) AS ends FROM outbox_events e
        WHERE e.consultation_id = c.id AND e.type <> 'submission.finished') e
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM consensus k WHERE k.consultation_id = c.id) AS concluded) k
    CROSS JOIN LATERAL (
        -- void is what a substitution replaced, and nothing else; everybody reviews every other's answer
        SELECT coalesce(bool_or(o.state = 'owed' OR (o.state = 'void' AND NOT EXISTS (
                   SELECT FROM seats s WHERE s.consultation_id = c.id AND s.left_because IS NOT NULL))), true)
                   AS unsettled,
               c.n <= 5 AND count(*) FILTER (WHERE o.kind = 'review' AND o.state IN ('answered', 'excused'))
                 < count(*) FILTER (WHERE o.kind = 'generation' AND o.state = 'answered')
                   * (count(*) FILTER (WHERE o.kind = 'generation' AND o.state = 'answered') - 1) AS short
        FROM owed_answers o WHERE o.consultation_id = c.id) o
    CROSS JOIN LATERAL (
        SELECT EXISTS (SELECT FROM model_calls m JOIN owed_answers o ON o.id = m.owed_answer_id
                       WHERE o.consultation_id = c.id AND o.state = 'answered' AND m.outcome = 'answered'
                         AND m.ended_at > c.ended_at) AS answer) late
"""

CALLS = """
    SELECT o.id::text AS key, o.state, m.outcome, m.error_kind, m.status,
           m.prompt_tokens, m.completion_tokens
    FROM model_calls m
    JOIN owed_answers o ON o.id = m.owed_answer_id AND o.source_id = m.source_id
    JOIN consultations c ON c.id = o.consultation_id AND c.source_id = o.source_id
    WHERE c.submission_id = ANY(%(ids)s) AND m.outcome IS DISTINCT FROM 'unsent'
      -- no connection was made: the panel knows nothing of it (no status, and 0 tokens, not NULL)
      AND NOT (m.outcome = 'failed' AND m.status IS NULL AND coalesce(m.prompt_tokens = 0, false))
    ORDER BY m.owed_answer_id, m.claim
"""


@dataclass
class Books:
    """What was found; `faults` says what is wrong, each in one sentence."""

    consultations: int = 0
    failed: int = 0
    resumes: int = 0
    lost: int = 0
    double: int = 0
    early: int = 0
    overlap: int = 0
    dup: int = 0
    extra: int = 0
    called: int = 0  # calls that the panel saw
    retries: int = 0  # failed or unreadable, and asked again for as documented (or excused)
    died: int = 0  # calls of ours that ended unknown: lost, given up, or without an answer's usage
    faults: list[str] = field(default_factory=list)


@dataclass
class Tally:
    """One row of the table."""

    consultations: int = 0
    faults: int = 0
    lost: int = 0
    double: int = 0
    early: int = 0
    overlap: int = 0
    extra: int = 0
    allowed: int = 0
    recovery_s: list[float] = field(default_factory=list)


def read_books(
    connection: psycopg.Connection[Any],
    ledger: Mapping[str, Any],
    ids: Collection[uuid.UUID],
    *,
    allowed: int,
    failed: int | None,
) -> Books:
    """The books of these submissions against the panel's ledger, which holds their calls and no others.

    `allowed`: most extra calls. `failed`: consultations that must end failed; None for any number.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        ends = cursor.execute(ENDS, {"ids": list(ids)}).fetchone()
        calls = cursor.execute(CALLS, {"ids": list(ids)}).fetchall()
    assert ends is not None
    books = Books(
        **{name: ends[name] for name in ("consultations", "failed", "resumes", "lost", "double", "early")},
        overlap=ledger["overlaps"],
        called=ledger["total"],
    )
    good = 0
    by_key: dict[str, list[dict[str, Any]]] = {}
    for call in calls:
        by_key.setdefault(call["key"], []).append(call)
        if call["outcome"] == "answered" and call["error_kind"] is None:
            good += 1
        elif call["outcome"] in ("answered", "failed") and call["error_kind"] != "bug":
            books.retries += 1
        books.died += _unknown(call)
    books.dup = sum(_paid_again(own) for own in by_key.values())
    books.extra = books.called - good - books.retries
    _say(books, "consultations without an end", books.lost)
    _say(books, "consultations that ended twice", books.double)
    _say(books, "consultations that ended without an event", ends["silent"])
    _say(books, "consultations whose state and consensus disagree", ends["torn"])
    _say(books, "consultations concluded while something was owed", books.early)
    _say(books, "overlapping calls for one owed answer", books.overlap)
    _say(books, "calls although a readable answer was stored", books.dup)
    if failed is not None and books.failed != failed:
        books.faults.append(f"expected {failed} failed consultations, found {books.failed}")
    if books.extra > allowed:
        books.faults.append(f"expected at most {allowed} extra calls, found {books.extra}")
    _compare(books, by_key, ledger, len(calls))
    return books


def _say(books: Books, what: str, found: int) -> None:
    if found:
        books.faults.append(f"expected 0 {what}, found {found}")


def _unknown(call: Mapping[str, Any]) -> bool:
    """Whether its usage is not known to us: the process died, or no answer came in time."""
    if call["outcome"] in (None, "lost", "given_up") or call["error_kind"] == "bug":
        return True
    # a 200 that was too long or of a wrong type, a redirect: billed there, without usage for us
    return call["prompt_tokens"] is None and (call["status"] is None or call["status"] < 400)


def _paid_again(own: Sequence[Mapping[str, Any]]) -> int:
    """Calls for one owed answer that followed a stored readable answer of it."""
    stored = [call["outcome"] == "answered" and call["error_kind"] is None for call in own]
    return len(own) - stored.index(True) - 1 if True in stored else 0


def _compare(
    books: Books, by_key: Mapping[str, Sequence[Mapping[str, Any]]], ledger: Mapping[str, Any], booked: int
) -> None:
    """Our books against the panel's: equal, but for calls whose outcome is unknown to us.

    Such a call may have died before it was sent, and the panel bills what we never learned.
    """
    if not booked - books.died <= books.called <= booked:
        books.faults.append(
            f"expected {booked - books.died}..{booked} calls in the panel's ledger, found {books.called}"
        )
    ours = {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0}
    theirs = dict(ours)
    for key, own in by_key.items():
        seen = ledger["keys"].get(key, dict.fromkeys(ours, 0))
        known = {
            "calls": len(own),
            **{n: sum(call[n] or 0 for call in own) for n in ("prompt_tokens", "completion_tokens")},
        }
        exact = not any(map(_unknown, own))
        for name in ours if exact else ():
            ours[name] += known[name]
            theirs[name] += seen[name]
        if not exact and any(known[n] > seen[n] for n in ("prompt_tokens", "completion_tokens")):
            books.faults.append("more tokens booked for an owed answer than the panel billed")
    for name, count in ours.items():
        if count != theirs[name]:
            books.faults.append(f"expected {theirs[name]} {name} as in the panel's ledger, booked {count}")
    strangers = len(ledger["keys"].keys() - by_key.keys())
    _say(books, "owed answers that the panel was asked for and we have no call of", strangers)
