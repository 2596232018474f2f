"""Medications: dials of a submission, support learned from outcomes, findings and trace of a list."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON = postgresql.JSONB(astext_type=sa.Text())


KINDS = ("reviewers", "chemistry", "calibration")
EVENTS = ("consultation.completed", "consultation.needs_review", "consultation.failed", "submission.finished")


def _one_of(table: str, column: str, *words: str) -> None:
    rule = f"{column} IN ({', '.join(repr(word) for word in words)})"
    op.drop_constraint(f"ck_{table}__{column}", table, type_="check")
    op.create_check_constraint(f"ck_{table}__{column}", table, rule)


def upgrade() -> None:
    _one_of("snapshots", "kind", *KINDS, "support")
    _one_of("outbox_events", "type", *EVENTS, "consultation.cancelled")
    op.add_column("submissions", sa.Column("dials", JSON, server_default=sa.text("'{}'"), nullable=False))
    for table in ("consultations", "evaluations"):
        op.add_column(table, sa.Column("support_snapshot_id", sa.Uuid(), nullable=True))
        op.create_foreign_key(
            f"fk_{table}__support_snapshot_id", table, "snapshots", ["support_snapshot_id"], ["id"]
        )
    op.add_column("consensus", sa.Column("method", sa.String(length=40), nullable=True))
    op.add_column("consensus", sa.Column("findings", JSON, server_default=sa.text("'[]'"), nullable=False))
    op.add_column("consensus", sa.Column("trace", JSON, server_default=sa.text("'[]'"), nullable=False))
    op.add_column("consensus", sa.Column("refinement", JSON, nullable=True))


def downgrade() -> None:
    for column in ("refinement", "trace", "findings", "method"):
        op.drop_column("consensus", column)
    for table in ("consultations", "evaluations"):
        op.drop_constraint(f"fk_{table}__support_snapshot_id", table, type_="foreignkey")
        op.drop_column(table, "support_snapshot_id")
    op.drop_column("submissions", "dials")
    _one_of("outbox_events", "type", *EVENTS)
    _one_of("snapshots", "kind", *KINDS)
