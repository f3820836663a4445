"""Reading the prediction log: a window of it as a frame, with what became of the customers.

The database reduces and matches; what comes over is one row for each that is asked for, and only the columns needed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pandas as pd
from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Double,
    FromClause,
    Integer,
    Select,
    String,
    case,
    cast,
    func,
    select,
    type_coerce,
)

from serve.log.database import opened
from serve.log.tables import NAMES, UtcTime, first_id, outcomes, predictions
from serve.settings import read_settings

ANSWERED = ("champion", "challenger")  # the arms whose probability went out
IDS = 500  # that one query asks for
CHUNK = 100_000  # rows that are objects of Python at a time


@contextmanager
def open_log() -> Iterator[Connection]:
    """The log of the settings; an InputError where it is not there or its database says no."""
    with opened(read_settings().log) as engine, engine.connect() as connection:
        yield connection


def between(start: datetime, end: datetime | None = None) -> ColumnElement[bool]:
    """Predictions from `start` on, and before `end`."""
    begun = predictions.c.id >= first_id(start)
    return begun if end is None else begun & (predictions.c.id < first_id(end))


def flagged(prediction: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((prediction == "churn", 1), else_=0)


def with_outcomes(rows: CTE, *columns: ColumnElement[Any], before: datetime | None = None) -> Select[Any]:
    """Those columns of `rows` (which have id, at, customer_id, request_id), in the order of ids, churned, observed_at.

    An outcome is what was observed last, of the customer or of the request, and not before the prediction was made;
    of the same moment the customer's counts. Both are NULL where nothing is known. With `before` it is what had been
    observed before then.
    """
    found = {name: outcomes.alias(f"of_{name}") for name in NAMES}
    statement = select(*columns, *_later(*found.values())).select_from(rows)
    for name, other in (NAMES, NAMES[::-1]):
        known, o = outcomes.alias(f"known_of_{name}").c, found[name].c
        # a seek in the primary key for each row: a join of all outcomes of all rows would have to be sorted
        in_time = [] if before is None else [known.observed_at < before]
        last = select(func.max(known.observed_at)).where(
            known[name] == rows.c[name], known[other] == "", known.observed_at >= rows.c.at, *in_time
        )
        is_it = (o[name] == rows.c[name]) & (o[other] == "") & (o.observed_at == last.scalar_subquery())
        statement = statement.outerjoin(found[name], is_it & (rows.c[name] != ""))
    return statement.order_by(rows.c.id)


def _later(a: FromClause, b: FromClause) -> list[ColumnElement[Any]]:
    is_b = (b.c.observed_at > a.c.observed_at) | a.c.observed_at.is_(None)
    churned = case((is_b, cast(b.c.churned, Integer)), else_=cast(a.c.churned, Integer))
    return [churned.label("churned"), case((is_b, b.c.observed_at), else_=a.c.observed_at).label("observed_at")]


def read_frame(connection: Connection, statement: Select[Any]) -> pd.DataFrame:
    """What is selected; numbers are floats, a missing one NaN, and times are in UTC."""
    columns = list(statement.selected_columns)
    # SQLAlchemy would make each time an object; pandas reads a column of texts at once
    plain = [type_coerce(c, String).label(c.name) if isinstance(c.type, UtcTime) else c for c in columns]
    result = connection.execution_options(yield_per=CHUNK).execute(statement.with_only_columns(*plain))
    parts = [_typed(part, columns) for part in result.partitions()]
    return pd.concat(parts or [_typed([], columns)], ignore_index=True)


def _typed(rows: Sequence[Any], columns: Sequence[ColumnElement[Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=[column.name for column in columns], dtype="object")
    for column in columns:
        if isinstance(column.type, UtcTime):
            frame[column.name] = pd.to_datetime(frame[column.name], utc=True, format="ISO8601")
        elif isinstance(column.type, Integer | Double):
            frame[column.name] = frame[column.name].astype("float64")
    return frame
