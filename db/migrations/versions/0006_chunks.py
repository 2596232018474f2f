"""A submission is received in chunks: each with its keyed digest, instead of one digest of the whole body."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_column("submissions", "body_digest")
    op.create_index(
        "ix_submissions__receiving",
        "submissions",
        ["received_at"],
        postgresql_where=sa.text("state IN ('receiving', 'rejected')"),
    )
    op.create_table(
        "submission_chunks",
        sa.Column("submission_id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["submission_id", "source_id"],
            ["submissions.id", "submissions.source_id"],
            name="fk_submission_chunks__submission_id_source_id",
        ),
        sa.PrimaryKeyConstraint("submission_id", "source_id", "ordinal", name="pk_submission_chunks"),
    )


def downgrade() -> None:
    op.drop_table("submission_chunks")
    op.drop_index("ix_submissions__receiving", table_name="submissions")
    op.add_column("submissions", sa.Column("body_digest", sa.LargeBinary(), nullable=True))
