"""The log's tables: predictions, outcomes, contacts and checks; and the ids of predictions, which ascend in time."""

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, NamedTuple

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Double,
    Engine,
    Index,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    func,
    inspect,
    text,
)


class UtcTime(TypeDecorator[datetime]):
    """A time in UTC: timestamptz in PostgreSQL, text in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))


metadata = MetaData()
IS_ANSWER = text("arm <> 'shadow'")  # queries must say it in these words, or they can't use the indexes by name

predictions = Table(
    "predictions",
    metadata,
    Column("id", Text, primary_key=True),  # the service's own, ascending in time: `first_id` is how to ask for a window
    Column("request_id", Text, nullable=False),  # what the answer calls it; a client that repeats itself may repeat it
    Column("at", UtcTime, nullable=False),
    Column("customer_id", Text),
    Column("features", JSON, nullable=False),  # the customer as sent, under schema names; {} in the shadow's rows
    Column("churn_probability", Double, nullable=False),
    Column("prediction", Text, nullable=False),  # churn or no_churn
    Column("threshold", Double, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("arm", Text, nullable=False),  # champion, challenger; shadow: beside the answer of the same request_id
    Column("latency_ms", Double, nullable=False),  # from the request's arrival to its probability
    # only answers are looked up by name; indexing the shadow's rows would cost as much again
    Index("predictions_request_id", "request_id", sqlite_where=IS_ANSWER, postgresql_where=IS_ANSWER),
    Index("predictions_customer_id", "customer_id", sqlite_where=IS_ANSWER, postgresql_where=IS_ANSWER),
    sqlite_with_rowid=False,  # rows lie in the order of their ids, without an index beside the table
)

outcomes = Table(
    "outcomes",
    metadata,
    # one of the two names whose outcome it is, the other is empty
    Column("customer_id", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("observed_at", UtcTime, primary_key=True),
    Column("churned", Boolean, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Index("outcomes_received_at", "received_at"),
)

campaigns = Table(
    "campaigns",
    metadata,
    Column("name", Text, primary_key=True),
    Column("received_at", UtcTime, nullable=False),  # when its first contact came in
    Column("expected", JSON(none_as_null=True)),  # what its plan expects, where there is one
)

contacts = Table(
    "contacts",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("campaign", Text, primary_key=True),
    Column("at", UtcTime, primary_key=True),
    Column("offered", Boolean, nullable=False),  # false: held back by chance, as control
    Column("share", Double, nullable=False),  # the chance with which an offer was drawn, 1 where there is no control
    Column("received_at", UtcTime, nullable=False),
    Index("contacts_campaign", "campaign"),
    Index("contacts_received_at", "received_at"),
)

checks = Table(
    "checks",
    metadata,
    Column("at", UtcTime, primary_key=True),
    Column("model_version", Text, nullable=False),  # that was checked
    Column("verdict", Text, nullable=False),  # healthy, warn, breach, unknown
    Column("found", JSON, nullable=False),  # the whole report, as `python -m monitoring.check --json` prints it
)


class Check(NamedTuple):
    """A row of checks."""

    at: datetime
    model_version: str
    verdict: str
    found: dict[str, Any]  # null where a number is not known


CLOCK_SKEW = timedelta(minutes=5)  # between the clocks of clients, workers and jobs
CAMPAIGN = r"^[a-z0-9][a-z0-9._-]{0,63}$"  # its name, which files and pages have in theirs
NAMES = ("customer_id", "request_id")  # an outcome has one of them
COLUMNS = [str(column.name) for column in predictions.columns]  # orjson takes no subclass of str for a key
Row = tuple[Any, ...]  # of predictions, plain values in the order of COLUMNS


def as_line(row: Row) -> dict[str, Any]:
    """The line of the spool that a row becomes."""
    return dict(zip(COLUMNS, row, strict=True))


def as_row(named: Mapping[str, Any]) -> Row:
    """The row of a line of the spool."""
    return tuple(named[name] for name in COLUMNS)


def db_time(at: datetime) -> str:
    """`at` (UTC) as both databases take it from INSERT, and as SQLite keeps it."""
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")


def moved(database: Engine | Connection, at: ColumnElement[Any], by: timedelta) -> ColumnElement[Any]:
    """A column of times, so much later."""
    if database.dialect.name == "sqlite":  # which keeps them as texts
        return func.strftime("%Y-%m-%d %H:%M:%f", at, f"{by.total_seconds():+.3f} seconds")
    return at + by


_own, _numbers = os.urandom(5).hex(), count()


def new_id() -> str:
    """Hexadecimal digits: microseconds since 1970, then this process's own, then a number. Later ids sort later."""
    # no chance for each id: asking the system for it hands over the interpreter's lock
    return f"{time.time_ns() // 1000:014x}{_own}{next(_numbers) & 0xFFFFFFFF:08x}"


def first_id(at: datetime) -> str:
    """Below every id of that moment and later, above every earlier one."""
    return f"{int(at.timestamp() * 1_000_000):014x}"


def time_of_id(name: str) -> datetime:
    """When the answer of that id was given."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(name[:14], 16))


def has_table(database: Engine | Connection, table: Table) -> bool:
    """False for a log that no service opened since there is such a table."""
    return inspect(database).has_table(table.name)
