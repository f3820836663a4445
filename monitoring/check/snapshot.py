"""snapshot: read the champion's answers of a window from the log, with outcomes, and what they are compared with.

Writes monitoring/data/: answers.parquet (a row for each customer of the window), cohort.parquet (the same for a window
old enough for outcomes), sample.parquet (some of the window's customers as they were sent), window.json, and the
champion's reference.parquet and card.json: all that a report needs, so that it can be made again.
"""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from sqlalchemy import Connection, case, func, select

from churn.campaigns import read_lasts
from churn.customers import frame_of
from churn.params import read_knobs
from churn.release import REFERENCE, Release, open_release
from churn.schema import Schema
from churn.script import run
from monitoring.check.findings import Window
from monitoring.check.knobs import SnapshotKnobs
from monitoring.check.snapshot_files import Snapshot, write_snapshot
from monitoring.frames import ARMS, between, flagged, open_log, read_outcomes, read_sent
from serve.log.tables import predictions
from serve.releases.store import Store
from serve.settings import read_settings

log = logging.getLogger("monitoring.snapshot")


def window_of(version: str, now: datetime, knobs: SnapshotKnobs) -> Window:
    """The window that ends at `end`; without a zone that is in UTC, "today" is the last midnight there."""
    match knobs.end:
        case "now":
            end = now.astimezone(UTC)
        case "today":
            end = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        case stated:
            end = stated.astimezone(UTC) if stated.tzinfo else stated.replace(tzinfo=UTC)
    length, cohort_end = timedelta(days=knobs.days), end - timedelta(days=knobs.delay)
    return Window(
        model_version=version,
        start=end - length,
        end=end,
        cohort_start=cohort_end - length,
        cohort_end=cohort_end,
    )


def read_customers(
    connection: Connection,
    version: str | None,
    start: datetime,
    end: datetime,
    known_by: datetime,
    lasts: timedelta,
) -> pd.DataFrame:
    """The first answer of that release, or of any, to each customer in [start, end), in the order of ids.

    id, p, flagged (0 or 1), churned (as observed before `known_by`; NaN where it was not), offered and spared. A
    customer who is scored every day counts once; a prediction without a customer_id stands for a customer. All have as
    long to leave as the last one has until `known_by`: a later outcome, behind an answer from `end` on, is that one's.
    """
    c = predictions.c
    ours = between(start, end) & c.arm.in_(ARMS)
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
    customers = read_outcomes(connection, rows, ("p", "flagged"), lasts, start, known_by, end)
    return customers.drop(columns="observed_at")


def read_sample(connection: Connection, schema: Schema, answers: pd.DataFrame, sample: int, seed: int) -> pd.DataFrame:
    """`sample` of the customers at random, as they were sent: the schema's columns, and churn_probability."""
    n = len(answers)
    chosen = np.sort(np.random.default_rng(seed).choice(n, min(sample, n), replace=False))
    sent = read_sent(connection, answers["id"].to_numpy(object)[chosen].tolist())
    customers = frame_of([features for _, features in sent.values()], schema, "float64")
    return customers.assign(churn_probability=answers["p"].to_numpy()[chosen])


def snapshot(
    connection: Connection, release: Release, now: datetime, knobs: SnapshotKnobs, lasts: timedelta
) -> Snapshot:
    window = window_of(release.version, now, knobs)
    ends = (window.start, window.end), (window.cohort_start, window.cohort_end)
    answers, cohort = (read_customers(connection, release.version, *end, window.end, lasts) for end in ends)
    sample = read_sample(connection, release.schema, answers, knobs.sample, knobs.seed)
    return Snapshot(
        window,
        answers[["p", "flagged"]],
        cohort.drop(columns="id"),
        sample,
        pd.read_parquet(release.folder / REFERENCE),
        release.card,
    )


def champion() -> Release:
    """The release that answers now, verified."""
    return open_release(Store(read_settings().releases).champion())


def main(folder: Path = Path("monitoring/data")) -> None:
    knobs = read_knobs("monitoring.snapshot", SnapshotKnobs)
    release = champion()
    with open_log() as connection:
        taken = snapshot(connection, release, datetime.now(UTC), knobs, read_lasts())
    write_snapshot(taken, release.folder, folder)
    window, n, labelled = taken.window, len(taken.cohort), taken.cohort["churned"].notna().sum()
    log.info("read the answers of %s from %s to %s", release.version, window.start.isoformat(), window.end.isoformat())
    log.info("wrote %s: %d customers, %d of them as they were sent", folder, len(taken.answers), len(taken.sample))
    log.info("and a cohort of %d, %d with an outcome", n, labelled)


if __name__ == "__main__":
    run(main, "monitoring.snapshot")
