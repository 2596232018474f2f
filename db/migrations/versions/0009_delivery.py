"""Where events go: webhooks and topic exchanges of sources, and what was delivered to whom."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PENDING = sa.text("delivered_at IS NULL AND dead_at IS NULL")
NOW = sa.text("now()")


def upgrade() -> None:
    op.create_unique_constraint("uq_outbox_events__id_source_id", "outbox_events", ["id", "source_id"])
    op.create_table(
        "destinations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(60), nullable=False),
        sa.Column("door", sa.String(100)),
        sa.Column("url", sa.String(2000)),
        sa.Column("key_id", sa.Uuid()),
        sa.Column("types", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("allow_private", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True)),
        sa.Column("not_before", sa.DateTime(timezone=True)),
        sa.Column("disabled_at", sa.DateTime(timezone=True)),
        sa.Column("disabled_reason", sa.String(60)),
        sa.CheckConstraint("kind IN ('webhook', 'exchange')", name=op.f("ck_destinations__kind")),
        sa.CheckConstraint(
            "(kind = 'webhook') = (url IS NOT NULL)", name=op.f("ck_destinations__webhook_has_url")
        ),
        sa.CheckConstraint(
            "(kind = 'exchange') = (door IS NOT NULL)", name=op.f("ck_destinations__exchange_has_door")
        ),
        sa.CheckConstraint(
            "(disabled_at IS NULL) = (disabled_reason IS NULL)",
            name=op.f("ck_destinations__disabled_has_reason"),
        ),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_destinations__source_id"),
        sa.ForeignKeyConstraint(
            ["key_id", "source_id"],
            ["data_keys.id", "data_keys.source_id"],
            name="fk_destinations__key_id_source_id",
            ondelete="SET NULL (key_id)",
        ),
        sa.PrimaryKeyConstraint("id", "source_id", name="pk_destinations"),
        sa.UniqueConstraint("door", "source_id", name="uq_destinations__door_source_id"),
    )
    op.create_table(
        "deliveries",
        sa.Column("outbox_id", sa.BigInteger(), nullable=False),
        sa.Column("destination_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("about", sa.Uuid(), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("status", sa.SmallInteger()),
        sa.Column("error", sa.String(60)),
        sa.Column("delivered_at", sa.DateTime(timezone=True)),
        sa.Column("dead_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(
            ["outbox_id", "source_id"],
            ["outbox_events.id", "outbox_events.source_id"],
            name="fk_deliveries__outbox_id_source_id",
        ),
        sa.ForeignKeyConstraint(
            ["destination_id", "source_id"],
            ["destinations.id", "destinations.source_id"],
            name="fk_deliveries__destination_id_source_id",
        ),
        sa.PrimaryKeyConstraint("outbox_id", "destination_id", "source_id", name="pk_deliveries"),
    )
    op.create_index(
        "ix_deliveries__pending", "deliveries", ["destination_id", "outbox_id"], postgresql_where=PENDING
    )
    op.create_index(
        "ix_deliveries__pending_about",
        "deliveries",
        ["destination_id", "about", "outbox_id"],
        postgresql_where=PENDING,
    )


def downgrade() -> None:
    op.drop_table("deliveries")
    op.drop_table("destinations")
    op.drop_constraint("uq_outbox_events__id_source_id", "outbox_events", type_="unique")
