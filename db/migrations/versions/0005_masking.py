"""Masking: how many places of a call's messages were masked. What they held is stored nowhere."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("model_calls", sa.Column("masked", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("model_calls", "masked")
