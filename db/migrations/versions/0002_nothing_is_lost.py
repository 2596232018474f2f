"""Nothing is lost: holds, budgets, breakers, heartbeats, dead letters."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "heartbeats",
        sa.Column("queue", sa.String(length=60), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("proven_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker", sa.String(length=200), nullable=True),
        sa.PrimaryKeyConstraint("queue", name="pk_heartbeats"),
    )
    op.create_table(
        "model_states",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("max_in_flight", sa.Integer(), nullable=True),
        sa.Column("requests_per_minute", sa.Integer(), nullable=True),
        sa.Column("tokens_per_minute", sa.Integer(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("probe_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cooldown_s", sa.Double(), nullable=True),
        sa.Column("in_flight", sa.Integer(), nullable=True),
        sa.Column("learned_limit", sa.Double(), nullable=True),
        sa.Column("waits_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(opened_at IS NULL) = (probe_at IS NULL)", name="ck_model_states__open_has_probe"
        ),
        sa.CheckConstraint(
            "max_in_flight > 0 AND requests_per_minute > 0 AND tokens_per_minute > 0",
            name="ck_model_states__limits",
        ),
        sa.PrimaryKeyConstraint("name", name="pk_model_states"),
    )
    op.create_table(
        "parked_messages",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("task", sa.String(length=100), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("about", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_parked_messages"),
    )
    op.create_table(
        "pauses",
        sa.Column("scope", sa.String(length=60), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("scope IN ('all', 'source', 'model')", name="ck_pauses__scope"),
        sa.PrimaryKeyConstraint("scope", "name", name="pk_pauses"),
    )
    op.add_column("consultations", sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "consultations",
        sa.Column("fruitless", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.add_column(
        "consultations", sa.Column("requeues", sa.SmallInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column(
        "consultations", sa.Column("expected_usd", sa.Numeric(precision=14, scale=8), nullable=True)
    )
    op.add_column(
        "consultations",
        sa.Column(
            "spent_usd", sa.Numeric(precision=14, scale=8), server_default=sa.text("0"), nullable=False
        ),
    )
    op.add_column("consultations", sa.Column("discarded_at", sa.DateTime(timezone=True), nullable=True))
    op.drop_index(
        "ix_consultations__waiting",
        table_name="consultations",
        postgresql_where="(((state)::text = 'open'::text) AND (dispatched_at IS NULL))",
    )
    op.create_index(
        "ix_consultations__waiting",
        "consultations",
        ["source_id", "priority", "accepted_at"],
        unique=False,
        postgresql_where=sa.text("state = 'open' AND dispatched_at IS NULL AND held IS NULL"),
    )
    op.create_index(
        "ix_consultations__dead_letters",
        "consultations",
        ["ended_at"],
        unique=False,
        postgresql_where=sa.text("state = 'failed' AND discarded_at IS NULL"),
    )
    op.create_index(
        "ix_consultations__deadline",
        "consultations",
        ["deadline_at"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index(
        "ix_model_calls__recent", "model_calls", ["started_at"], unique=False, postgresql_using="brin"
    )
    op.add_column(
        "outbox_events",
        sa.Column("event_id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
    )
    op.create_unique_constraint("uq_outbox_events__event_id", "outbox_events", ["event_id"])
    op.add_column(
        "outbox_events", sa.Column("times", sa.SmallInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.drop_constraint(
        "uq_outbox_events__source_id_submission_id_consultation_id_type", "outbox_events", type_="unique"
    )
    op.create_unique_constraint(
        "uq_outbox_events__once",
        "outbox_events",
        ["submission_id", "consultation_id", "type", "times", "source_id"],
        postgresql_nulls_not_distinct=True,
    )
    op.add_column("owed_answers", sa.Column("away_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("sources", sa.Column("daily_budget_usd", sa.Numeric(precision=14, scale=8), nullable=True))
    op.add_column("submissions", sa.Column("budget_usd", sa.Numeric(precision=14, scale=8), nullable=True))
    op.add_column(
        "submissions", sa.Column("reopened", sa.SmallInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column(
        "workers", sa.Column("slots", sa.SmallInteger(), server_default=sa.text("1"), nullable=False)
    )
    op.add_column(
        "workers",
        sa.Column("consumed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    # what is known of the costs so far
    op.execute(
        "UPDATE consultations c SET spent_usd = s.usd FROM ("
        " SELECT o.consultation_id, o.source_id, sum(m.cost_usd) AS usd FROM model_calls m"
        " JOIN owed_answers o ON o.id = m.owed_answer_id AND o.source_id = m.source_id"
        " WHERE m.cost_usd > 0 GROUP BY 1, 2) s"
        " WHERE c.id = s.consultation_id AND c.source_id = s.source_id"
    )


def downgrade() -> None:
    op.drop_column("workers", "consumed_at")
    op.drop_column("workers", "slots")
    op.drop_column("submissions", "reopened")
    op.drop_column("submissions", "budget_usd")
    op.drop_column("sources", "daily_budget_usd")
    op.drop_column("owed_answers", "away_since")
    op.drop_constraint("uq_outbox_events__once", "outbox_events", type_="unique")
    op.create_unique_constraint(
        "uq_outbox_events__source_id_submission_id_consultation_id_type",
        "outbox_events",
        ["source_id", "submission_id", "consultation_id", "type"],
        postgresql_nulls_not_distinct=True,
    )
    op.drop_constraint("uq_outbox_events__event_id", "outbox_events", type_="unique")
    op.drop_column("outbox_events", "event_id")
    op.drop_column("outbox_events", "times")
    op.drop_index("ix_model_calls__recent", table_name="model_calls", postgresql_using="brin")
    op.drop_index(
        "ix_consultations__deadline", table_name="consultations", postgresql_where=sa.text("state = 'open'")
    )
    op.drop_index(
        "ix_consultations__dead_letters",
        table_name="consultations",
        postgresql_where=sa.text("state = 'failed' AND discarded_at IS NULL"),
    )
    op.drop_index(
        "ix_consultations__waiting",
        table_name="consultations",
        postgresql_where=sa.text("state = 'open' AND dispatched_at IS NULL AND held IS NULL"),
    )
    op.create_index(
        "ix_consultations__waiting",
        "consultations",
        ["priority", "accepted_at"],
        unique=False,
        postgresql_where="(((state)::text = 'open'::text) AND (dispatched_at IS NULL))",
    )
    op.drop_column("consultations", "discarded_at")
    op.drop_column("consultations", "spent_usd")
    op.drop_column("consultations", "expected_usd")
    op.drop_column("consultations", "requeues")
    op.drop_column("consultations", "fruitless")
    op.drop_column("consultations", "sent_at")
    op.drop_table("pauses")
    op.drop_table("parked_messages")
    op.drop_table("model_states")
    op.drop_table("heartbeats")
