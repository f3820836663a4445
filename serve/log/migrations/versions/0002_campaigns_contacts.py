"""Campaigns and contacts: who was made an offer, and who was held back by chance."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "campaigns",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("expected", sa.JSON),
    )
    op.create_table(
        "contacts",
        sa.Column("customer_id", sa.Text, primary_key=True),
        sa.Column("campaign", sa.Text, primary_key=True),
        sa.Column("at", TIME, primary_key=True),
        sa.Column("offered", sa.Boolean, nullable=False),
        sa.Column("share", sa.Double, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
    )
    for column in ("campaign", "received_at"):
        op.create_index(f"contacts_{column}", "contacts", [column])
