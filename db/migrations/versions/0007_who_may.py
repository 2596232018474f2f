"""Who may come in over the network: keys of sources, and what each source may send."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_api_keys__source_id"),
        sa.PrimaryKeyConstraint("id", "source_id", name="pk_api_keys"),
        sa.UniqueConstraint("id", name="uq_api_keys__id"),
    )
    op.add_column("sources", sa.Column("requests_per_minute", sa.Integer()))
    op.add_column("sources", sa.Column("max_records", sa.Integer()))
    op.add_column("sources", sa.Column("max_bytes", sa.BigInteger()))


def downgrade() -> None:
    for column in ("max_bytes", "max_records", "requests_per_minute"):
        op.drop_column("sources", column)
    op.drop_table("api_keys")
