"""Predictions, outcomes and checks; a log that was written before there were versions has them, or the first two."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "predictions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("customer_id", sa.Text),
        sa.Column("features", sa.JSON, nullable=False),
        sa.Column("churn_probability", sa.Double, nullable=False),
        sa.Column("prediction", sa.Text, nullable=False),
        sa.Column("threshold", sa.Double, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("arm", sa.Text, nullable=False),
        sa.Column("latency_ms", sa.Double, nullable=False),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
    is_answer = sa.text("arm <> 'shadow'")
    for column in ("request_id", "customer_id"):
        op.create_index(
            f"predictions_{column}",
            "predictions",
            [column],
            if_not_exists=True,
            sqlite_where=is_answer,
            postgresql_where=is_answer,
        )
    op.create_table(
        "outcomes",
        sa.Column("customer_id", sa.Text, primary_key=True),
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("observed_at", TIME, primary_key=True),
        sa.Column("churned", sa.Boolean, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        if_not_exists=True,
    )
    op.create_index("outcomes_received_at", "outcomes", ["received_at"], if_not_exists=True)
    op.create_table(
        "checks",
        sa.Column("at", TIME, primary_key=True),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("found", sa.JSON, nullable=False),
        if_not_exists=True,
    )
