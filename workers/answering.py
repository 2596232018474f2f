"""One owed answer: claim it, call the model, store the raw answer, read it.

    look ─► a place at the model ─► claim ─► call (no connection held) ─► raw answer stored ─► read ─► done
                                                                                          └─► malformed
A claim that finds a stored raw answer reads it and calls nobody.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from dataclasses import dataclass

from sqlalchemy.exc import OperationalError

from db.queries import consultations, owed_answers, waits
from db.queries.owed_answers import CRASHES_BEFORE_EXCUSE, CRASHES_BEFORE_QUARANTINE, Claim, Look, Usage
from shared.errors import (
    ErasedError,
    GivenUp,
    ModelError,
    OverLength,
    PolicyError,
    RateLimited,
    Refused,
    SealedElsewhere,
    Unavailable,
)
from shared.policy import Policy
from shared.registry import Model, lease_s, price
from shared.retry import Verdict, backoff_s, judge
from shared.selection import candidate
from workers.admission import Place, Wait, back, enter, outage
from workers.clients import client_for
from workers.context import Context
from workers.questions import question_for
from workers.storing import Raw, hold, read_stored, store_raw

log = logging.getLogger("consilium.answering")

BUSY_S = 5.0
"""A copy that finds the answer under work looks again so often: long before the lease ends the answer may be
there, and its chord waits for this copy."""


@dataclass(frozen=True)
class Again:
    """Not now: come again after `wait_s` seconds."""

    wait_s: float


@dataclass(frozen=True)
class Lost:
    """An urgent seat is lost, excused or its model away: somebody else is to take it at once."""

    consultation_id: uuid.UUID


@dataclass(frozen=True)
class Unknown:
    """There is no such owed answer: the database was restored to before it."""


@dataclass(frozen=True)
class Quarantine:
    """Its leases ran out too often: only the quarantine worker may touch it."""


@dataclass(frozen=True)
class Stopping:
    """This process stops: somebody else is to do it."""


@dataclass(frozen=True)
class Deferred:
    """It waits in the database for longer than a message may; its consultation is resumed then."""


@dataclass(frozen=True)
class Settled:
    """The answer is stored and read: there is nothing more to do."""


Refusal = Again | Quarantine | Stopping | Deferred | Lost | Unknown


def answer(ctx: Context, owed_id: uuid.UUID, *, quarantine: bool = False) -> Refusal | None:
    """Bring one owed answer to its end if it can be; None when there is nothing more to do here."""
    while True:
        with ctx.statements() as session:
            seen = owed_answers.look(session, owed_id)
            if seen is None:
                return Unknown()
            if seen.state != "owed":
                return _lost(seen) if seen.state == "excused" else None
            if seen.waits_s > 0:
                return Again(seen.waits_s)
            if seen.busy_s > 0:
                return Again(min(seen.busy_s, BUSY_S))
            if seen.crashes >= CRASHES_BEFORE_EXCUSE:
                owed_answers.excuse(session, owed_id, "crashed")
                continue
            if seen.crashes >= CRASHES_BEFORE_QUARANTINE and not quarantine:
                return Quarantine()
        if ctx.stopping.is_set():
            return Stopping()
        model = ctx.registry.get(seen.model)
        if model is None:  # taken out of models.toml since it was drawn
            with ctx.statements() as session:
                owed_answers.excuse(session, owed_id, "unknown_model")
            continue
        place = enter(ctx, seen, model)
        if isinstance(place, Wait):
            return _put_off(ctx, seen, place)
        with place:
            begun = time.monotonic()
            with ctx.statements() as session:
                claim = owed_answers.claim(
                    session,
                    owed_id,
                    holder=ctx.holder,
                    lease_s=lease_s(model, ctx.settings),
                    quarantine=quarantine,
                )
            if claim is None:  # another copy was quicker: look again
                with ctx.statements() as session:
                    now = owed_answers.look(session, owed_id)
                place.lost(theirs=now is not None and now.claims > seen.claims)
                continue
            ended = _attempt(ctx, seen, claim, model, place, begun)
        if isinstance(ended, Settled):
            return None
        if ended is not None:
            return ended


def _put_off(ctx: Context, seen: Look, wait: Wait) -> Refusal:
    """No place at its model: this slot is somebody else's, and nothing is counted."""
    with ctx.transaction() as session:
        waits.put_off(session, seen.id, reason=wait.reason, wait_s=wait.wait_s, away=wait.away)
        if not wait.away and wait.wait_s <= ctx.settings.countdown_cap_s and wait.reason != "paused":
            return Again(wait.wait_s)
        consultations.wait(session, seen.consultation_id)
    lost = _lost(seen) if wait.away else None
    return lost or Deferred()


def _lost(seen: Look) -> Lost | None:
    """What follows for a seat that is lost: who is urgent is replaced at once, others when all have ended."""
    return Lost(seen.consultation_id) if seen.priority == 0 and seen.kind == "generation" else None


def _attempt(
    ctx: Context, seen: Look, claim: Claim, model: Model, place: Place, begun: float
) -> Refusal | Settled | None:
    """One claim, begun at `begun` (monotonic), to its end: whatever happens, it ends with this function.

    None: the row says what comes next.
    """
    paid = raw = None
    masked: int | None = None  # not known before there is a question
    try:
        names = ctx.registry.names()
        with ctx.statements() as db:
            question = question_for(db, ctx.vault, seen, claim, model=model, names=names)
        if claim.raw_id is not None and question.raw is not None:
            stored = Raw.stored(claim.raw_id, question.raw)
            return Settled() if read_stored(ctx, seen, claim, model, stored, question) else None
        masked = question.masked
        if not Policy.model_validate(seen.policy).allows(candidate(model)):
            raise PolicyError("the source's policy forbids this model")
        if time.monotonic() - begun > ctx.settings.lease_slack_s:
            # what is left of the lease is less than a call with its storing may take: not under this claim
            _give_back(ctx, seen, claim, "unsent")
            return Again(0)
        reply = client_for(model).ask(
            model,
            question.messages,
            schema_name=question.schema_name,
            schema=question.schema,
            request_id=f"{seen.id}:{claim.claim}",
            # so that repeats of a vignette are repeats; what a real provider makes of it is not known
            seed=seen.seed % 2**31 if model.simulated else None,
        )
        paid = (reply, question)
        place.leave("answered", tokens=_sum(reply.prompt_tokens, reply.completion_tokens))
        raw = hold(ctx, lambda: store_raw(ctx, seen, claim, model, reply, question))
        return Settled() if raw and read_stored(ctx, seen, claim, model, raw, question) else None
    except GivenUp as error:
        # no token was paid for what was never sent
        place.leave("unsent" if error.prompt_tokens == 0 else "failed")
        if error.prompt_tokens == 0:
            _give_back(ctx, seen, claim, "unsent")
        else:
            _give_back(ctx, seen, claim, "given_up", masked)
        return Stopping()
    except ModelError as error:
        failure = error  # an except clause's own name is gone when the lambda runs again
        verdict = judge(
            error, tries=claim.tries, limited_s=claim.limited_s, settings=ctx.settings, rng=random.Random()
        )
        place.leave(
            "limited" if verdict.limited else "failed",
            tokens=_sum(error.prompt_tokens, error.completion_tokens),
            retry_after_s=verdict.wait_s if verdict.limited else None,
        )
        return hold(ctx, lambda: _failed(ctx, seen, claim, model, failure, verdict, place, masked))
    except (PolicyError, ErasedError) as error:
        reason = "policy" if isinstance(error, PolicyError) else "erased"
        with ctx.transaction() as session:
            owed_answers.close_call(session, seen.id, claim.claim, "unsent", Usage(), reason)
            owed_answers.release(session, seen.id, claim.claim, reason=reason, counted=True, excuse=True)
        return None
    except (OperationalError, SealedElsewhere) as error:
        # PostgreSQL was away for longer than we hold, or the site's key is rotated and this process has the
        # old one alone: nobody's fault, so nothing is counted; what was paid for is stored if it still can be
        def give_back() -> None:
            if paid is not None and raw is None and away:
                store_raw(ctx, seen, claim, model, *paid)
            _give_back(ctx, seen, claim, "lost" if paid else "unsent", masked if paid else None)

        away = isinstance(error, OperationalError)
        hold(ctx, give_back)
        if away:
            raise
        log.error("sealed by another site key owed=%s: give CONSILIUM_PREVIOUS_SITE_KEY, restart", seen.id)
        return Again(BUSY_S)
    except Exception as error:  # noqa: BLE001
        # a bug of ours: the row is freed and counted, so it ends even if the bug stays; the type alone is
        # logged, since the message may quote the text
        log.error("bug in answering owed=%s type=%s", seen.id, type(error).__name__)
        return hold(ctx, lambda: _bug(ctx, seen, claim))


def _failed(
    ctx: Context,
    seen: Look,
    claim: Claim,
    model: Model,
    error: ModelError,
    verdict: Verdict,
    place: Place,
    masked: int | None,
) -> Refusal | None:
    """Book a failed call and what follows from it.

    An outage of the model is not the answer's fault: while the breaker is open nothing is counted.
    """
    usage = Usage(
        error.prompt_tokens,
        error.completion_tokens,
        price(model, error.prompt_tokens, error.completion_tokens),
        error.status,
        masked,
    )
    with ctx.transaction() as session:
        owed_answers.close_call(session, seen.id, claim.claim, "failed", usage, error.kind)
        probe_in_s = outage(ctx, session, model, error, probe=place.probe)
        if isinstance(error, RateLimited | Refused | OverLength):  # an answer all the same: it is there
            back(ctx, session, model)
        away = probe_in_s is not None and isinstance(error, Unavailable)
        if away:
            verdict = Verdict(counted=False, wait_s=probe_in_s or 0.0)
        owed_answers.release(
            session,
            seen.id,
            claim.claim,
            reason=error.kind,
            counted=verdict.counted,
            wait_s=verdict.wait_s,
            limited=verdict.limited,
            away=away,
            excuse=verdict.excuse,
        )
        if verdict.excuse:
            return None
        if away:
            consultations.wait(session, seen.consultation_id)
            return _lost(seen) or Deferred()
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


def _sum(*tokens: int | None) -> int | None:
    """What a limit on tokens counts; None if nothing is known."""
    known = [count for count in tokens if count is not None]
    return sum(known) if known else None


def _give_back(ctx: Context, seen: Look, claim: Claim, outcome: str, masked: int | None = None) -> None:
    """End the claim as if it had never been; its call, if it is not booked yet, ended so."""
    with ctx.transaction() as session:
        owed_answers.close_call(session, seen.id, claim.claim, outcome, Usage(masked=masked))
        owed_answers.give_back(session, seen.id, claim.claim)
