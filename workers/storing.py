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
from typing import TypeVar

from sqlalchemy import insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from db.ids import new_id
from db.queries import model_versions, owed_answers
from db.queries.owed_answers import Claim, Look, Usage
from db.tables import Generation, Review
from shared.errors import ErasedError, UnreadableAnswer
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
    ctx: Context, seen: Look, claim: Claim, model: Model, reply: Reply, masked: int | None = None
) -> Raw | None:
    """First commit: the raw answer as it came, its usage and its call (`masked`: of its question). None if it
    is not to be read: the claim is no longer ours (late), or the text was erased meanwhile."""
    usage = Usage(
        reply.prompt_tokens,
        reply.completion_tokens,
        price(model, reply.prompt_tokens, reply.completion_tokens),
        200,
        masked,
    )
    body = json.dumps({"text": reply.raw_text, "returned": reply.returned, "latency_s": reply.duration_s})
    with ctx.transaction() as session:
        try:
            key = ctx.vault.key_of(session, seen.document_id)
        except ErasedError:
            owed_answers.close_call(session, seen.id, claim.claim, "failed", usage, "erased")
            owed_answers.release(session, seen.id, claim.claim, reason="erased", counted=True, excuse=True)
            return None
        raw_id = _put(ctx, session, key, "raw_answer", body, seen)
        ours = owed_answers.attach_raw(session, seen.id, claim.claim, raw_id)
        owed_answers.close_call(session, seen.id, claim.claim, "answered" if ours else "late", usage)
        back(ctx, session, model)
        return Raw.stored(raw_id, body) if ours else None


def _put(ctx: Context, session: Session, key: DataKey, kind: str, text: str, seen: Look) -> uuid.UUID:
    """Seal and store one text of this consultation; its document's id."""
    row = ctx.vault.sealed(key, kind, text, source_id=seen.source_id, consultation_id=seen.consultation_id)
    ctx.vault.store(session, [row])
    document_id: uuid.UUID = row["id"]
    return document_id


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
    with ctx.transaction() as session:
        version = model_versions.ensure_version(
            session,
            provider=model.provider,
            name=model.name,
            returned=raw.returned[:200] if raw.returned else None,
            parameters_digest=model.parameters_digest,
            family=model.family,
            location=model.location,
            simulated=model.simulated,
        )
        answer_id = new_id()
        # the key first, as whoever erases takes it: neither then waits for the other
        key = ctx.vault.key_of(session, seen.document_id)
        if not owed_answers.settle(session, seen.id, claim.claim, answer_id):
            return  # no longer ours: the row's own answer stands
        if isinstance(parsed, Recommendation):
            document_id = _put(ctx, session, key, "recommendation", parsed.model_dump_json(), seen)
        else:
            document_id = _put(ctx, session, key, "critique", parsed.critique, seen)
        common = {
            "id": answer_id,
            "source_id": seen.source_id,
            "consultation_id": seen.consultation_id,
            "owed_answer_id": seen.id,
            "seat": seen.seat,
            "occupancy": seen.occupancy,
            "model_version_id": version,
            "raw_document_id": raw.id,
            "document_id": document_id,
            "latency_s": raw.latency_s,
        }
        if isinstance(parsed, Recommendation):
            codes = _codes(ctx, parsed, question.current)
            session.execute(insert(Generation).values(**common, decision=parsed.decision, **codes))
        else:
            session.execute(
                insert(Review).values(
                    **common,
                    generation_id=seen.about,
                    grade=parsed.grade,
                    label=question.label,
                    position=question.position,
                    scrubbed=question.scrubbed,
                    shown_characters=question.shown_characters,
                )
            )


def _codes(ctx: Context, parsed: Recommendation, current: frozenset[str]) -> dict[str, list[str]]:
    """The ingredients that are started, less those the patient takes already, and those that are stopped."""
    starts: set[str] = set()
    stops: set[str] = set()
    for medication in parsed.medications:
        codes = ingredients(medication.name, key=ctx.vault.site_key.digest("unknown drug"))
        if medication.action == "stop":
            stops.update(codes)
        elif medication.action == "start":
            starts.update(code for code in codes if code not in current)
    return {"starts": sorted(starts), "stops": sorted(stops)}


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
