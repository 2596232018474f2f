"""The end of a consultation: the consensus, the history rows and the event, in one transaction, once."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.queries import conclusions, consultations, owed_answers, snapshots
from db.tables import Consensus, Interaction, Outcome
from shared.consensus import ProblemOf, as_columns, conclude_from, dials_of, history_rows
from shared.flow import Conclude, next_step
from shared.measures import right
from shared.memory import Memory
from shared.refinement.build import build, orders_of
from shared.safety.patient import patient_of
from shared.schemas import Gold, Recommendation, Vignette
from shared.support import Shares
from workers.context import Context


def conclude(ctx: Context, consultation_id: uuid.UUID) -> bool:
    """Conclude if everything is in; a copy that comes early or second changes nothing.

    False if there is no such row.
    """
    with ctx.transaction() as session:
        found = consultations.lock(session, consultation_id)
        if found is None or found.state != "open":
            return found is not None
        step = next_step(found.n, consultations.owed(session, consultation_id, within_s=0))
        if not isinstance(step, Conclude):
            return True
        [said] = conclusions.evidence(session, [consultation_id])
        answers, grades = said.answers, said.grades
        memory = Memory.from_json(snapshots.by_id(session, found.reviewers_snapshot_id).body)
        calibrator = conclusions.calibrator(session, consultation_id)
        problem_of = _problem_of(ctx, session, found.document_id, said.documents)
        if problem_of is None:  # erased: nobody knows any more what is safe
            consultations.end(session, consultation_id, "cancelled", "erased")
            owed_answers.void_rest(session, consultation_id)
            return True
        dials, gamma = dials_of(found.dials)
        conclusion = conclude_from(
            answers,
            grades,
            memory,
            kind=found.kind,
            calibrator=calibrator,
            gamma=gamma,
            dials=dials,
            shares=_shares(session, found.support_snapshot_id),
            problem_of=problem_of,
        )
        gold = _gold(session, consultation_id)
        stored = session.execute(
            insert(Consensus)
            .values(
                consultation_id=consultation_id,
                source_id=found.source_id,
                snapshot_id=found.reviewers_snapshot_id,
                was_right=None if gold is None else right(conclusion.refined, gold),
                **as_columns(conclusion),
            )
            .on_conflict_do_nothing()
            .returning(Consensus.consultation_id)
        ).scalar_one_or_none()
        if stored is None:
            return True
        of_all = {
            "consultation_id": consultation_id,
            "source_id": found.source_id,
            "kind": found.kind,
            "purpose": found.purpose,
        }
        session.execute(
            insert(Interaction),
            [
                {**of_all, "latency_s": said.latencies[row["seat"]], **row}
                for row in history_rows(conclusion, answers, grades, gold)
            ],
        )
        state = "completed" if conclusion.rule is None else "needs_review"
        consultations.end(session, consultation_id, state, conclusion.rule)
        owed_answers.void_rest(session, consultation_id)
    return True


def _problem_of(
    ctx: Context, session: Session, document_id: uuid.UUID, answers: Sequence[uuid.UUID]
) -> ProblemOf | None:
    """What the safety rules know of the patient, and how each answer would give its drugs."""
    texts = ctx.vault.open_all(session, [document_id, *answers])
    if document_id not in texts:
        return None
    vignette = Vignette.model_validate_json(texts.pop(document_id))
    patient = patient_of(vignette, ctx.vault.site_key.digest("unknown drug"))
    orders = orders_of(vignette, map(Recommendation.model_validate_json, texts.values()))
    return lambda drugs, stopped: build(drugs, patient, ctx.knowledge, stopped=stopped, orders=orders)


def _shares(session: Session, snapshot_id: uuid.UUID | None) -> Shares | None:
    return None if snapshot_id is None else Shares.from_json(snapshots.by_id(session, snapshot_id).body)


def _gold(session: Session, consultation_id: uuid.UUID) -> Gold | None:
    """The newest outcome known by now, if any."""
    gold = session.execute(
        select(Outcome.gold)
        .where(Outcome.consultation_id == consultation_id)
        .order_by(Outcome.known_at.desc(), Outcome.id.desc())
        .limit(1)
    ).scalar_one_or_none()
    return None if gold is None else Gold.model_validate(gold)
