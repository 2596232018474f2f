"""What running it needs: outbox events, workers, periodic runs, audit."""

import uuid

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, Moment, Now, Slug, belongs_to, one_of


class OutboxEvent(Base):
    """An event written in the transaction that made it true, delivered afterwards; ids only.

    `id` is the order. It starts again after a restore, so whoever must not take one event twice goes by
    `event_id`.
    """

    __tablename__ = "outbox_events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    event_id: Mapped[uuid.UUID] = mapped_column(server_default=text("gen_random_uuid()"))
    source_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("sources.id"))
    submission_id: Mapped[uuid.UUID]
    consultation_id: Mapped[uuid.UUID | None]  # NULL: about the submission
    type: Mapped[Slug]
    times: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))  # requeued so often before
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
            "consultation.cancelled",
            "submission.finished",
        ),
        UniqueConstraint(
            "submission_id",
            "consultation_id",
            "type",
            "times",
            "source_id",
            name="uq_outbox_events__once",
            postgresql_nulls_not_distinct=True,
        ),
        UniqueConstraint("event_id"),
        UniqueConstraint("id", "source_id"),
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
    slots: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    seen_at: Mapped[Now]
    consumed_at: Mapped[Now]  # when it last took a message from the broker
    stopped_at: Mapped[Moment | None]


class PeriodicRun(Base):
    """One run of a periodic job for one period: the key makes two beats harmless."""

    __tablename__ = "periodic_runs"

    job: Mapped[str] = mapped_column(String(60), primary_key=True)
    period: Mapped[int] = mapped_column(BigInteger, primary_key=True)  # unix time // interval
    started_at: Mapped[Now]
    finished_at: Mapped[Moment | None]
    result: Mapped[str | None] = mapped_column(String(60))


class Heartbeat(Base):
    """Messages that go through a queue just to prove that work flows."""

    __tablename__ = "heartbeats"

    queue: Mapped[str] = mapped_column(String(60), primary_key=True)
    sent_at: Mapped[Now]
    received_at: Mapped[Now]  # until the first has come: when the first was sent
    proven_at: Mapped[Moment | None]  # whatever was sent before this has left the queue
    worker: Mapped[str | None] = mapped_column(String(200))


class Pause(Base):
    """What an operator has paused: everything, a source, or a model. Nothing new begins for it."""

    __tablename__ = "pauses"

    scope: Mapped[Slug] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)  # "" for all
    since: Mapped[Now]

    __table_args__ = (one_of("scope", "all", "source", "model"),)


class ModelState(Base):
    """What all workers share about one model: an operator's limits, and the circuit breaker.

    No row is a closed breaker and the limits of models.toml.
    """

    __tablename__ = "model_states"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)  # its name in models.toml
    max_in_flight: Mapped[int | None]  # these three override models.toml
    requests_per_minute: Mapped[int | None]
    tokens_per_minute: Mapped[int | None]
    failures: Mapped[int] = mapped_column(server_default=text("0"))  # outages in a row
    opened_at: Mapped[Moment | None]  # NULL: closed
    probe_at: Mapped[Moment | None]  # the next call that may try
    cooldown_s: Mapped[float | None]
    # what the limiter has learned, as it was when last looked at
    in_flight: Mapped[int | None]
    learned_limit: Mapped[float | None]
    waits_until: Mapped[Moment | None]  # a 429's Retry-After holds everybody
    looked_at: Mapped[Moment | None]

    __table_args__ = (
        CheckConstraint("(opened_at IS NULL) = (probe_at IS NULL)", name="open_has_probe"),
        CheckConstraint(
            "max_in_flight > 0 AND requests_per_minute > 0 AND tokens_per_minute > 0", name="limits"
        ),
    )


class ParkedMessage(Base):
    """A message of an unknown version, or about what is not stored (after a restore): acknowledged, kept."""

    __tablename__ = "parked_messages"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[Now]
    task: Mapped[str] = mapped_column(String(100))
    version: Mapped[int]
    about: Mapped[uuid.UUID | None]


class Audit(Base):
    """Who did what to which thing, when; append-only by trigger."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[Now]
    source_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("sources.id"))  # NULL: about the site
    who: Mapped[str] = mapped_column(String(100))
    what: Mapped[Slug]
    which: Mapped[str] = mapped_column(String(100))

    __table_args__ = (
        Index("ix_audit__at", "at"),
        Index("ix_audit__source_id", "source_id", "at"),
        Index("ix_audit__what", "what", "at"),
    )
