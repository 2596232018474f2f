"""What cap a submission was sent with: an operator may change it, and the same request still is the same."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("submissions", sa.Column("asked_budget_usd", sa.Numeric(14, 8)))
    op.execute("UPDATE submissions SET asked_budget_usd = budget_usd")


def downgrade() -> None:
    op.drop_column("submissions", "asked_budget_usd")
