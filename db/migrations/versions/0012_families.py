"""Which families a submission's ensembles are drawn from: asked of it like its strategy, so kept beside it."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("submissions", sa.Column("families", sa.String(60), server_default="any", nullable=False))
    op.create_check_constraint(
        "ck_submissions__families", "submissions", "families IN ('any', 'same', 'mixed')"
    )


def downgrade() -> None:
    op.drop_constraint("ck_submissions__families", "submissions", type_="check")
    op.drop_column("submissions", "families")
