"""Going on with a consultation from what is stored: first dispatch, `advance` and recovery alike."""

from __future__ import annotations

import uuid

from celery import Celery

from db.ids import new_id
from db.queries import consultations, owed_answers
from shared.flow import Ask, Conclude, Fail, OweReviews, next_step
from shared.review_design import pairs
from workers.canvas import canvas
from workers.context import Context


def go_on(ctx: Context, app: Celery, consultation_id: uuid.UUID) -> None:
    """Store what follows from the stored state, commit, then send the canvas.

    Harmless when early, late or double: the row is locked while it is decided, and whoever works on an owed
    answer claims it. Raises `kombu.exceptions.OperationalError` if the broker is away; what is stored stays.
    """
    with ctx.transaction() as session:
        found = consultations.lock(session, consultation_id)
        if found is None or found.state != "open":
            return
        within_s = ctx.settings.countdown_cap_s
        step = next_step(found.n, consultations.owed(session, consultation_id, within_s=within_s))
        if isinstance(step, OweReviews):
            for reviewer, item in pairs(
                sorted(step.generations), k=ctx.settings.reviews_per_answer, seed=found.seed
            ):
                owed_answers.owe_review(
                    session, new_id(), consultation_id, seat=reviewer, about=step.generations[item]
                )
            step = next_step(found.n, consultations.owed(session, consultation_id, within_s=within_s))
        match step:
            case Fail(reason):
                consultations.end(session, consultation_id, "failed", reason)
                owed_answers.void_rest(session, consultation_id)
                return
            case Ask(kind, owed):
                stage = "generating" if kind == "generation" else "reviewing"
                consultations.set_stage(session, consultation_id, stage)
                if not owed:
                    consultations.wait(session, consultation_id)
                    return
            case Conclude():
                consultations.set_stage(session, consultation_id, "concluding")
            case OweReviews():
                raise AssertionError("reviews were just fixed")
    canvas(app, consultation_id, step, urgent=found.priority == 0).apply_async()
