"""What choosing and evaluating need: imported histories, choices as they were made, evaluations."""

import uuid

from sqlalchemy import ARRAY, ForeignKey, Index, SmallInteger, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, Id, Json, Moment, Now, Slug, SourceId, belongs_to


class HistoryImport(Base):
    """One file of history that came from elsewhere. Its rows are numbers; no text is kept."""

    __tablename__ = "history_imports"

    id: Mapped[Id]
    origin: Mapped[str] = mapped_column(String(100))  # whose history it is: chosen by whoever imports
    digest: Mapped[str] = mapped_column(String(64), unique=True)  # SHA-256 of the file, uncompressed
    rows: Mapped[int]
    set_aside: Mapped[int]
    imported_at: Mapped[Now]


class HistorySetAside(Base):
    """A row of an imported file that could not be read: where, and why. The row itself stays in the file."""

    __tablename__ = "history_set_aside"

    import_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("history_imports.id", ondelete="CASCADE"), primary_key=True
    )
    line: Mapped[int] = mapped_column(primary_key=True)  # 1-based, where the record begins
    reason: Mapped[str] = mapped_column(String(300))  # our words, never the value


class ImportedInteraction(Base):
    """One row of history from elsewhere: purpose `imported`, kept apart by origin and kind of task.

    `place` counts the rows of a trial in the file's order, so a file that has grown adds only what is new.
    """

    __tablename__ = "imported_interactions"

    origin: Mapped[str] = mapped_column(String(100), primary_key=True)
    trial: Mapped[str] = mapped_column(String(200), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    import_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("history_imports.id", ondelete="CASCADE"))
    kind: Mapped[Slug]
    task: Mapped[str] = mapped_column(String(300))  # as the file names it
    model: Mapped[str] = mapped_column(String(200))
    item: Mapped[str] = mapped_column(String(60))  # the answer's id within the trial
    question: Mapped[str | None] = mapped_column(String(64))  # digest of what was asked, where it can be told
    latency_s: Mapped[float | None]
    temperature: Mapped[float | None]
    quality: Mapped[float | None]
    generation_accuracy: Mapped[float | None]
    variance: Mapped[float | None]
    review_accuracy: Mapped[float | None]
    accuracy: Mapped[float | None]  # the mixture as the file gives it
    elapsed: Mapped[str | None] = mapped_column(String(60))
    strategy: Mapped[str] = mapped_column(String(60))
    created: Mapped[Moment | None]  # as the file gives it; without a zone it is read as UTC

    __table_args__ = (Index("ix_imported_interactions__kind", "origin", "kind"),)


class Choice(Base):
    """Who was chosen for one kind of task of one submission, why, and what was promised."""

    __tablename__ = "choices"

    submission_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    source_id: Mapped[SourceId]
    kind: Mapped[Slug] = mapped_column(primary_key=True)
    strategy: Mapped[Slug]  # as drawn: RANDOM where there was no history
    snapshot_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("snapshots.id"))
    models: Mapped[list[str]] = mapped_column(ARRAY(Text))
    basis: Mapped[str | None] = mapped_column(String(20))
    promised: Mapped[float | None]  # on the basis' scale, in [0, 1]
    promised_se: Mapped[float | None]
    detail: Mapped[Json]  # the parts of the score, near-equals, dials

    __table_args__ = (belongs_to("submissions", "submission_id"),)


class Evaluation(Base):
    """One evaluation: what was asked, and what was frozen before it began."""

    __tablename__ = "evaluations"

    id: Mapped[Id]
    digest: Mapped[str] = mapped_column(String(64), unique=True)  # of what was asked: the same goes on
    spec: Mapped[Json]  # names, numbers and digests, no text
    reviewers_snapshot_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("snapshots.id"))
    chemistry_snapshot_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("snapshots.id"))
    calibration_snapshot_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("snapshots.id"))
    support_snapshot_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("snapshots.id"))
    started_at: Mapped[Now]
    frozen_at: Mapped[Moment | None]
    finished_at: Mapped[Moment | None]


class EvaluationArm(Base):
    """One way to answer the vignettes, once through all of them: a submission of the evaluation."""

    __tablename__ = "evaluation_arms"

    evaluation_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("evaluations.id"), primary_key=True)
    arm: Mapped[str] = mapped_column(String(100), primary_key=True)
    repeat: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    source_id: Mapped[uuid.UUID]
    submission_id: Mapped[uuid.UUID]

    __table_args__ = (
        belongs_to("submissions", "submission_id"),
        UniqueConstraint("submission_id"),
    )
