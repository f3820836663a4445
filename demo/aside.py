"""Releases that are trained beside the story, by the pipeline's own stages: `python -m demo.aside FOLDER`.

Of the models only the baseline, a logistic regression: the best one in this operator's worlds, and the fastest.
`plenty` is what a retraining is measured against: the new world with so many customers that more would teach nothing.
`wrong` is what goes wrong: last year's customers, and of those only the ones without a long contract.
"""

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from churn.params import PARAMS
from churn.script import run
from churn.urls import sqlite_url
from demo.world import CHANGED, QUIET, as_texts, month

log = logging.getLogger("demo.aside")

TABLE = "customers.parquet"
PLENTY, WRONG, SEED = 30_000, 6_000, 900


def tables() -> dict[str, pd.DataFrame]:
    last_year = month(SEED + 1, WRONG, *QUIET)
    return {
        "wrong": last_year[last_year["contract"] == "Month-to-month"],
        "plenty": month(SEED, PLENTY, *CHANGED),
    }


def prepare(folder: Path, table: pd.DataFrame, model: str, params: Mapping[str, Any]) -> None:
    """What the stages read: the table, as texts, and the repository's knobs, for this table and one model."""
    folder.mkdir()
    as_texts(table).to_parquet(folder / TABLE, index=False)
    schema = Path(params["data"]["schema"]).resolve()
    knobs = {
        **params,
        "data": {"path": TABLE, "schema": str(schema), "options": {}},
        "validate": params["validate"] | {"reference": None},
        "train": params["train"] | {"models": {model: params["train"]["models"][model]}},
        "evaluate": params["evaluate"] | {"resamples": 100},
    }
    (folder / PARAMS).write_text(yaml.safe_dump(knobs, sort_keys=False))


def train_in(folder: Path, model: str) -> None:
    """The stages from load to deploy, one after the other, in that folder."""
    from stages import deploy, evaluate, featurize, load, preprocess, select, train, validate

    with chdir(folder):
        for stage in (load, validate, preprocess, featurize):
            stage.main()
        train.main(model)
        for stage in (select, evaluate, deploy):
            stage.main()


def main() -> None:
    os.nice(10)  # the story goes first
    os.environ["MLFLOW_TRACKING_URI"] = sqlite_url(Path(sys.argv[1]).resolve() / "mlflow.db")
    params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    model = params["evaluate"]["baseline"]
    for name, table in tables().items():
        folder = Path(sys.argv[1], name)
        prepare(folder, table, model, params)
        train_in(folder, model)


if __name__ == "__main__":
    run(main, "demo.aside")
