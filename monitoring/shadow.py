"""The shadow report: what the release beside the answers would have said, and what would have been different.

`python -m monitoring.shadow [--json]` pairs each prediction of the shadow with the answer to the same request, since
the shadow and the champion are what they are. Requests are counted as they are; all else has one pair for each
customer, the first, for a customer who is asked about every day tells the same story every day. Without a customer_id
a request stands for a customer. Where outcomes are known, both sides are scored on the same customers.
"""

import argparse
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sqlalchemy import CTE, ColumnElement, Connection, case, func, select

from churn.intervals import Measure, Z, bootstrap, wilson, with_intervals
from churn.params import read_knobs, read_params
from churn.profit import Profit
from churn.scores import ResampledScores, Weights, total
from churn.script import InputError, as_json, run
from monitoring.ab.experiment import SCORES, report
from monitoring.frames import ANSWERED, between, flagged, open_log, read_frame, with_outcomes
from monitoring.text import cell, day_and_hour, row
from serve.log.tables import predictions
from serve.releases.ledger import Act, now_in, since
from serve.releases.store import Store
from serve.settings import read_settings

log = logging.getLogger("monitoring.shadow")

BOTH = ("answered", "shadow")
CELLS = {(0, 0): "neither", (1, 1): "both", (1, 0): "only_answered", (0, 1): "only_shadow"}  # who flags a customer


class Shadow(NamedTuple):
    shadow: str
    champion: str
    since: datetime


def running(acts: Sequence[Act]) -> Shadow:
    """The shadow that runs, from when it and the champion were what they are; acts oldest first."""
    state = now_in(acts)
    if not state.get("shadow"):
        raise InputError("no shadow is running; start one with: python -m serve.releases shadow VERSION")
    return Shadow(state["shadow"], state["champion"], since(acts, "shadow", "champion"))


def firsts(name: str, which: ColumnElement[bool]) -> CTE:
    """(id, request_id, customer) of the first such prediction for each request and customer."""
    c, customer = predictions.c, func.coalesce(predictions.c.customer_id, "")
    # by the customer, too: a client that gives all its requests one name pairs no two customers
    chosen = select(func.min(c.id).label("id"), c.request_id, customer.label("customer")).where(which)
    return chosen.group_by(c.request_id, customer).cte(name)


def read_pairs(connection: Connection, shadow: Shadow) -> tuple[int, int, pd.DataFrame]:
    """How many requests were answered, how many of them the shadow scored, and a row for each customer's first pair.

    p_answered, p_shadow, flagged_answered, flagged_shadow, churned (NaN where not known).
    """
    c, begun = predictions.c, between(shadow.since)
    answered = firsts("answered", begun & c.arm.in_(ANSWERED))
    shadowed = firsts("shadowed", begun & (c.arm == "shadow") & (c.model_version == shadow.shadow))
    same = (shadowed.c.request_id == answered.c.request_id) & (shadowed.c.customer == answered.c.customer)
    unit = case((answered.c.customer == "", answered.c.request_id), else_=answered.c.customer)
    place = func.row_number().over(partition_by=[answered.c.customer == "", unit], order_by=answered.c.id)
    paired = select(answered.c.id, shadowed.c.id.label("shadow_id"), place.label("place")).join(shadowed, same)
    pairs = paired.cte("pairs")
    mine, other = predictions.alias("mine"), predictions.alias("other")
    rows = (
        select(mine.c.id, mine.c.at, mine.c.customer_id, mine.c.request_id)
        .add_columns(mine.c.churn_probability.label("p_answered"), other.c.churn_probability.label("p_shadow"))
        .add_columns(flagged(mine.c.prediction).label("flagged_answered"))
        .add_columns(flagged(other.c.prediction).label("flagged_shadow"))
        .join(pairs, pairs.c.id == mine.c.id)
        .join(other, other.c.id == pairs.c.shadow_id)
        .where(pairs.c.place == 1)
        .cte("rows_of_customers")
    )
    wanted = [rows.c[f"{what}_{who}"] for what in ("p", "flagged") for who in BOTH]
    n_answered = connection.scalar(select(func.count()).select_from(answered)) or 0
    n_pairs = connection.scalar(select(func.count()).select_from(pairs)) or 0
    return n_answered, n_pairs, read_frame(connection, with_outcomes(rows, *wanted))


def compared(
    n_answered: int, n_pairs: int, customers: pd.DataFrame, profit: Profit, resamples: int, seed: int
) -> dict[str, Any]:
    """All that the report says; NaN where something can't be said."""
    n = len(customers)
    off = (customers["p_shadow"] - customers["p_answered"]).to_numpy()
    cells = customers.groupby(["flagged_answered", "flagged_shadow"]).size()
    decisions = {name: int(cells.get(key, 0)) for key, name in CELLS.items()}
    changed = decisions["only_answered"] + decisions["only_shadow"]
    low, high = wilson(changed, n)
    sizes = np.quantile(np.abs(off), [0.5, 0.9, 0.99, 1]) if n else np.full(4, math.nan)
    return {
        "answered": n_answered,
        "pairs": n_pairs,
        "scored": n_pairs / n_answered if n_answered else math.nan,
        "customers": n,
        **rank_correlation(customers["p_answered"], customers["p_shadow"]),
        **{"changed": changed / n if n else math.nan, "changed_low": low, "changed_high": high},
        "decisions": decisions,
        "mean_difference": float(off.mean()) if n else math.nan,
        **dict(zip([f"difference_{q}" for q in ("50", "90", "99", "max")], map(float, sizes), strict=True)),
        "outcomes": scored(customers.dropna(), profit, resamples, seed),
    }


def rank_correlation(a: pd.Series, b: pd.Series) -> dict[str, float]:
    """Spearman's, ties averaged, with an interval by Fisher's z.

    Its variance (1 + r^2 / 2) / (n - 3): Bonett, Wright (2000), Psychometrika 65, 23-28. NaN where either is constant.
    """
    n = len(a)
    if n < 4 or a.nunique() < 2 or b.nunique() < 2:
        return dict.fromkeys(("spearman", "spearman_low", "spearman_high"), math.nan)
    r = float(np.clip(np.corrcoef(a.rank(), b.rank())[0, 1], -1, 1))
    with np.errstate(divide="ignore"):  # equal orders lie infinitely far out, and come back as 1
        z, spread = np.arctanh(r), Z * math.sqrt((1 + r**2 / 2) / (n - 3))
    return {"spearman": r, "spearman_low": float(np.tanh(z - spread)), "spearman_high": float(np.tanh(z + spread))}


def scored(labelled: pd.DataFrame, profit: Profit, resamples: int, seed: int) -> dict[str, Any]:
    """Of the customers with an outcome: the scores of either side and the difference, all under the same resamples."""
    n, churned = len(labelled), labelled["churned"].to_numpy("float64")
    keys = [f"{score}_{side}" for score in SCORES for side in (*BOTH, "difference")]
    if not n:
        return {"labelled": 0} | with_intervals(dict.fromkeys(keys, np.array([math.nan])))

    def measure_of(rows: np.ndarray) -> Measure:
        part = labelled.iloc[rows]
        ranks = {side: ResampledScores(churned[rows], part[f"p_{side}"].to_numpy()) for side in BOTH}
        earned = {side: profit.of(churned[rows], part[f"flagged_{side}"].to_numpy()) for side in BOTH}

        def measure(w: Weights) -> dict[str, np.ndarray]:
            found: dict[str, np.ndarray] = {}
            for side in BOTH:
                ranking = ranks[side].ranking(w)
                found |= {f"{score}_{side}": ranking[score] for score in ("roc_auc", "brier")}
                found[f"profit_per_customer_{side}"] = total(w, earned[side]) / w.sum(axis=1)
            for score in SCORES:
                found[f"{score}_difference"] = found[f"{score}_shadow"] - found[f"{score}_answered"]
            return {key: found[key] for key in keys}

        return measure

    return {"labelled": n} | with_intervals(bootstrap(measure_of, n, resamples, [seed]))


def table(found: Mapping[str, Any]) -> str:
    """The report for people."""
    decisions, outcomes = found["decisions"], found["outcomes"]
    begun = day_and_hour(datetime.fromisoformat(found["since"]))
    lines = [
        f"shadow {found['shadow']} beside champion {found['champion']} since {begun}",
        "",
        f"{found['pairs']:,} of {found['answered']:,} answered requests have the shadow's score; "
        f"{found['customers']:,} customers",
    ]
    if found["customers"]:
        lines += [
            f"rank correlation {cell(found, 'spearman', '.4f')}",
            f"decisions that differ {cell(found, 'changed', '.2%')}: flagged by the shadow alone "
            f"{decisions['only_shadow']:,}, by the answer alone {decisions['only_answered']:,}, by both "
            f"{decisions['both']:,}, by neither {decisions['neither']:,}",
            f"shadow's probability minus the answer's: mean {found['mean_difference']:+.4f}; distance: half below "
            f"{found['difference_50']:.4f}, 90 % below {found['difference_90']:.4f}, 99 % below "
            f"{found['difference_99']:.4f}, at most {found['difference_max']:.4f}",
        ]
    if not outcomes["labelled"]:
        lines.append("no outcomes known yet")
    else:
        lines += ["", row(f"{outcomes['labelled']:,} outcomes", *BOTH, "difference")]
        for key, shape in zip(SCORES, (".3f", ".3f", ".2f"), strict=True):
            sides = (cell(outcomes, f"{key}_{side}", shape) for side in BOTH)
            lines.append(row(key.replace("_", " "), *sides, cell(outcomes, f"{key}_difference", f"+{shape}")))
    return "".join(f"{line.rstrip()}\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m monitoring.shadow", description=__doc__)
    parser.add_argument("--json", action="store_true", help="for programs")
    given = parser.parse_args()
    knobs, profit = read_params("ab", report), read_knobs("profit", Profit)
    shadow = running(Store(read_settings().releases).history())
    with open_log() as connection:
        read = read_pairs(connection, shadow)
    known = {**shadow._asdict(), "since": shadow.since.isoformat()}
    found = known | compared(*read, profit, knobs["resamples"], knobs["seed"])
    sys.stdout.write(as_json(found) if given.json else table(found))


if __name__ == "__main__":
    run(main, "monitoring.shadow")
