"""What a paid answer becomes: stored raw as soon as its body is read, then read, then settled.

Reading works on what is stored and may run again without a call. While PostgreSQL is away, what was paid for
is kept in hand.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.exc import OperationalError

from db.ids import new_id
from db.queries import answers, owed_answers
from db.queries.owed_answers import Claim, Look, Usage
from shared.errors import UnreadableAnswer
from shared.medications import ingredients
from shared.reading import read_answer
from shared.registry import Model, price
from shared.schemas import Recommendation, ReviewAnswer
from shared.sealing import DataKey
from workers.admission import back
from workers.clients import Reply
from workers.context import Context
from workers.questions import Question

T = TypeVar("T")

Schema = type[Recommendation] | type[ReviewAnswer]


@dataclass(frozen=True, repr=False)
class Raw:
    """A stored raw answer: the document it lies in, and what that says."""

    id: uuid.UUID
    text: str
    returned: str | None  # the model's name, as the provider says
    latency_s: float

    @classmethod
    def stored(cls, id_: uuid.UUID, body: str) -> Raw:
        """From what its document says."""
        return cls(id_, **json.loads(body))


def store_raw(
    ctx: Context, seen: Look, claim: Claim, model: Model, reply: Reply, question: Question
) -> Raw | None:
    """First commit: the raw answer as it came, its usage and its call. None if it is not to be read: the
    claim is no longer ours (late), or the text was erased meanwhile."""
    usage = Usage(
        reply.prompt_tokens,
        reply.completion_tokens,
        price(model, reply.prompt_tokens, reply.completion_tokens),
        200,
        question.masked,
    )
    body = json.dumps({"text": reply.raw_text, "returned": reply.returned, "latency_s": reply.duration_s})
    document = _sealed(ctx, seen, question.key, "raw_answer", body)
    with ctx.statements() as session:
        stored = answers.store_raw(session, seen.id, claim.claim, document, usage, model=model.name)
    if stored.failing or not stored.kept:
        with ctx.transaction() as session:
            back(ctx, session, model)
            if not stored.kept:
                owed_answers.close_call(session, seen.id, claim.claim, "failed", usage, "erased")
                owed_answers.release(
                    session, seen.id, claim.claim, reason="erased", counted=True, excuse=True
                )
    return Raw.stored(document["id"], body) if stored.ours else None


def _sealed(ctx: Context, seen: Look, key: DataKey, kind: str, text: str) -> dict[str, Any]:
    """One text of this consultation, sealed: its document's row."""
    vault = ctx.vault
    row = vault.sealed(key, kind, text, source_id=seen.source_id, consultation_id=seen.consultation_id)
    return {**row, "retention_days": vault.retention_days}


def read_stored(
    ctx: Context,
    seen: Look,
    claim: Claim,
    model: Model,
    raw: Raw,
    question: Question,
) -> bool:
    """Second commit: what was stored is read, and the owed answer is settled, or found malformed (False)."""
    schema: Schema = Recommendation if seen.kind == "generation" else ReviewAnswer
    try:
        parsed = read_answer(raw.text, schema)
        if question.mask is not None:
            parsed = question.mask.unmasked(parsed)
    except UnreadableAnswer:
        excuse = claim.tries + 1 >= ctx.settings.max_tries
        # one request to repair it, then afresh; what excuses the seat is kept for a better reader
        keep = excuse or claim.repair_of is None
        with ctx.transaction() as session:
            owed_answers.release(
                session,
                seen.id,
                claim.claim,
                reason="malformed",
                counted=True,
                repair_of=raw.id if keep else None,
                excuse=excuse,
            )
        return False
    hold(ctx, lambda: _settle(ctx, seen, claim, model, question, raw, parsed))
    return True


def _settle(
    ctx: Context,
    seen: Look,
    claim: Claim,
    model: Model,
    question: Question,
    raw: Raw,
    parsed: Recommendation | ReviewAnswer,
) -> None:
    read: answers.ReadGeneration | answers.ReadReview
    if isinstance(parsed, Recommendation):
        read = answers.ReadGeneration(parsed.decision, *_codes(ctx, parsed, question.current))
        document = _sealed(ctx, seen, question.key, "recommendation", parsed.model_dump_json())
    else:
        read = answers.ReadReview(
            parsed.grade, question.label, question.position, question.scrubbed, question.shown_characters
        )
        document = _sealed(ctx, seen, question.key, "critique", parsed.critique)
    with ctx.statements() as session:
        # where the claim is no longer ours, the row's own answer stands
        answers.settle(
            session,
            seen.id,
            claim.claim,
            new_id(),
            read,
            document,
            raw_id=raw.id,
            latency_s=raw.latency_s,
            model=model,
            returned=raw.returned[:200] if raw.returned else None,
        )


def _codes(ctx: Context, parsed: Recommendation, current: frozenset[str]) -> tuple[list[str], list[str]]:
    """The ingredients that are started, less those the patient takes already, and those that are stopped."""
    starts: set[str] = set()
    stops: set[str] = set()
    for medication in parsed.medications:
        codes = ingredients(medication.name, key=ctx.vault.site_key.digest("unknown drug"))
        if medication.action == "stop":
            stops.update(codes)
        elif medication.action == "start":
            starts.update(code for code in codes if code not in current)
    return sorted(starts), sorted(stops)


def hold(ctx: Context, store: Callable[[], T]) -> T:
    """Keep what was paid for in hand while PostgreSQL is away, for `hold_s` seconds."""
    give_up_at = time.monotonic() + ctx.settings.hold_s
    pause_s = 0.1
    while True:
        try:
            return store()
        except OperationalError:
            if time.monotonic() + pause_s > give_up_at:
                raise
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 2.0)
