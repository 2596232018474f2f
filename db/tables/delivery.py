"""Where events go, and what was delivered to whom; ids only."""

import uuid

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, Codes, Id, Moment, Now, Slug, SourceId, belongs_to, one_of


class Destination(Base):
    """Where a source's events go: a webhook, or the topic exchange on its own broker (by its door's name).

    A webhook's signing secret is a data key: sealed by the site's key and rotated with all others.
    """

    __tablename__ = "destinations"

    id: Mapped[Id]
    source_id: Mapped[SourceId] = mapped_column(ForeignKey("sources.id"), primary_key=True)
    kind: Mapped[Slug]
    door: Mapped[str | None] = mapped_column(String(100))  # of an exchange: its name in the doors' file
    url: Mapped[str | None] = mapped_column(String(2000))  # of a webhook
    key_id: Mapped[uuid.UUID | None]
    types: Mapped[Codes]  # of events; {}: all
    allow_private: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[Now]  # events from then on are its
    failures: Mapped[int] = mapped_column(server_default=text("0"))  # in a row
    failing_since: Mapped[Moment | None]
    not_before: Mapped[Moment | None]
    disabled_at: Mapped[Moment | None]
    disabled_reason: Mapped[str | None] = mapped_column(String(60))

    __table_args__ = (
        ForeignKeyConstraint(
            ["key_id", "source_id"], ["data_keys.id", "data_keys.source_id"], ondelete="SET NULL (key_id)"
        ),
        one_of("kind", "webhook", "exchange"),
        CheckConstraint("(kind = 'webhook') = (url IS NOT NULL)", name="webhook_has_url"),
        CheckConstraint("(kind = 'exchange') = (door IS NOT NULL)", name="exchange_has_door"),
        CheckConstraint("(disabled_at IS NULL) = (disabled_reason IS NULL)", name="disabled_has_reason"),
        UniqueConstraint("door", "source_id"),
    )


class Delivery(Base):
    """One event on its way to one destination: pending until delivered, or dead after a day of attempts."""

    __tablename__ = "deliveries"

    outbox_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    destination_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    source_id: Mapped[SourceId]
    about: Mapped[uuid.UUID]  # consultation or submission: of one of these, events go out in their order
    queued_at: Mapped[Now]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    next_at: Mapped[Now]  # while somebody sends it: when another may
    status: Mapped[int | None] = mapped_column(SmallInteger)  # HTTP's, of the last attempt
    error: Mapped[str | None] = mapped_column(String(60))  # kind, of the last attempt
    delivered_at: Mapped[Moment | None]
    dead_at: Mapped[Moment | None]

    __table_args__ = (
        ForeignKeyConstraint(["outbox_id", "source_id"], ["outbox_events.id", "outbox_events.source_id"]),
        belongs_to("destinations", "destination_id"),
        Index(
            "ix_deliveries__pending",
            "destination_id",
            "outbox_id",
            postgresql_where=text("delivered_at IS NULL AND dead_at IS NULL"),
        ),
        Index(
            "ix_deliveries__pending_about",
            "destination_id",
            "about",
            "outbox_id",
            postgresql_where=text("delivered_at IS NULL AND dead_at IS NULL"),
        ),
    )
