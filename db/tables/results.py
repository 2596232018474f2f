"""What came of it: generations, reviews, consensus, outcomes, interactions, snapshots."""

import uuid
from typing import Any

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    ForeignKey,
    Index,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, Codes, Id, Json, Moment, Now, Slug, SourceId, belongs_to, one_of


class Generation(Base):
    """What a seat's occupant answered: ingredient codes here, its words in the sealed documents."""

    __tablename__ = "generations"

    id: Mapped[Id]
    source_id: Mapped[SourceId]
    consultation_id: Mapped[uuid.UUID]
    owed_answer_id: Mapped[uuid.UUID]
    seat: Mapped[int] = mapped_column(SmallInteger)
    occupancy: Mapped[int] = mapped_column(SmallInteger)
    model_version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("model_versions.id"))  # as returned
    raw_document_id: Mapped[uuid.UUID]
    document_id: Mapped[uuid.UUID]  # as read: the list with doses, and the rationale
    decision: Mapped[Slug]
    starts: Mapped[Codes]
    stops: Mapped[Codes]
    latency_s: Mapped[float | None]
    created_at: Mapped[Now]

    __table_args__ = (
        belongs_to("consultations", "consultation_id"),
        belongs_to("owed_answers", "owed_answer_id", use_alter=True),  # which refers to us: `about`
        one_of("decision", "recommend", "no_medication", "defer"),
        UniqueConstraint("owed_answer_id", "source_id"),
        Index("ix_generations__consultation", "consultation_id"),
    )


class Review(Base):
    """One occupant's grade of another's generation, with the label and position it was shown under."""

    __tablename__ = "reviews"

    id: Mapped[Id]
    source_id: Mapped[SourceId]
    consultation_id: Mapped[uuid.UUID]
    owed_answer_id: Mapped[uuid.UUID]
    generation_id: Mapped[uuid.UUID]
    seat: Mapped[int] = mapped_column(SmallInteger)  # the reviewer's
    occupancy: Mapped[int] = mapped_column(SmallInteger)
    model_version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("model_versions.id"))  # as returned
    raw_document_id: Mapped[uuid.UUID]
    document_id: Mapped[uuid.UUID]  # the critique
    grade: Mapped[float]
    label: Mapped[str] = mapped_column(String(2))
    position: Mapped[int] = mapped_column(SmallInteger)
    scrubbed: Mapped[int] = mapped_column(SmallInteger)  # phrases taken out of what the reviewer saw
    shown_characters: Mapped[int | None]  # length of the answer as it was shown
    latency_s: Mapped[float | None]
    created_at: Mapped[Now]

    __table_args__ = (
        belongs_to("consultations", "consultation_id"),
        belongs_to("owed_answers", "owed_answer_id"),
        belongs_to("generations", "generation_id"),
        CheckConstraint("grade BETWEEN 0 AND 1", name="grade"),
        UniqueConstraint("owed_answer_id", "source_id"),
        Index("ix_reviews__consultation", "consultation_id"),
        Index("ix_reviews__created_at", "created_at"),
    )


class Consensus(Base):
    """The one conclusion of a consultation."""

    __tablename__ = "consensus"

    consultation_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    source_id: Mapped[SourceId]
    form: Mapped[str] = mapped_column(String(60))
    snapshot_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("snapshots.id"))
    grade: Mapped[float | None]  # of the highest-graded answer, in [0, 1]
    variance: Mapped[float | None]
    agreement: Mapped[float | None]  # mean pairwise Jaccard of the seats' lists, in [0, 1]
    confidence: Mapped[float | None]  # P(right), calibrated; NULL: not known
    rule: Mapped[str | None] = mapped_column(String(60))  # why a person must look
    highest_graded: Mapped[Codes]
    majority: Mapped[Codes]
    refined: Mapped[Codes]
    stops: Mapped[Codes]
    minority: Mapped[Codes]
    support: Mapped[dict[str, float]] = mapped_column(JSONB)  # ingredient → P(belongs) in [0, 1]
    method: Mapped[str | None] = mapped_column(String(40))  # exact, climbed; NULL: was not refined
    # what remains with the refined list; edits from the majority to it; problem, dials and utility
    findings: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'"))
    trace: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'"))
    refinement: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    detail: Mapped[Json]  # grades per seat, reviewers, as shared.consensus gives them
    was_right: Mapped[bool | None]  # the refined list by the newest outcome; NULL: there is none
    concluded_at: Mapped[Now]

    __table_args__ = (belongs_to("consultations", "consultation_id"),)


class Outcome(Base):
    """What is known to be right afterwards; append-only."""

    __tablename__ = "outcomes"

    id: Mapped[Id]
    source_id: Mapped[SourceId]
    consultation_id: Mapped[uuid.UUID]
    kind: Mapped[Slug]
    definition: Mapped[Slug]  # of "right", e.g. list-1
    gold: Mapped[Json]  # ingredient codes
    decision: Mapped[Slug | None]  # of the clinician on what was proposed; NULL: was not told
    known_at: Mapped[Now]

    __table_args__ = (
        belongs_to("consultations", "consultation_id"),
        one_of("kind", "gold", "clinician", "imported"),
        one_of("decision", "accepted", "edited", "rejected"),
        Index("ix_outcomes__consultation", "consultation_id"),
    )


class Interaction(Base):
    """One row of history for (consultation, seat, occupancy): the parts of accuracy, never the mixture."""

    __tablename__ = "interactions"

    consultation_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    source_id: Mapped[SourceId]
    seat: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    occupancy: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    model_version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("model_versions.id"))
    kind: Mapped[Slug]
    purpose: Mapped[Slug]
    latency_s: Mapped[float | None]  # of its generation
    quality: Mapped[float | None]  # 0…10: ten times the consensus grade of its answer
    variance: Mapped[float | None]  # of the seat as a reviewer
    generation_accuracy: Mapped[float | None]  # NULL without an outcome
    review_accuracy: Mapped[float | None]  # NULL where it cannot be told
    created_at: Mapped[Now]

    __table_args__ = (
        belongs_to("consultations", "consultation_id"),
        Index("ix_interactions__kind", "kind", "created_at"),
    )


class Snapshot(Base):
    """What was learned from history at one time: immutable and numbered. Number 0 knows nothing.

    `site` is in force for whatever is accepted; an evaluation's own is for that evaluation alone.
    """

    __tablename__ = "snapshots"

    id: Mapped[Id]
    kind: Mapped[Slug]
    number: Mapped[int]
    scope: Mapped[str] = mapped_column(String(60), server_default="site")
    form: Mapped[Slug]
    parameters: Mapped[Json]
    purposes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    span_from: Mapped[Moment | None]
    span_to: Mapped[Moment | None]
    rows_read: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64))  # of its input
    body: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[Now]

    __table_args__ = (
        one_of("kind", "reviewers", "chemistry", "calibration", "support"),
        UniqueConstraint("kind", "number"),
    )
