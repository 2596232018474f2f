"""The work on one vignette: consultations, seats, owed answers with their claims, and calls to models."""

import uuid
from decimal import Decimal

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Numeric,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, Id, Json, Moment, Now, Slug, SourceId, belongs_to, one_of


class ModelVersion(Base):
    """One version of one model. `returned` is NULL until a call has told what the name stands for."""

    __tablename__ = "model_versions"

    id: Mapped[Id]
    provider: Mapped[str] = mapped_column(String(100))
    name: Mapped[str] = mapped_column(String(200))  # its name in models.toml
    returned: Mapped[str | None] = mapped_column(String(200))  # name or fingerprint in the answers
    parameters_digest: Mapped[str] = mapped_column(String(64))
    family: Mapped[str] = mapped_column(String(100))
    location: Mapped[Slug]
    simulated: Mapped[bool]
    predecessor_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("model_versions.id"))
    first_seen_at: Mapped[Now]

    __table_args__ = (
        one_of("location", "remote", "local"),
        UniqueConstraint(
            "provider", "name", "returned", "parameters_digest", postgresql_nulls_not_distinct=True
        ),
    )


class Prompt(Base):
    """A prompt template with its output schema; the id is the digest of both."""

    __tablename__ = "prompts"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[Slug]
    name: Mapped[str] = mapped_column(String(100))
    template: Mapped[str] = mapped_column(Text)
    output_schema: Mapped[Json]
    first_used_at: Mapped[Now]


class Consultation(Base):
    """The work on one vignette by one ensemble; all that it depends on is fixed when it is accepted."""

    __tablename__ = "consultations"

    id: Mapped[Id]
    source_id: Mapped[SourceId]
    submission_id: Mapped[uuid.UUID]
    record_id: Mapped[uuid.UUID]
    document_id: Mapped[uuid.UUID]  # the sealed vignette
    vignette_digest: Mapped[bytes]  # keyed: tells whether two consultations read the same vignette
    kind: Mapped[Slug]
    purpose: Mapped[Slug]
    priority: Mapped[int] = mapped_column(SmallInteger)  # 0 urgent, 1 routine, 2 background

    protocol: Mapped[Slug]
    strategy: Mapped[Slug]
    n: Mapped[int] = mapped_column(SmallInteger)
    seed: Mapped[int] = mapped_column(BigInteger)
    draw_probability: Mapped[float | None]
    allowed: Mapped[list[str]] = mapped_column(ARRAY(Text))
    explored: Mapped[bool]
    generate_prompt_id: Mapped[str] = mapped_column(ForeignKey("prompts.id"))
    review_prompt_id: Mapped[str] = mapped_column(ForeignKey("prompts.id"))
    settings_digest: Mapped[str] = mapped_column(String(64))
    reviewers_snapshot_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("snapshots.id"))
    chemistry_snapshot_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("snapshots.id"))
    calibration_snapshot_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("snapshots.id"))
    support_snapshot_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("snapshots.id"))
    stall_s: Mapped[float]  # longest lease of its seats + slack

    state: Mapped[Slug] = mapped_column(server_default="open")
    stage: Mapped[Slug] = mapped_column(server_default="waiting")
    reason: Mapped[str | None] = mapped_column(String(60))
    held: Mapped[str | None] = mapped_column(String(60))
    accepted_at: Mapped[Now]
    deadline_at: Mapped[Moment | None]
    dispatched_at: Mapped[Moment | None]
    progressed_at: Mapped[Moment | None]
    next_resume_at: Mapped[Now]
    flagged: Mapped[bool] = mapped_column(server_default=text("false"))  # go on now, whatever the clocks say
    sent_at: Mapped[Moment | None]  # when its canvas was last sent to the broker
    resumes: Mapped[int] = mapped_column(server_default=text("0"))
    # resumes in a row that were consumed and brought no answer: too many end it as `no_progress`
    fruitless: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    requeues: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    expected_usd: Mapped[Decimal | None] = mapped_column(Numeric(14, 8))  # NULL: a price is not known
    spent_usd: Mapped[Decimal] = mapped_column(Numeric(14, 8), server_default=text("0"))  # of known costs
    ended_at: Mapped[Moment | None]
    discarded_at: Mapped[Moment | None]  # failed, and no longer among the dead letters

    __table_args__ = (
        belongs_to("submissions", "submission_id"),
        belongs_to("records", "record_id"),
        belongs_to("clinical_documents", "document_id"),
        UniqueConstraint("record_id", "source_id"),
        one_of("state", "open", "completed", "needs_review", "failed", "cancelled"),
        one_of("stage", "waiting", "generating", "reviewing", "concluding", "ended"),
        CheckConstraint("(state = 'open') = (ended_at IS NULL)", name="ended_if_not_open"),
        CheckConstraint("priority BETWEEN 0 AND 2", name="priority"),
        # small whatever the history: the sweep and the dispatcher read only these
        Index(
            "ix_consultations__waiting",
            "source_id",
            "priority",
            "accepted_at",
            postgresql_where=text("state = 'open' AND dispatched_at IS NULL AND held IS NULL"),
        ),
        Index("ix_consultations__deadline", "deadline_at", postgresql_where=text("state = 'open'")),
        Index(
            "ix_consultations__dead_letters",
            "ended_at",
            postgresql_where=text("state = 'failed' AND discarded_at IS NULL"),
        ),
        CheckConstraint("discarded_at IS NULL OR state = 'failed'", name="discarded_is_failed"),
        Index(
            "ix_consultations__due",
            "next_resume_at",
            postgresql_where=text("state = 'open' AND dispatched_at IS NOT NULL"),
        ),
        Index("ix_consultations__submission", "submission_id", "state"),
    )


class Seat(Base):
    """One occupancy of one seat: who holds it, first, second, …"""

    __tablename__ = "seats"

    consultation_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    source_id: Mapped[SourceId]
    seat: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    occupancy: Mapped[int] = mapped_column(SmallInteger, primary_key=True, server_default=text("1"))
    model_version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("model_versions.id"))
    since: Mapped[Now]
    left_because: Mapped[str | None] = mapped_column(String(60))

    __table_args__ = (belongs_to("consultations", "consultation_id"),)


class OwedAnswer(Base):
    """One generation or review that is needed, and the claim of whoever works on it.

    Narrow, and its claim columns are in no index, so that a claim is a HOT update.
    """

    __tablename__ = "owed_answers"

    id: Mapped[Id]
    source_id: Mapped[SourceId]
    consultation_id: Mapped[uuid.UUID]
    kind: Mapped[Slug]
    round: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    seat: Mapped[int] = mapped_column(SmallInteger)
    occupancy: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    about: Mapped[uuid.UUID | None]  # the generation under review
    model_version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("model_versions.id"))
    prompt_id: Mapped[str] = mapped_column(ForeignKey("prompts.id"))

    state: Mapped[Slug] = mapped_column(server_default="owed")
    holder: Mapped[str | None] = mapped_column(String(200))
    claimed_until: Mapped[Moment | None]  # past and not NULL: that lease ran out without any outcome
    not_before: Mapped[Moment | None]
    limited_since: Mapped[Moment | None]  # first of the rate limits in a row
    away_since: Mapped[Moment | None]  # since when its model has been open or paused
    claims: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    tries: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    crashes: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    raw_id: Mapped[uuid.UUID | None]  # the stored raw answer that is still to be read
    repair_of: Mapped[uuid.UUID | None]  # an unreadable raw answer: the next call asks to repair it
    answer_id: Mapped[uuid.UUID | None]
    reason: Mapped[str | None] = mapped_column(String(60))  # why excused, or the last error

    __table_args__ = (
        belongs_to("consultations", "consultation_id"),
        belongs_to("generations", "about"),
        belongs_to("clinical_documents", "raw_id"),
        one_of("kind", "generation", "review"),
        one_of("state", "owed", "answered", "excused", "void"),
        CheckConstraint("(kind = 'review') = (about IS NOT NULL)", name="review_is_about"),
        CheckConstraint("(state = 'answered') = (answer_id IS NOT NULL)", name="answered_has_answer"),
        UniqueConstraint(
            "consultation_id",
            "kind",
            "round",
            "seat",
            "occupancy",
            "about",
            name="uq_owed_answers__key",
            postgresql_nulls_not_distinct=True,
        ),
        # what a restarted worker's former self may still hold, without reading the history
        Index("ix_owed_answers__owed", "consultation_id", postgresql_where=text("state = 'owed'")),
        {"postgresql_with": {"fillfactor": "80"}},
    )


class ModelCall(Base):
    """Every attempt: made when the claim is, closed with its outcome, tokens and cost."""

    __tablename__ = "model_calls"

    owed_answer_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    source_id: Mapped[SourceId]
    claim: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    model_version_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("model_versions.id"))
    started_at: Mapped[Now]
    ended_at: Mapped[Moment | None]
    outcome: Mapped[Slug | None]  # NULL while it is open
    error_kind: Mapped[str | None] = mapped_column(String(60))
    status: Mapped[int | None] = mapped_column(SmallInteger)  # HTTP
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    cost_usd: Mapped[Decimal | None] = mapped_column(Numeric(14, 8))  # NULL: not known
    # how many places of its messages were masked; NULL: not masked, not sent, or its process died
    masked: Mapped[int | None]

    __table_args__ = (
        belongs_to("owed_answers", "owed_answer_id"),
        # lost: its process died; given_up: closed by us at shutdown; late: answered after the lease was gone;
        # unsent: the claim read a stored answer, or ended before the request was made
        one_of("outcome", "answered", "failed", "lost", "given_up", "late", "unsent"),
        CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name="ended_with_outcome"),
        Index("ix_model_calls__open", "started_at", postgresql_where=text("outcome IS NULL")),
        # rows come in time's order: what was called lately is read without the history
        Index("ix_model_calls__recent", "started_at", postgresql_using="brin"),
    )
