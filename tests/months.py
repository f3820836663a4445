"""Months of the simulated operator as a release sees them: what the monitoring is measured on."""

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from churn.release import REFERENCE
from churn.scorer import Scorer
from churn.scores import Weighted
from monitoring.snapshot import as_columns
from monitoring.snapshot_files import Snapshot
from serve.log import first_id
from stages.deploy import records
from stages.simulate import leaving, simulate
from tests.watched import fill, prediction

BEGINS = 2  # the month, counted from 0, in which a drift begins


def month(seed: int, customers: int, drift: float = 0.0, concept: float = 0.0) -> pd.DataFrame:
    """The month in which the drift begins, as `simulate` gives it."""
    months = {"months": BEGINS + 1, "start": date(2026, 1, 1), "drift_month": BEGINS, "concept_month": BEGINS}
    drawn = pd.concat(simulate(customers=customers, seed=seed, drift=drift, concept=concept, **months))  # type: ignore[arg-type]
    return drawn[drawn["snapshot_date"] == drawn["snapshot_date"].max()].reset_index(drop=True)


def sent(scorer: Scorer, customers: pd.DataFrame) -> list[dict[str, Any]]:
    """The customers as a client would send them."""
    columns = customers[[column.name for column in scorer.release.schema.columns]].copy()
    for column in scorer.release.schema.columns:
        if column.type == "boolean":
            columns[column.name] = columns[column.name].astype("str").isin(["Yes", "1"])
        elif column.type == "category":
            columns[column.name] = columns[column.name].astype("str")
    return records(columns)


def taken(scorer: Scorer, customers: pd.DataFrame, sample: int = 20_000) -> Snapshot:
    """A snapshot of a month whose outcomes are all known."""
    rows = sent(scorer, customers)
    p = scorer.probabilities(rows)
    flagged = (p >= scorer.release.card["threshold"]["value"]).astype("float64")
    answers = pd.DataFrame({"p": p, "flagged": flagged})
    day = dict.fromkeys(("start", "end", "cohort_start", "cohort_end"), "2026-03-01T00:00:00+00:00")
    return Snapshot(
        {"model_version": scorer.release.version, **day},
        answers,
        answers.assign(churned=(customers["churned"] == "Yes").astype("float64")),
        as_columns(rows[:sample], scorer.release.schema).assign(churn_probability=p[:sample]),
        pd.read_parquet(scorer.release.folder / REFERENCE),
        scorer.release.card,
    )


def true_auc(customers: pd.DataFrame, p: np.ndarray, concept: float = 0.0) -> float:
    """The ROC AUC of p that is expected of these customers, by the chance with which the simulation lets each leave."""
    chance = leaving(customers, concept)
    return float(Weighted(chance, p).ranking(np.ones((1, len(p))))["roc_auc"][0])


def log_month(engine: Engine, scorer: Scorer, customers: pd.DataFrame, begin: datetime, known: bool = True) -> None:
    """Write answers to these customers, evenly spread over 28 days, and where `known` what became of them within the
    month: leavers are known on the day they leave, all others at the end of the month."""
    rows, version = sent(scorer, customers), scorer.release.version
    step, threshold = timedelta(days=28) / len(rows), scorer.release.card["threshold"]["value"]
    answers, found = [], []
    for i, (row, p) in enumerate(zip(rows, scorer.probabilities(rows).tolist(), strict=True)):
        at, customer = begin + i * step, str(customers["customer_id"][i])
        answers.append(
            prediction(0, customer, "champion", p, at=at, id=f"{first_id(at)}{i:018x}", features=row,
                       prediction="churn" if p >= threshold else "no_churn", model_version=version)
        )  # fmt: skip
        churned = bool(customers["churned"][i] == "Yes")
        seen = at + timedelta(days=1 + 28 * (i % 97) / 97 if churned else 29)
        found.append(
            {"customer_id": customer, "request_id": "", "observed_at": seen, "churned": churned, "received_at": seen}
        )
    fill(engine, answers, found if known else [])
