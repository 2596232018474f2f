"""Evaluations: what was asked and frozen, its submissions, how far they are, and whether anything leaked."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.ids import new_id
from db.tables import Evaluation, EvaluationArm
from shared.frozen import Frozen

BY_DIGEST = text("SELECT * FROM evaluations WHERE digest = :digest")
BY_ID = text("SELECT * FROM evaluations WHERE id = :id")

# Once: what chose and calibrated does not change while an evaluation goes on.
FREEZE = text("""
    UPDATE evaluations
    SET reviewers_snapshot_id = :reviewers_snapshot_id, chemistry_snapshot_id = :chemistry_snapshot_id,
        calibration_snapshot_id = :calibration_snapshot_id,
        support_snapshot_id = :support_snapshot_id, frozen_at = now()
    WHERE id = :id AND frozen_at IS NULL
""")

FINISH = text("UPDATE evaluations SET finished_at = now() WHERE id = :id AND finished_at IS NULL")

ARMS = text("""
    SELECT arm, repeat, submission_id FROM evaluation_arms WHERE evaluation_id = :id ORDER BY repeat, arm
""")

PROGRESS = text("""
    SELECT count(*) AS accepted, count(*) FILTER (WHERE state <> 'open') AS ended
    FROM consultations WHERE submission_id = ANY(:ids)
""")

# Vignettes of the test that a snapshot was made from: by the submissions of its own training, else by the
# purposes it has read. What was accepted before it was made counts, whether or not it had ended by then.
OVERLAP = text("""
    SELECT count(DISTINCT c.vignette_digest)
    FROM snapshots s
    JOIN consultations c ON c.accepted_at <= s.created_at
        AND CASE WHEN s.scope = 'site' THEN c.purpose = ANY(s.purposes)
                 ELSE c.submission_id = ANY(:training) END
    WHERE s.id = ANY(:snapshots) AND c.vignette_digest = ANY(:digests)
""")

NUMBERS = text("SELECT kind, number FROM snapshots WHERE id = ANY(:ids)")

SIMULATED = text("""
    SELECT bool_or(m.simulated)
    FROM consultations c
    JOIN seats s ON s.consultation_id = c.id AND s.source_id = c.source_id
    JOIN model_versions m ON m.id = s.model_version_id
    WHERE c.submission_id = ANY(:ids)
""")


def opened(session: Session, digest: str, spec: dict[str, Any]) -> dict[str, Any]:
    """The evaluation of that digest, made if it is new; its columns."""
    values = {"id": new_id(), "digest": digest, "spec": spec}
    session.execute(insert(Evaluation).values(**values).on_conflict_do_nothing(index_elements=["digest"]))
    return dict(session.execute(BY_DIGEST, {"digest": digest}).one()._mapping)


def by_id(session: Session, evaluation_id: uuid.UUID) -> dict[str, Any]:
    """One evaluation that is there; its columns."""
    return dict(session.execute(BY_ID, {"id": evaluation_id}).one()._mapping)


def freeze(session: Session, evaluation_id: uuid.UUID, frozen: Frozen) -> None:
    """Fix what chooses and calibrates; the first time stands."""
    session.execute(FREEZE, {"id": evaluation_id, **asdict(frozen)})


def finish(session: Session, evaluation_id: uuid.UUID) -> None:
    """All has ended; the first time stands."""
    session.execute(FINISH, {"id": evaluation_id})


def add_arm(
    session: Session,
    evaluation_id: uuid.UUID,
    arm: str,
    repeat: int,
    *,
    source_id: uuid.UUID,
    submission_id: uuid.UUID,
) -> None:
    """Remember whose submission it is; nothing changes the second time."""
    statement = insert(EvaluationArm).values(
        evaluation_id=evaluation_id, arm=arm, repeat=repeat, source_id=source_id, submission_id=submission_id
    )
    session.execute(statement.on_conflict_do_nothing())


def submissions(session: Session, evaluation_id: uuid.UUID) -> dict[tuple[str, int], uuid.UUID]:
    """(arm, repeat) → its submission, training among them."""
    rows = session.execute(ARMS, {"id": evaluation_id})
    return {(row.arm, row.repeat): row.submission_id for row in rows}


def progress(session: Session, ids: Sequence[uuid.UUID]) -> tuple[int, int]:
    """Consultations accepted and ended in these submissions."""
    row = session.execute(PROGRESS, {"ids": list(ids)}).one()
    return row.accepted, row.ended


def overlap(session: Session, frozen: Frozen, training: Sequence[uuid.UUID], digests: Sequence[bytes]) -> int:
    """How many vignettes (by keyed digest) any of the frozen snapshots may have been made from."""
    values = {"snapshots": _ids(frozen), "training": list(training), "digests": list(digests)}
    found: int = session.execute(OVERLAP, values).scalar_one()
    return found


def numbers(session: Session, frozen: Frozen) -> dict[str, int | None]:
    """The frozen snapshots' numbers by kind; None where there is none."""
    found = {row.kind: row.number for row in session.execute(NUMBERS, {"ids": _ids(frozen)})}
    return {kind: found.get(kind) for kind in ("reviewers", "chemistry", "calibration", "support")}


def simulated(session: Session, ids: Sequence[uuid.UUID]) -> bool | None:
    """Whether any model seated in these submissions is simulated; None where nobody sits."""
    found: bool | None = session.execute(SIMULATED, {"ids": list(ids)}).scalar_one()
    return found


def _ids(frozen: Frozen) -> list[uuid.UUID]:
    return [snapshot for snapshot in asdict(frozen).values() if snapshot is not None]
