"""Months of the simulated operator, what changes in them, and what only a simulation can tell: the true ROC AUC."""

from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from churn.customers import records
from churn.schema import Schema
from churn.scores import ResampledScores
from stages.simulate import simulate

BEGINS = 2  # the month, counted from 0, in which a drift begins


def month(seed: int, customers: int, drift: float = 0.0, concept: float = 0.0) -> pd.DataFrame:
    """The month in which the drift begins, as `simulate` gives it; other seeds are other customers of the operator."""
    months = {"months": BEGINS + 1, "start": date(2026, 1, 1), "drift_month": BEGINS, "concept_month": BEGINS}
    drawn = pd.concat(simulate(customers=customers, seed=seed, drift=drift, concept=concept, **months))  # type: ignore[arg-type]
    return drawn[drawn["snapshot_date"] == drawn["snapshot_date"].max()].reset_index(drop=True)


def as_texts(customers: pd.DataFrame) -> pd.DataFrame:
    """The customers as a table has them."""
    return customers.drop(columns="snapshot_date").astype(dict.fromkeys(customers.select_dtypes("category"), "str"))


def sent(schema: Schema, customers: pd.DataFrame) -> list[dict[str, Any]]:
    """The customers as a client would send them, without their ids."""
    columns = customers[[column.name for column in schema.columns]].copy()
    for column in schema.columns:
        if column.type == "boolean":
            columns[column.name] = columns[column.name].astype("str").isin(["Yes", "1"])
        elif column.type == "category":
            columns[column.name] = columns[column.name].astype("str")
    return records(columns, schema)


def expected_auc(chance: np.ndarray, p: np.ndarray) -> float:
    """The ROC AUC of p, (n,), where customers leave with that chance, (n,)."""
    return float(ResampledScores(chance, p).ranking(np.ones((1, len(p))))["roc_auc"][0])


class World(NamedTuple):
    """What is different in a month, 0 to 1 as in params simulate."""

    drift: float = 0.0
    concept: float = 0.0


QUIET, CAMPAIGN, CHANGED = World(), World(drift=0.5), World(concept=1.0)
WORLDS = [QUIET, QUIET, CAMPAIGN, *[CHANGED] * 7]  # of each month; the campaign brings other customers for one
