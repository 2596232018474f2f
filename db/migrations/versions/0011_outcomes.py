"""What the clinician decided on the proposal, beside what was given."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("outcomes", sa.Column("decision", sa.String(60)))
    op.create_check_constraint(
        "ck_outcomes__decision", "outcomes", "decision IN ('accepted', 'edited', 'rejected')"
    )


def downgrade() -> None:
    op.drop_constraint("ck_outcomes__decision", "outcomes", type_="check")
    op.drop_column("outcomes", "decision")
