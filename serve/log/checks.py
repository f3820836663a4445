"""What the checks of production found, kept in the log: the service exports the last one, pages show how they went."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable

from churn.script import as_json
from serve.log.database import check_file, write_lock
from serve.log.tables import CLOCK_SKEW, Check, checks, has_table


def record(connection: Connection, at: datetime, found: Mapping[str, Any]) -> None:
    """Keep what a check found at that moment and commit it; of the same moment the last word counts.

    A TimeoutError where the service writes all the time.
    """
    turn, is_file = write_lock(connection.engine), connection.dialect.name == "sqlite"
    plain = json.loads(as_json(found))  # no NaN, which PostgreSQL refuses
    row = {"model_version": plain["window"]["model_version"], "verdict": plain["verdict"], "found": plain}
    insert = sqlite.insert(checks) if is_file else postgresql.insert(checks)
    upsert = insert.values(at=at, **row).on_conflict_do_update(index_elements=["at"], set_=row)
    check_file(connection)
    with turn():
        if not has_table(
            connection, checks
        ):  # asked, since CREATE ... IF NOT EXISTS wants the right to create in any case
            connection.execute(CreateTable(checks, if_not_exists=True))
        connection.execute(upsert)
        connection.commit()


def latest(connection: Connection, since: datetime) -> list[Check]:
    """The checks since then, the oldest first; none of the future, which a clock that was wrong has left."""
    if not has_table(connection, checks):
        return []
    columns = [checks.c[name] for name in Check._fields]
    rows = connection.execute(
        select(*columns)
        .where(checks.c.at >= since, checks.c.at <= datetime.now(UTC) + CLOCK_SKEW)
        .order_by(checks.c.at)
    )
    return [Check(*row) for row in rows]
