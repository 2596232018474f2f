"""What a conclusion is made from, and the conclusions as they are stored: for concluding and for replay."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.calibration import Calibrator
from shared.consensus import Grade, SeatAnswer, dials_of
from shared.refinement import Dials, Problem
from shared.support import Shares

# Both are asked for one consultation (concluding) and for hundreds (replay). Consultation by consultation, by
# index: a plan that is to serve any number of ids reads small tables whole.

# What the seats answered, in the order of the seats.
ANSWERS = text("""
    SELECT said.*
    FROM unnest(CAST(:ids AS uuid[])) AS asked (id)
    CROSS JOIN LATERAL (
        SELECT g.consultation_id, g.seat, g.occupancy, g.model_version_id, m.family, g.decision, g.starts,
               g.stops, g.latency_s, g.document_id
        FROM generations g
        JOIN model_versions m ON m.id = g.model_version_id
        JOIN owed_answers o ON o.id = g.owed_answer_id AND o.source_id = g.source_id AND o.state = 'answered'
        WHERE g.consultation_id = asked.id
        OFFSET 0
    ) said
    ORDER BY said.consultation_id, said.seat
""")

GRADES = text("""
    SELECT given.*
    FROM unnest(CAST(:ids AS uuid[])) AS asked (id)
    CROSS JOIN LATERAL (
        SELECT r.consultation_id, r.seat AS reviewer, g.seat AS item, r.grade
        FROM reviews r
        JOIN generations g ON g.id = r.generation_id AND g.source_id = r.source_id
        JOIN owed_answers o ON o.id = r.owed_answer_id AND o.source_id = r.source_id AND o.state = 'answered'
        WHERE r.consultation_id = asked.id
        OFFSET 0
    ) given
    ORDER BY given.consultation_id, given.reviewer, given.item
""")

CALIBRATION = text("""
    SELECT n.body FROM consultations c JOIN snapshots n ON n.id = c.calibration_snapshot_id WHERE c.id = :id
""")

BODY = text("SELECT body FROM snapshots WHERE id = :id")

MEMORY = text("SELECT id FROM snapshots WHERE kind = 'reviewers' AND number = :number")

# A submission's conclusions in the order of its records. `purged`: an answer's text can no longer be read.
STORED = text("""
    SELECT c.id, r.line, c.kind, k.snapshot_id, c.calibration_snapshot_id, c.support_snapshot_id, k.form,
           k.grade, k.variance, k.agreement, k.confidence, k.rule, k.highest_graded, k.majority, k.refined,
           k.stops, k.minority, k.support, k.method, k.findings, k.trace, k.refinement, k.detail,
           EXISTS (SELECT FROM generations g
                   JOIN clinical_documents d ON d.id = g.document_id AND d.source_id = g.source_id
                   WHERE g.consultation_id = c.id AND g.source_id = c.source_id AND d.key_id IS NULL
           ) AS purged
    FROM consultations c
    JOIN records r ON r.id = c.record_id AND r.source_id = c.source_id
    JOIN consensus k ON k.consultation_id = c.id AND k.source_id = c.source_id
    WHERE c.submission_id = :submission
    ORDER BY r.ordinal
""")


GAMMA_BEFORE = 1.0
"""γ of every conclusion that was stored before lists were refined."""


@dataclass(frozen=True)
class Evidence:
    """What was said in one consultation; latencies in seconds by seat."""

    answers: list[SeatAnswer] = field(default_factory=list)
    grades: list[Grade] = field(default_factory=list)
    latencies: dict[int, float | None] = field(default_factory=dict)
    documents: list[uuid.UUID] = field(default_factory=list)  # the answers' sealed texts


@dataclass(frozen=True)
class StoredConclusion:
    """A conclusion as it lies in the database; `columns` as `shared.consensus.as_columns` gives them."""

    consultation_id: uuid.UUID
    line: int
    kind: str
    reviewers_snapshot_id: uuid.UUID
    calibration_snapshot_id: uuid.UUID | None
    support_snapshot_id: uuid.UUID | None
    purged: bool
    columns: dict[str, Any]

    @cached_property
    def problem(self) -> Problem | None:
        """What was refined; None where nothing was."""
        stored = self.columns["refinement"]
        return None if stored is None else Problem.from_json(stored["problem"])

    @property
    def dials(self) -> tuple[Dials, float | None]:
        """The dials and γ it was concluded with."""
        stored = self.columns["refinement"]
        return dials_of({"grade": GAMMA_BEFORE} if stored is None else stored["dials"])


def evidence(session: Session, consultation_ids: Sequence[uuid.UUID]) -> list[Evidence]:
    """What was said in these consultations, in their order."""
    found = {id_: Evidence() for id_ in consultation_ids}
    for row in session.execute(ANSWERS, {"ids": list(found)}):
        one = found[row.consultation_id]
        one.answers.append(
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
        one.latencies[row.seat] = row.latency_s
        one.documents.append(row.document_id)
    for row in session.execute(GRADES, {"ids": list(found)}):
        found[row.consultation_id].grades.append(Grade(row.reviewer, row.item, row.grade))
    return list(found.values())


def calibrator(session: Session, consultation_id: uuid.UUID) -> Calibrator | None:
    """The calibrator that was fixed when the consultation was accepted, if there was one."""
    body = session.execute(CALIBRATION, {"id": consultation_id}).scalar_one_or_none()
    return None if body is None else Calibrator.from_json(body)


def shares(session: Session, snapshot_id: uuid.UUID | None) -> Shares | None:
    """How often what each model names belongs, as a support snapshot tells; None without one."""
    if snapshot_id is None:
        return None
    return Shares.from_json(session.execute(BODY, {"id": snapshot_id}).scalar_one())


def memory_numbered(session: Session, number: int) -> uuid.UUID | None:
    """The snapshot of the reviewers' memory with this number, if there is one."""
    found: uuid.UUID | None = session.execute(MEMORY, {"number": number}).scalar_one_or_none()
    return found


def stored(session: Session, submission_id: uuid.UUID) -> list[StoredConclusion]:
    """A submission's conclusions, in the order of its records."""
    own = {"id", "line", "kind", "snapshot_id", "calibration_snapshot_id", "support_snapshot_id", "purged"}
    return [
        StoredConclusion(
            consultation_id=row.id,
            line=row.line,
            kind=row.kind,
            reviewers_snapshot_id=row.snapshot_id,
            calibration_snapshot_id=row.calibration_snapshot_id,
            support_snapshot_id=row.support_snapshot_id,
            purged=row.purged,
            columns={name: value for name, value in row._mapping.items() if name not in own},
        )
        for row in session.execute(STORED, {"submission": submission_id})
    ]
