"""snapshot: read the champion's answers of a window from the log, with outcomes, and what they are measured against.

Writes monitoring/data/: answers.parquet (a row for each customer of the window), cohort.parquet (the same for a window
old enough for outcomes), sample.parquet (customers as they were sent, some of the window's), window.json, and the
champion's reference.parquet and card.json: all that a report needs, so that it can be made again.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field
from sqlalchemy import Connection, case, func, select

from churn.params import read_params
from churn.release import REFERENCE, Release, open_release
from churn.schema import Schema
from churn.script import run
from monitoring.check.snapshot_files import Snapshot, write_snapshot
from monitoring.frames import ANSWERED, IDS, between, flagged, open_log, read_frame, with_outcomes
from serve.log.tables import predictions
from serve.releases.store import Store
from serve.settings import read_settings

log = logging.getLogger("monitoring.snapshot")


class Window(NamedTuple):
    """[start, end), and as long a one before it whose outcomes must be known by `end`."""

    start: datetime
    end: datetime
    cohort_start: datetime
    cohort_end: datetime


def window(now: datetime, *, end: datetime | Literal["now", "today"], days: float, delay: float) -> Window:
    """A stated end without a zone is in UTC; "today" is the last midnight there."""
    match end:
        case "now":
            last = now.astimezone(UTC)
        case "today":
            last = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        case _:
            last = end.astimezone(UTC) if end.tzinfo else end.replace(tzinfo=UTC)
    cohort_end = last - timedelta(days=delay)
    return Window(last - timedelta(days=days), last, cohort_end - timedelta(days=days), cohort_end)


def read_customers(
    connection: Connection, version: str | None, start: datetime, end: datetime, known_by: datetime
) -> pd.DataFrame:
    """The first answer of that release, or of any, to each customer in [start, end), in the order of ids.

    id, p, flagged (0 or 1), churned (as observed before `known_by`; NaN where it was not). Who is asked about every
    day tells the same story every day; a prediction without a customer_id stands for a customer.
    """
    c = predictions.c
    ours = between(start, end) & c.arm.in_(ANSWERED)
    if version is not None:
        ours &= c.model_version == version
    unit = case((c.customer_id > "", c.customer_id), else_=c.id)
    firsts = select(func.min(c.id).label("id")).where(ours).group_by(unit).subquery()
    rows = (
        select(c.id, c.at, c.customer_id, c.request_id, c.churn_probability.label("p"))
        .add_columns(flagged(c.prediction).label("flagged"))
        .join(firsts, firsts.c.id == c.id)
        .cte("customers")
    )
    statement = with_outcomes(rows, rows.c.id, rows.c.p, rows.c.flagged, before=known_by)
    return read_frame(connection, statement).drop(columns="observed_at")


def read_sample(connection: Connection, schema: Schema, answers: pd.DataFrame, sample: int, seed: int) -> pd.DataFrame:
    """Some of the customers at random, as they were sent: the schema's columns, and churn_probability."""
    n = len(answers)
    chosen = np.sort(np.random.default_rng(seed).choice(n, min(sample, n), replace=False))
    ids = answers["id"].to_numpy(object)[chosen]
    sent: dict[str, dict[str, Any]] = {}
    for start in range(0, len(ids), IDS):
        some = ids[start : start + IDS].tolist()
        found = connection.execute(select(predictions.c.id, predictions.c.features).where(predictions.c.id.in_(some)))
        sent |= {key: features for key, features in found}  # noqa: C416, rows are no pairs to mypy
    customers = as_columns([sent[key] for key in ids], schema)
    return customers.assign(churn_probability=answers["p"].to_numpy()[chosen])


def as_columns(customers: Sequence[dict[str, Any]], schema: Schema) -> pd.DataFrame:
    """Customers as they were sent, in the schema's columns: float64 or text, null where missing."""
    return pd.DataFrame(
        {
            column.name: pd.Series(
                [customer.get(column.name) for customer in customers],
                dtype="str" if column.type == "category" else "float64",
            )
            for column in schema.columns
        }
    )


def snapshot(
    connection: Connection,
    release: Release,
    now: datetime,
    *,
    end: datetime | Literal["now", "today"],
    days: Annotated[float, Field(gt=0, le=3650)],
    delay: Annotated[float, Field(ge=0, le=3650)],
    sample: Annotated[int, Field(ge=100)],
    seed: Annotated[int, Field(ge=0)],
) -> Snapshot:
    asked = window(now, end=end, days=days, delay=delay)
    answers = read_customers(connection, release.version, asked.start, asked.end, asked.end)
    cohort = read_customers(connection, release.version, asked.cohort_start, asked.cohort_end, asked.end)
    some = read_sample(connection, release.schema, answers, sample, seed)
    told = {key: value.isoformat() for key, value in asked._asdict().items()}
    return Snapshot(
        {"model_version": release.version, **told},
        answers.drop(columns=["id", "churned"]),
        cohort.drop(columns="id"),
        some,
        pd.read_parquet(release.folder / REFERENCE),
        release.card,
    )


def champion() -> Release:
    """The release that answers now, verified."""
    return open_release(Store(read_settings().releases).champion())


def main(folder: Path = Path("monitoring/data")) -> None:
    knobs = read_params("monitoring.snapshot", snapshot)
    release = champion()
    with open_log() as connection:
        taken = snapshot(connection, release, datetime.now(UTC), **knobs)
    write_snapshot(taken, release.folder, folder)
    log.info(
        "wrote %s: %d customers of %s from %s to %s, %d of them as they were sent; cohort of %d, %d with an outcome",
        folder, len(taken.answers), release.version, taken.window["start"], taken.window["end"], len(taken.sample),
        len(taken.cohort), taken.cohort["churned"].notna().sum(),
    )  # fmt: skip


if __name__ == "__main__":
    run(main, "monitoring.snapshot")
