"""Erasing, retention and rotation: when a record was erased, what expires, the wrapped digest key; the audit
is read by time, by source and by what was done."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

EXPIRING = sa.text("key_id IS NOT NULL AND kind IN ('vignette', 'set_aside')")


def upgrade() -> None:
    op.create_table(
        "site_secrets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("site_key_id", sa.String(16), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_site_secrets"),
    )
    op.add_column("records", sa.Column("erased_at", sa.DateTime(timezone=True)))
    op.create_index(
        "ix_clinical_documents__expiring", "clinical_documents", ["expires_at"], postgresql_where=EXPIRING
    )
    op.create_index("ix_audit__at", "audit", ["at"])
    op.create_index("ix_audit__source_id", "audit", ["source_id", "at"])
    op.create_index("ix_audit__what", "audit", ["what", "at"])


def downgrade() -> None:
    for name in ("what", "source_id", "at"):
        op.drop_index(f"ix_audit__{name}", table_name="audit")
    op.drop_index("ix_clinical_documents__expiring", table_name="clinical_documents")
    op.drop_column("records", "erased_at")
    op.drop_table("site_secrets")
