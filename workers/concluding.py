"""The end of a consultation: the consensus, the history rows and the event, in one transaction, once."""

from __future__ import annotations

import uuid

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.queries import conclusions, consultations, owed_answers, snapshots
from db.tables import Consensus, Interaction, Outcome
from shared.consensus import as_columns, conclude_from, history_rows
from shared.flow import Conclude, next_step
from shared.measures import right
from shared.memory import Memory
from shared.schemas import Gold
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
        conclusion = conclude_from(answers, grades, memory, kind=found.kind, calibrator=calibrator)
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
        for row in history_rows(conclusion, answers, grades, gold):
            session.execute(
                insert(Interaction).values(
                    consultation_id=consultation_id,
                    source_id=found.source_id,
                    kind=found.kind,
                    purpose=found.purpose,
                    latency_s=said.latencies[row["seat"]],
                    **row,
                )
            )
        state = "completed" if conclusion.rule is None else "needs_review"
        consultations.end(session, consultation_id, state, conclusion.rule)
        owed_answers.void_rest(session, consultation_id)
    return True


def _gold(session: Session, consultation_id: uuid.UUID) -> Gold | None:
    """The newest outcome known by now, if any."""
    gold = session.execute(
        select(Outcome.gold)
        .where(Outcome.consultation_id == consultation_id)
        .order_by(Outcome.known_at.desc(), Outcome.id.desc())
        .limit(1)
    ).scalar_one_or_none()
    return None if gold is None else Gold.model_validate(gold)
