"""Chemistry and evaluation: imported histories, choices, evaluations, calibration."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _check(table: str, name: str, rule: str) -> None:
    op.drop_constraint(f"ck_{table}__{name}", table, type_="check")
    op.create_check_constraint(f"ck_{table}__{name}", table, rule)


def upgrade() -> None:
    op.create_table(
        "history_imports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("origin", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("set_aside", sa.Integer(), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_history_imports"),
        sa.UniqueConstraint("digest", name="uq_history_imports__digest"),
    )
    op.create_table(
        "evaluations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("spec", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("reviewers_snapshot_id", sa.Uuid(), nullable=True),
        sa.Column("chemistry_snapshot_id", sa.Uuid(), nullable=True),
        sa.Column("calibration_snapshot_id", sa.Uuid(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("frozen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["calibration_snapshot_id"], ["snapshots.id"], name="fk_evaluations__calibration_snapshot_id"
        ),
        sa.ForeignKeyConstraint(
            ["chemistry_snapshot_id"], ["snapshots.id"], name="fk_evaluations__chemistry_snapshot_id"
        ),
        sa.ForeignKeyConstraint(
            ["reviewers_snapshot_id"], ["snapshots.id"], name="fk_evaluations__reviewers_snapshot_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_evaluations"),
        sa.UniqueConstraint("digest", name="uq_evaluations__digest"),
    )
    op.create_table(
        "history_set_aside",
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"], ["history_imports.id"], name="fk_history_set_aside__import_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("import_id", "line", name="pk_history_set_aside"),
    )
    op.create_table(
        "imported_interactions",
        sa.Column("origin", sa.String(length=100), nullable=False),
        sa.Column("trial", sa.String(length=200), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("task", sa.String(length=300), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("item", sa.String(length=60), nullable=False),
        sa.Column("question", sa.String(length=64), nullable=True),
        sa.Column("latency_s", sa.Double(), nullable=True),
        sa.Column("temperature", sa.Double(), nullable=True),
        sa.Column("quality", sa.Double(), nullable=True),
        sa.Column("generation_accuracy", sa.Double(), nullable=True),
        sa.Column("variance", sa.Double(), nullable=True),
        sa.Column("review_accuracy", sa.Double(), nullable=True),
        sa.Column("accuracy", sa.Double(), nullable=True),
        sa.Column("elapsed", sa.String(length=60), nullable=True),
        sa.Column("strategy", sa.String(length=60), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["import_id"],
            ["history_imports.id"],
            name="fk_imported_interactions__import_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("origin", "trial", "place", name="pk_imported_interactions"),
    )
    op.create_index(
        "ix_imported_interactions__kind", "imported_interactions", ["origin", "kind"], unique=False
    )
    op.create_table(
        "choices",
        sa.Column("submission_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("strategy", sa.String(length=60), nullable=False),
        sa.Column("snapshot_id", sa.Uuid(), nullable=True),
        sa.Column("models", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("basis", sa.String(length=20), nullable=True),
        sa.Column("promised", sa.Double(), nullable=True),
        sa.Column("promised_se", sa.Double(), nullable=True),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshots.id"], name="fk_choices__snapshot_id"),
        sa.ForeignKeyConstraint(
            ["submission_id", "source_id"],
            ["submissions.id", "submissions.source_id"],
            name="fk_choices__submission_id_source_id",
        ),
        sa.PrimaryKeyConstraint("submission_id", "source_id", "kind", name="pk_choices"),
    )
    op.create_table(
        "evaluation_arms",
        sa.Column("evaluation_id", sa.Uuid(), nullable=False),
        sa.Column("arm", sa.String(length=100), nullable=False),
        sa.Column("repeat", sa.SmallInteger(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("submission_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluations.id"], name="fk_evaluation_arms__evaluation_id"
        ),
        sa.ForeignKeyConstraint(
            ["submission_id", "source_id"],
            ["submissions.id", "submissions.source_id"],
            name="fk_evaluation_arms__submission_id_source_id",
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "arm", "repeat", name="pk_evaluation_arms"),
        sa.UniqueConstraint("submission_id", name="uq_evaluation_arms__submission_id"),
    )
    op.add_column("consensus", sa.Column("was_right", sa.Boolean(), nullable=True))
    op.add_column("consultations", sa.Column("calibration_snapshot_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        "fk_consultations__calibration_snapshot_id",
        "consultations",
        "snapshots",
        ["calibration_snapshot_id"],
        ["id"],
    )
    op.add_column("reviews", sa.Column("shown_characters", sa.Integer(), nullable=True))
    _check("snapshots", "kind", "kind IN ('reviewers', 'chemistry', 'calibration')")
    # an ensemble of one is no council, but what councils are compared with: the door refuses it for care
    _check("submissions", "n", "n BETWEEN 1 AND 12")
    op.add_column(
        "snapshots", sa.Column("scope", sa.String(length=60), server_default="site", nullable=False)
    )


def downgrade() -> None:
    _check("submissions", "n", "n BETWEEN 2 AND 12")
    _check("snapshots", "kind", "kind IN ('reviewers', 'chemistry')")
    op.drop_column("snapshots", "scope")
    op.drop_column("reviews", "shown_characters")
    op.drop_constraint("fk_consultations__calibration_snapshot_id", "consultations", type_="foreignkey")
    op.drop_column("consultations", "calibration_snapshot_id")
    op.drop_column("consensus", "was_right")
    op.drop_table("evaluation_arms")
    op.drop_table("choices")
    op.drop_index("ix_imported_interactions__kind", table_name="imported_interactions")
    op.drop_table("imported_interactions")
    op.drop_table("history_set_aside")
    op.drop_table("evaluations")
    op.drop_table("history_imports")
