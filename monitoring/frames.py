"""Reading the prediction log: a window of it as a frame, with what became of the customers.

The database reduces and matches; what comes over is one row for each that is asked for, and only the columns needed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Double,
    Integer,
    Select,
    String,
    case,
    func,
    select,
    type_coerce,
)

from serve.log.contacts import offers, read_contacts
from serve.log.database import opened
from serve.log.outcomes import with_outcomes
from serve.log.tables import UtcTime, first_id, outcomes, predictions
from serve.settings import read_settings

ARMS = ("champion", "challenger")  # the arms whose probability went out
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


def read_sent(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[str | None, dict[str, Any]]]:
    """Id of a prediction -> customer_id and the customer as it was sent, in the order of `ids`."""
    p = predictions.c
    sent: dict[str, tuple[str | None, dict[str, Any]]] = {}
    for start in range(0, len(ids), IDS):
        chosen = select(p.id, p.customer_id, p.features).where(p.id.in_(ids[start : start + IDS]))
        sent |= {row.id: (row.customer_id, row.features) for row in connection.execute(chosen)}
    return {name: sent[name] for name in ids}


def read_outcomes(
    connection: Connection,
    answers: CTE,
    names: Sequence[str],
    lasts: timedelta,
    start: datetime,
    known_by: datetime | None = None,
    end: datetime | None = None,
) -> pd.DataFrame:
    """id and those columns of `answers` (which have id, at from `start` on, customer_id, request_id), and what became
    of the customers.

    churned, observed_at (NaN and NaT where not known, or not before `known_by`); offered (0 or 1: an offer, whose
    effect `lasts`, reached the outcome) and spared (the chance that none would). With `end`, before which all `answers`
    were, outcomes of later answers are not theirs, as `without_later` says.
    """
    more = ("at", "customer_id") if end else ()
    columns = [answers.c[name] for name in ("id", *names, *more)]
    statement = with_outcomes(answers, *columns, of_outcome=("observed_at", "request_id"), before=known_by)
    frame = read_frame(connection, statement)
    if end and known_by:
        frame = without_later(connection, frame, end, known_by)
    frame = frame.drop(columns=["request_id", *more])
    observed = frame["observed_at"].dt.tz_localize(None).to_numpy("datetime64[us]")
    reached = offers(frame["id"].tolist(), observed, read_contacts(connection, answers, start - lasts), lasts)
    return frame.assign(offered=reached.offered.astype("float64"), spared=reached.spared)


def without_later(connection: Connection, frame: pd.DataFrame, end: datetime, known_by: datetime) -> pd.DataFrame:
    """Let an outcome be the later answer's where it is behind both the time to leave, `known_by` - `end`, and a later
    answer to the customer, of [end, known_by): by the first answer the customer stayed until then.

    An outcome that names the answer stays the answer's, and so does an earlier leaving that was reported again.
    """
    c, last = predictions.c, frame["at"] + (known_by - end)
    is_late = (frame["observed_at"] > last) & (frame["customer_id"].fillna("") != "") & (frame["request_id"] == "")
    ours = between(end, known_by) & c.arm.in_(ARMS) & (c.customer_id != "")
    first = select(c.customer_id, func.min(c.at).label("again")).where(ours).group_by(c.customer_id)
    if not is_late.any() or (later := read_frame(connection, first)).empty:
        return frame
    again = frame["customer_id"].where(is_late).map(later.set_index("customer_id")["again"])
    stayed_until = again.where(again > last, last).where(again.notna())
    is_later = frame["observed_at"] > stayed_until
    is_leaver = is_later & (frame["churned"] == 1)
    leavers = frame.assign(until=stayed_until).loc[is_leaver, ["customer_id", "at", "until"]]
    left = leavers.reset_index().merge(read_leavings(connection, sorted(set(leavers["customer_id"]))), on="customer_id")
    earlier = left[left["left"].between(left["at"], left["until"])].groupby("index")["left"].min()
    is_later &= ~frame.index.isin(earlier.index)
    observed = frame["observed_at"].mask(is_later, stayed_until)
    observed.loc[earlier.index] = earlier
    return frame.assign(churned=frame["churned"].mask(is_later, 0.0), observed_at=observed)


def read_leavings(connection: Connection, customers: Sequence[str]) -> pd.DataFrame:
    """customer_id, left: each outcome by which one of them churned."""
    o = outcomes.c
    columns = [o.customer_id, o.observed_at.label("left")]
    parts = [
        read_frame(connection, select(*columns).where(o.customer_id.in_(customers[start : start + IDS]), o.churned))
        for start in range(0, len(customers) or 1, IDS)  # of nobody a frame without rows
    ]
    return pd.concat(parts, ignore_index=True)


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
