"""What running it needs: outbox events, workers, periodic runs, audit."""

from __future__ import annotations

import uuid

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Identity, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, Moment, Now, Slug, belongs_to, one_of


class OutboxEvent(Base):
    """An event written in the transaction that made it true, delivered afterwards; ids only."""

    __tablename__ = "outbox_events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    source_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("sources.id"))
    submission_id: Mapped[uuid.UUID]
    consultation_id: Mapped[uuid.UUID | None]  # NULL: about the submission
    type: Mapped[Slug]
    created_at: Mapped[Now]
    delivered_at: Mapped[Moment | None]

    __table_args__ = (
        belongs_to("submissions", "submission_id"),
        belongs_to("consultations", "consultation_id"),
        one_of(
            "type",
            "consultation.completed",
            "consultation.needs_review",
            "consultation.failed",
            "submission.finished",
        ),
        UniqueConstraint(
            "source_id", "submission_id", "consultation_id", "type", postgresql_nulls_not_distinct=True
        ),
        Index("ix_outbox_events__undelivered", "id", postgresql_where=text("delivered_at IS NULL")),
    )


class Worker(Base):
    """A worker process that has registered; `boot_id` tells a restarted one from its former self."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    boot_id: Mapped[uuid.UUID]
    pid: Mapped[int]
    queues: Mapped[list[str]] = mapped_column(ARRAY(Text))
    started_at: Mapped[Now]
    seen_at: Mapped[Now]
    stopped_at: Mapped[Moment | None]


class PeriodicRun(Base):
    """One run of a periodic job for one period: the key makes two beats harmless."""

    __tablename__ = "periodic_runs"

    job: Mapped[str] = mapped_column(String(60), primary_key=True)
    period: Mapped[int] = mapped_column(BigInteger, primary_key=True)  # unix time // interval
    started_at: Mapped[Now]
    finished_at: Mapped[Moment | None]
    result: Mapped[str | None] = mapped_column(String(60))


class Audit(Base):
    """Who did what to which thing, when; append-only by trigger."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[Now]
    source_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("sources.id"))  # NULL: about the site
    who: Mapped[str] = mapped_column(String(100))
    what: Mapped[Slug]
    which: Mapped[str] = mapped_column(String(100))
