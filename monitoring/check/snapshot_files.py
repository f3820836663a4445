"""The files between the stages snapshot and report: all that a report is made of, so that it can be made again."""

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from churn.release import CARD, REFERENCE
from churn.report_text import plain
from churn.script import replacing, write_json
from monitoring.check.findings import Window

ANSWERS, COHORT, SAMPLE, WINDOW = "answers.parquet", "cohort.parquet", "sample.parquet", "window.json"


class Standing(NamedTuple):
    """Customers of scored files, for whom others stand that are made from the sums of all."""

    rows: int  # whom they stand for
    inputs: pd.DataFrame  # as the model reads them, each column alone


class Snapshot(NamedTuple):
    """What a report is made of; customers are rows."""

    window: Window
    answers: pd.DataFrame  # of the window: p, flagged (0 or 1)
    cohort: pd.DataFrame  # of one old enough for outcomes: p, flagged, churned (NaN where not known), offered, spared
    sample: pd.DataFrame  # of the window's: the schema's columns as they were sent, churn_probability
    reference: pd.DataFrame  # the champion's
    card: dict[str, Any]
    standing: Standing | None = None


def read_snapshot(folder: Path) -> Snapshot:
    frames = {name: pd.read_parquet(folder / name) for name in (ANSWERS, COHORT, SAMPLE, REFERENCE)}
    window, card = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (WINDOW, CARD))
    ends = {key: datetime.fromisoformat(window[key]) for key in ("start", "end", "cohort_start", "cohort_end")}
    window = Window(model_version=window["model_version"], **ends)
    return Snapshot(window, frames[ANSWERS], frames[COHORT], frames[SAMPLE], frames[REFERENCE], card)


def write_snapshot(taken: Snapshot, bundle: Path, folder: Path) -> None:
    for name, frame in ((ANSWERS, taken.answers), (COHORT, taken.cohort), (SAMPLE, taken.sample)):
        with replacing(folder / name) as temporary:
            frame.to_parquet(temporary, index=False)
    for name in (REFERENCE, CARD):
        with replacing(folder / name) as temporary:
            shutil.copy(bundle / name, temporary)
    write_json(folder / WINDOW, plain(taken.window))
