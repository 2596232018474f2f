"""The end of a consultation: the consensus, the history rows and the event, in one transaction, once."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.queries import consultations, owed_answers, snapshots
from db.tables import Consensus, Interaction, Outcome
from shared.consensus import Conclusion, Grade, SeatAnswer, as_detail, conclude_from, history_rows
from shared.flow import Conclude, next_step
from shared.memory import Memory
from shared.schemas import Gold
from workers.context import Context

# What the seats answered, in the order of the seats.
ANSWERS = text("""
    SELECT g.seat, g.occupancy, g.model_version_id, m.family, g.decision, g.starts, g.stops, g.latency_s
    FROM generations g
    JOIN model_versions m ON m.id = g.model_version_id
    JOIN owed_answers o ON o.id = g.owed_answer_id AND o.source_id = g.source_id AND o.state = 'answered'
    WHERE g.consultation_id = :id ORDER BY g.seat
""")

GRADES = text("""
    SELECT r.seat AS reviewer, g.seat AS item, r.grade
    FROM reviews r
    JOIN generations g ON g.id = r.generation_id AND g.source_id = r.source_id
    JOIN owed_answers o ON o.id = r.owed_answer_id AND o.source_id = r.source_id AND o.state = 'answered'
    WHERE r.consultation_id = :id ORDER BY r.seat, g.seat
""")


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
        answers, latencies = _answers(session, consultation_id)
        grades = [Grade(**row._mapping) for row in session.execute(GRADES, {"id": consultation_id})]
        memory = Memory.from_json(snapshots.by_id(session, found.reviewers_snapshot_id).body)
        conclusion = conclude_from(answers, grades, memory, kind=found.kind)
        stored = session.execute(
            insert(Consensus)
            .values(
                consultation_id=consultation_id,
                source_id=found.source_id,
                snapshot_id=found.reviewers_snapshot_id,
                **_columns(conclusion),
            )
            .on_conflict_do_nothing()
            .returning(Consensus.consultation_id)
        ).scalar_one_or_none()
        if stored is None:
            return True
        for row in history_rows(conclusion, answers, grades, _gold(session, consultation_id)):
            session.execute(
                insert(Interaction).values(
                    consultation_id=consultation_id,
                    source_id=found.source_id,
                    kind=found.kind,
                    purpose=found.purpose,
                    latency_s=latencies[row["seat"]],
                    **row,
                )
            )
        state = "completed" if conclusion.rule is None else "needs_review"
        consultations.end(session, consultation_id, state, conclusion.rule)
        owed_answers.void_rest(session, consultation_id)
    return True


def _answers(
    session: Session, consultation_id: uuid.UUID
) -> tuple[list[SeatAnswer], dict[int, float | None]]:
    answers, latencies = [], {}
    for row in session.execute(ANSWERS, {"id": consultation_id}):
        answers.append(
            SeatAnswer(
                seat=row.seat,
                occupancy=row.occupancy,
                model=str(row.model_version_id),
                family=row.family,
                decision=row.decision,
                start=frozenset(row.starts),
                stop=frozenset(row.stops),
            )
        )
        latencies[row.seat] = row.latency_s
    return answers, latencies


def _gold(session: Session, consultation_id: uuid.UUID) -> Gold | None:
    """The newest outcome known by now, if any."""
    gold = session.execute(
        select(Outcome.gold)
        .where(Outcome.consultation_id == consultation_id)
        .order_by(Outcome.known_at.desc())
        .limit(1)
    ).scalar_one_or_none()
    return None if gold is None else Gold.model_validate(gold)


def _columns(conclusion: Conclusion) -> dict[str, Any]:
    return {
        "form": conclusion.form,
        "grade": conclusion.grade,
        "variance": conclusion.variance,
        "agreement": conclusion.agreement,
        "confidence": conclusion.confidence,
        "rule": conclusion.rule,
        "highest_graded": list(conclusion.highest_graded),
        "majority": list(conclusion.majority),
        "refined": list(conclusion.refined),
        "stops": list(conclusion.stops),
        "minority": list(conclusion.minority),
        "support": dict(conclusion.support),
        "detail": as_detail(conclusion),
    }
