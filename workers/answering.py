"""One owed answer: claim it, call the model, store the raw answer, read it.

    look ─► claim ─► call (no connection held) ─► raw answer stored ─► read ─► answered
                                                                  └─► malformed: a repair, then afresh
A claim that finds a stored raw answer reads it and calls nobody.
"""

from __future__ import annotations

import json
import logging
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from db.ids import new_id
from db.queries import consultations, model_versions, owed_answers
from db.queries.owed_answers import CRASHES_BEFORE_EXCUSE, CRASHES_BEFORE_QUARANTINE, Claim, Look, Usage
from db.tables import Generation, Review
from shared.errors import ErasedError, GivenUp, ModelError, PolicyError, UnreadableAnswer
from shared.medications import ingredients
from shared.policy import Policy
from shared.reading import read_answer
from shared.registry import Model, lease_s, price
from shared.retry import backoff_s, judge
from shared.schemas import Recommendation, ReviewAnswer
from shared.sealing import DataKey
from shared.selection import candidate
from workers.clients import Reply, client_for
from workers.context import Context
from workers.questions import Question, question_for

log = logging.getLogger("consilium.answering")
T = TypeVar("T")

Schema = type[Recommendation] | type[ReviewAnswer]


@dataclass(frozen=True)
class Again:
    """Not now: come again after `wait_s` seconds."""

    wait_s: float


@dataclass(frozen=True)
class Quarantine:
    """Its leases ran out too often: only the quarantine worker may touch it."""


@dataclass(frozen=True)
class Stopping:
    """This process stops: somebody else is to do it."""


@dataclass(frozen=True)
class Deferred:
    """It waits in the database for longer than a message may; its consultation is resumed then."""


Refusal = Again | Quarantine | Stopping | Deferred


def answer(ctx: Context, owed_id: uuid.UUID, *, quarantine: bool = False) -> Refusal | None:
    """Bring one owed answer to its end if it can be; None when there is nothing more to do here."""
    while True:
        with ctx.transaction() as session:
            seen = owed_answers.look(session, owed_id)
            if seen is None or seen.state != "owed":
                return None
            if seen.busy_s > 0:
                return Again(seen.busy_s)
            if seen.crashes >= CRASHES_BEFORE_EXCUSE:
                owed_answers.excuse(session, owed_id, "crashed")
                return None
            if seen.crashes >= CRASHES_BEFORE_QUARANTINE and not quarantine:
                return Quarantine()
        if ctx.stopping.is_set():
            return Stopping()
        model = ctx.registry.get(seen.model)
        if model is None:  # taken out of models.toml since it was drawn
            with ctx.transaction() as session:
                owed_answers.excuse(session, owed_id, "unknown_model")
            return None
        with ctx.transaction() as session:
            claim = owed_answers.claim(
                session,
                owed_id,
                holder=ctx.holder,
                lease_s=lease_s(model, ctx.settings),
                quarantine=quarantine,
            )
        if claim is None:
            continue  # another copy was quicker: look again
        refusal = _attempt(ctx, seen, claim, model)
        if refusal is not None:
            return refusal


def _attempt(ctx: Context, seen: Look, claim: Claim, model: Model) -> Refusal | None:
    """One claim to its end. Whatever happens, the claim does not outlive this call."""
    reply = None
    try:
        if claim.raw_id is not None:
            _read(ctx, seen, claim, model, claim.raw_id)
            return None
        with ctx.transaction() as session:
            question = question_for(session, ctx.vault, seen, claim, names=ctx.registry.names())
        if not Policy.model_validate(seen.policy).allows(candidate(model)):
            raise PolicyError("the source's policy forbids this model")
        reply = client_for(model).ask(
            model,
            question.messages,
            schema_name=question.schema_name,
            schema=question.schema,
            request_id=f"{seen.id}:{claim.claim}",
        )
        stored_id = _hold(ctx, lambda: _store_raw(ctx, seen, claim, model, reply))
        if stored_id is not None:
            _read(ctx, seen, claim, model, stored_id, question)
        return None
    except GivenUp as error:
        # no token was paid for what was never sent
        _give_back(ctx, seen, claim, "unsent" if error.prompt_tokens == 0 else "given_up")
        return Stopping()
    except ModelError as error:
        failure = error  # an except clause's own name is gone when the lambda runs again
        return _hold(ctx, lambda: _failed(ctx, seen, claim, model, failure))
    except (PolicyError, ErasedError) as error:
        reason = "policy" if isinstance(error, PolicyError) else "erased"
        with ctx.transaction() as session:
            owed_answers.close_call(session, seen.id, claim.claim, "unsent", Usage(), reason)
            owed_answers.release(session, seen.id, claim.claim, reason=reason, counted=True, excuse=True)
        return None
    except OperationalError:
        # PostgreSQL was away for longer than we hold: nobody's fault, so nothing is counted
        outcome = "unsent" if reply is None else "lost"
        _hold(ctx, lambda: _give_back(ctx, seen, claim, outcome))
        raise
    except Exception as error:  # noqa: BLE001
        # a bug of ours: the row is freed and counted, so it ends even if the bug stays; the type alone is
        # logged, since the message may quote the text
        log.error("bug in answering owed=%s type=%s", seen.id, type(error).__name__)
        return _hold(ctx, lambda: _bug(ctx, seen, claim))


def _store_raw(ctx: Context, seen: Look, claim: Claim, model: Model, reply: Reply) -> uuid.UUID | None:
    """First commit: the raw answer, its usage and its call. None if it is not to be read: the claim is no
    longer ours (late), or the text was erased meanwhile."""
    usage = Usage(
        reply.prompt_tokens,
        reply.completion_tokens,
        price(model, reply.prompt_tokens, reply.completion_tokens),
        200,
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
        return raw_id if ours else None


def _put(ctx: Context, session: Session, key: DataKey, kind: str, text: str, seen: Look) -> uuid.UUID:
    """Seal and store one text of this consultation; its document's id."""
    row = ctx.vault.sealed(key, kind, text, source_id=seen.source_id, consultation_id=seen.consultation_id)
    ctx.vault.store(session, [row])
    document_id: uuid.UUID = row["id"]
    return document_id


def _read(
    ctx: Context,
    seen: Look,
    claim: Claim,
    model: Model,
    raw_id: uuid.UUID,
    question: Question | None = None,
) -> None:
    """Second commit: what was stored is read, and the owed answer is settled or found malformed."""
    with ctx.transaction() as session:
        raw = json.loads(ctx.vault.open(session, raw_id))
        if question is None:
            question = question_for(session, ctx.vault, seen, claim, names=ctx.registry.names())
    schema: Schema = Recommendation if seen.kind == "generation" else ReviewAnswer
    try:
        parsed = read_answer(raw["text"], schema)
    except UnreadableAnswer:
        asked_to_repair = claim.repair_of is not None
        with ctx.transaction() as session:
            owed_answers.release(
                session,
                seen.id,
                claim.claim,
                reason="malformed",
                counted=True,
                repair_of=None if asked_to_repair else raw_id,
                excuse=claim.tries + 1 >= ctx.settings.max_tries,
            )
        return
    _hold(ctx, lambda: _settle(ctx, seen, claim, model, question, raw_id, raw, parsed))


def _settle(
    ctx: Context,
    seen: Look,
    claim: Claim,
    model: Model,
    question: Question,
    raw_id: uuid.UUID,
    raw: dict[str, object],
    parsed: Recommendation | ReviewAnswer,
) -> None:
    with ctx.transaction() as session:
        version = model_versions.ensure_version(
            session,
            provider=model.provider,
            name=model.name,
            returned=str(raw["returned"])[:200] if raw["returned"] else None,
            parameters_digest=model.parameters_digest,
            family=model.family,
            location=model.location,
            simulated=model.simulated,
        )
        answer_id = new_id()
        if not owed_answers.settle(session, seen.id, claim.claim, answer_id):
            return  # no longer ours: the row's own answer stands
        key = ctx.vault.key_of(session, seen.document_id)
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
            "raw_document_id": raw_id,
            "document_id": document_id,
            "latency_s": raw["latency_s"],
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


def _failed(ctx: Context, seen: Look, claim: Claim, model: Model, error: ModelError) -> Refusal | None:
    """Book a failed call and what follows from it."""
    verdict = judge(
        error,
        tries=claim.tries,
        limited_s=claim.limited_s,
        settings=ctx.settings,
        rng=random.Random(),
    )
    usage = Usage(
        error.prompt_tokens,
        error.completion_tokens,
        price(model, error.prompt_tokens, error.completion_tokens),
        error.status,
    )
    with ctx.transaction() as session:
        owed_answers.close_call(session, seen.id, claim.claim, "failed", usage, error.kind)
        owed_answers.release(
            session,
            seen.id,
            claim.claim,
            reason=error.kind,
            counted=verdict.counted,
            wait_s=verdict.wait_s,
            limited=verdict.limited,
            excuse=verdict.excuse,
        )
        if verdict.excuse:
            return None
        if verdict.wait_s <= ctx.settings.countdown_cap_s:
            return Again(verdict.wait_s)
        consultations.wait(session, seen.consultation_id)
        return Deferred()


def _bug(ctx: Context, seen: Look, claim: Claim) -> Refusal | None:
    """A stored answer that our own parser cannot bear is kept and held: it costs time, never money."""
    wait_s = backoff_s(claim.tries, ctx.settings, random.Random())
    with ctx.transaction() as session:
        if owed_answers.hold_unread(session, seen.id, claim.claim, wait_s=ctx.settings.countdown_cap_s):
            consultations.wait(session, seen.consultation_id)
            return Deferred()
        owed_answers.close_call(session, seen.id, claim.claim, "failed", Usage(), "bug")
        owed_answers.release(
            session,
            seen.id,
            claim.claim,
            reason="bug",
            counted=True,
            wait_s=wait_s,
            excuse=claim.tries + 1 >= ctx.settings.max_tries,
        )
    return Again(wait_s)


def _give_back(ctx: Context, seen: Look, claim: Claim, outcome: str) -> None:
    """End the claim as if it had never been; its call, if it is not booked yet, ended so."""
    with ctx.transaction() as session:
        owed_answers.close_call(session, seen.id, claim.claim, outcome, Usage())
        owed_answers.give_back(session, seen.id, claim.claim)


def _hold(ctx: Context, store: Callable[[], T]) -> T:
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
