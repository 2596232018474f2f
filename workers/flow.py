"""Going on with a consultation from what is stored: first dispatch, `advance` and recovery alike."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

from celery import Celery
from sqlalchemy.orm import Session

from db.ids import new_id
from db.queries import consultations, model_versions, owed_answers, seats, snapshots, waits
from db.queries.consultations import Locked
from shared.chemistry.snapshot import Chemistry, Learned
from shared.flow import Ask, Bench, Conclude, Excuse, Fail, Owed, OweReviews, Replace, next_step
from shared.policy import Policy
from shared.review_design import pairs
from shared.selection import LEARNED, candidate, substitutes
from workers import controls
from workers.canvas import canvas, generate_alone
from workers.context import Context
from workers.controls import Controls

HELD_AGAIN_S = 30.0
"""What is held is looked at again so often, whatever else wakes it."""


def go_on(ctx: Context, app: Celery, consultation_id: uuid.UUID) -> bool:
    """Store what follows from the stored state, commit, then send the canvas; False if there is no such row.

    Harmless when early, late or double: the row is locked while it is decided, and whoever works on an owed
    answer claims it. Raises `kombu.exceptions.OperationalError` if the broker is away; what is stored stays.
    """
    with ctx.transaction() as session:
        found = consultations.lock(session, consultation_id)
        if found is None or found.state != "open":
            return found is not None
        now = controls.read(session)
        if now.pauses(found.source):
            consultations.hold(session, consultation_id, "paused", again_s=HELD_AGAIN_S)
            return True
        step, _ = _settle(ctx, session, found, now)
        match step:
            case Fail(reason):
                consultations.end(session, consultation_id, "failed", reason)
                owed_answers.void_rest(session, consultation_id)
                return True
            case Ask(kind, owed, held):
                stage = "generating" if kind == "generation" else "reviewing"
                consultations.set_stage(session, consultation_id, stage, held=held)
                if not owed:
                    consultations.wait(session, consultation_id)
                    return True
            case Conclude():
                consultations.set_stage(session, consultation_id, "concluding")
    canvas(app, consultation_id, step, urgent=found.priority == 0).apply_async()
    return True


def replace_now(ctx: Context, app: Celery, consultation_id: uuid.UUID) -> None:
    """An urgent seat is lost: its substitute is asked at once, while the other seats are still at work.

    The new answer's message stands alone; `advance` counts it when the others are done.
    """
    with ctx.transaction() as session:
        found = consultations.lock(session, consultation_id)
        if found is None or found.state != "open" or found.stage != "generating":
            return
        now = controls.read(session)
        if now.pauses(found.source):
            return
        step, new = _settle(ctx, session, found, now)
    if isinstance(step, Ask):
        for owed in step.owed:
            if owed.id in new:
                generate_alone(app, owed, urgent=found.priority == 0).apply_async()


def _settle(
    ctx: Context, session: Session, found: Locked, now: Controls
) -> tuple[Ask | Conclude | Fail, set[uuid.UUID]]:
    """Store what can be decided without asking anybody, until something must be asked, or it ends.

    Returns that step, and the owed answers of substitutes.
    """
    new: set[uuid.UUID] = set()
    while True:
        owed = consultations.owed(session, found.id, within_s=ctx.settings.countdown_cap_s)
        step = next_step(found.n, owed, _bench(ctx, session, found, now, owed))
        match step:
            case Replace(pairs_):
                replaced = {_replace(ctx, session, owed_, name) for owed_, name in pairs_} - {None}
                if not replaced:  # just claimed: whoever works on it goes on from here
                    return Ask("generation", ()), new
                new |= {id_ for id_ in replaced if id_ is not None}
            case Excuse(gone):
                excused = [waits.excuse_away(session, owed_.id) for owed_ in gone]
                if not any(excused):
                    return Ask(gone[0].kind, ()), new
            case OweReviews(generations):
                drawn = pairs(sorted(generations), k=ctx.settings.reviews_per_answer, seed=found.seed)
                reviews = [(reviewer, generations[item]) for reviewer, item in drawn]
                owed_answers.owe_reviews(session, found.id, reviews)
            case _:
                return step, new


def _bench(ctx: Context, session: Session, found: Locked, now: Controls, owed: Sequence[Owed]) -> Bench:
    """Who is away, and who of those that this source allows could take a seat."""
    policy, settings = Policy.model_validate(found.policy), ctx.settings
    bench = Bench(
        away=frozenset(name for name in ctx.registry if now.away(name)),
        patience_s=0 if found.priority == 0 else settings.substitute_after_s,
        most=settings.max_substitutions,
    )
    if not any(bench.lost(o) for o in owed if o.kind == "generation"):
        return bench  # whom else the strategy would choose need not be known
    others = [
        name
        for name in substitutes(
            found.strategy,
            found.allowed,
            seats.seated(session, found.id),
            seed=found.seed,
            staying=[o.model for o in owed if o.kind == "generation" and o.state in ("owed", "answered")],
            learned=_learned(session, found),
            families=found.families,
            family={name: model.family for name, model in ctx.registry.items()},
        )
        if name in ctx.registry and policy.allows(candidate(ctx.registry[name]))
    ]
    return replace(
        bench,
        substitutes=tuple(name for name in others if not now.away(name)),
        doubtful=tuple(name for name in others if now.away(name) and name not in now.paused.models),
    )


def _learned(session: Session, found: Locked) -> Learned | None:
    """What the strategy chose by, as it was when the consultation was accepted."""
    if found.strategy not in LEARNED or found.chemistry_snapshot_id is None:
        return None
    stored = snapshots.by_id(session, found.chemistry_snapshot_id)
    return Chemistry.from_json(stored.body).of(found.kind)


def _replace(ctx: Context, session: Session, owed: Owed, name: str) -> uuid.UUID | None:
    """The substitute's owed answer; None if somebody has just claimed the old one."""
    id_ = new_id()
    done = seats.replace(
        session,
        owed.id,
        reason=(owed.reason or "away") if owed.state == "excused" else "away",
        model_version_id=model_versions.version_for_seat(session, ctx.registry[name]),
        new_id=id_,
    )
    return id_ if done else None
