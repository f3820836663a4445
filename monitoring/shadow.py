"""The shadow report: how the release that scores beside the answers differs from them, and which of the two was right.

`python -m monitoring.shadow [--json]` pairs each prediction of the shadow with the answer to the same request, since
shadow and champion are what they are now. All requests are counted; everything else is measured on one pair for each
customer, the first, so that a customer who is scored every day counts once. Without a customer_id a request stands for
a customer. Where outcomes are known, both sides are scored on the same customers.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sqlalchemy import CTE, ColumnElement, Connection, case, func, select

from churn.campaigns import read_lasts
from churn.intervals import Interval, Measure, Z, bootstrap, intervals, wilson
from churn.offers import MAX_UNCOVERED
from churn.params import read_knobs
from churn.profit import Profit
from churn.release import open_release
from churn.report_text import day_and_hour, label, plain, shown
from churn.scores import Scored, Weights
from churn.script import InputError, as_json, run
from churn.text import columns
from monitoring.ab.report import Design
from monitoring.counting import counting, not_covered
from monitoring.frames import ARMS, between, flagged, open_log, read_outcomes
from serve.log.tables import predictions
from serve.releases.agreement import Side, decision_words, difference_words
from serve.releases.agreement import decisions as decisions_of
from serve.releases.ledger import Act, current_state, since
from serve.releases.store import Store
from serve.settings import read_settings

BOTH = ("answered", "shadow")
SCORES = {"roc_auc": ".3f", "brier": ".3f", "profit_per_customer": ".2f"}
SIDES = Side("answered", "the answer"), Side("shadow", "the shadow")


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """Scores of both sides on the same customers with an outcome that counts, and shadow minus answer."""

    labelled: int
    without_control: float  # share of the customers with an outcome whom offers reached, and nobody stands for
    roc_auc_answered: Interval
    roc_auc_shadow: Interval
    roc_auc_difference: Interval
    brier_answered: Interval
    brier_shadow: Interval
    brier_difference: Interval
    profit_per_customer_answered: Interval
    profit_per_customer_shadow: Interval
    profit_per_customer_difference: Interval


@dataclass(frozen=True, kw_only=True)
class Report:
    """The fields are the keys of `--json`; NaN where there is nothing to measure."""

    shadow: str
    champion: str
    since: datetime
    answered: int  # requests
    pairs: int
    scored: float  # share of the requests that have a pair
    customers: int
    spearman: Interval
    changed: Interval  # share of the customers with another decision
    decisions: dict[str, int]
    mean_difference: float  # of probabilities, shadow minus answer
    difference_50: float  # quantiles of its size
    difference_90: float
    difference_99: float
    difference_max: float
    outcomes: Outcomes


class Trial(NamedTuple):
    """The shadow that runs, and since when beside this champion."""

    shadow: str
    champion: str
    since: datetime


def running(acts: Sequence[Act]) -> Trial:
    """The shadow that runs, since it and the champion are what they are; acts oldest first."""
    state = current_state(acts)
    champion, shadow = state["champion"], state["shadow"]
    if not champion or not shadow:
        raise InputError("no shadow is running; start one with: python -m serve.releases shadow VERSION")
    return Trial(shadow, champion, since(acts, "shadow", "champion"))


def firsts(name: str, which: ColumnElement[bool]) -> CTE:
    """(id, request_id, customer) of the first such prediction for each request and customer."""
    c, customer = predictions.c, func.coalesce(predictions.c.customer_id, "")
    # also by the customer: a client that gives all its requests the same id must not pair two customers
    chosen = select(func.min(c.id).label("id"), c.request_id, customer.label("customer")).where(which)
    return chosen.group_by(c.request_id, customer).cte(name)


def read_pairs(connection: Connection, trial: Trial, lasts: timedelta) -> tuple[int, int, pd.DataFrame]:
    """The numbers of answered requests and of pairs, and a row for each customer's first pair.

    p_answered, p_shadow, flagged_answered, flagged_shadow, churned (NaN where not known), offered and spared.
    """
    c, begun = predictions.c, between(trial.since)
    answered = firsts("answered", begun & c.arm.in_(ARMS))
    shadowed = firsts("shadowed", begun & (c.arm == "shadow") & (c.model_version == trial.shadow))
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
    names = [f"{what}_{side}" for what in ("p", "flagged") for side in BOTH]
    n_answered = connection.scalar(select(func.count()).select_from(answered)) or 0
    n_pairs = connection.scalar(select(func.count()).select_from(pairs)) or 0
    customers = read_outcomes(connection, rows, names, lasts, trial.since)
    return n_answered, n_pairs, customers.drop(columns=["id", "observed_at"])


def report(
    trial: Trial, n_answered: int, n_pairs: int, customers: pd.DataFrame, profit: Profit, resamples: int, seed: int
) -> Report:
    """What `read_pairs` read, compared."""
    n = len(customers)
    off = (customers["p_shadow"] - customers["p_answered"]).to_numpy()
    counts = np.zeros((2, 2), dtype="int64")
    np.add.at(counts, tuple(customers[f"flagged_{side}"].to_numpy("int64") for side in BOTH), 1)
    decisions = decisions_of(counts, *SIDES)
    changed = decisions["only_answered"] + decisions["only_shadow"]
    sizes = np.quantile(np.abs(off), [0.5, 0.9, 0.99, 1]) if n else np.full(4, math.nan)
    return Report(
        **trial._asdict(),
        answered=n_answered,
        pairs=n_pairs,
        scored=n_pairs / n_answered if n_answered else math.nan,
        customers=n,
        spearman=rank_correlation(customers["p_answered"], customers["p_shadow"]),
        changed=Interval(changed / n if n else math.nan, *wilson(changed, n)),
        decisions=decisions,
        mean_difference=float(off.mean()) if n else math.nan,
        difference_50=float(sizes[0]),
        difference_90=float(sizes[1]),
        difference_99=float(sizes[2]),
        difference_max=float(sizes[3]),
        outcomes=outcomes_of(customers, profit, resamples, seed),
    )


def rank_correlation(a: pd.Series, b: pd.Series) -> Interval:
    """Spearman's, ties averaged, with an interval by Fisher's z; NaN where either is constant.

    The variance of z is (1 + r^2 / 2) / (n - 3): Bonett, Wright (2000), Psychometrika 65, 23-28.
    """
    n = len(a)
    if n < 4 or a.nunique() < 2 or b.nunique() < 2:
        return Interval(math.nan, math.nan, math.nan)
    r = float(np.clip(spearmanr(a, b).statistic, -1, 1))
    with np.errstate(divide="ignore"):  # equal orders lie infinitely far out, and come back as 1
        z, spread = np.arctanh(r), Z * math.sqrt((1 + r**2 / 2) / (n - 3))
    return Interval(r, float(np.tanh(z - spread)), float(np.tanh(z + spread)))


def outcomes_of(customers: pd.DataFrame, profit: Profit, resamples: int, seed: int) -> Outcomes:
    """Both sides under the same resamples of the customers with an outcome that counts."""
    labelled, missed = counting(customers), not_covered(customers, "p_answered")
    n, churned, weight = len(labelled), labelled["churned"].to_numpy("float64"), labelled["weight"].to_numpy()
    p, flagged = ({side: labelled[f"{what}_{side}"].to_numpy() for side in BOTH} for what in ("p", "flagged"))
    if not n or missed > MAX_UNCOVERED:
        sides = (*BOTH, "difference")
        nothing = Interval(math.nan, math.nan, math.nan)
        scores = {f"{score}_{side}": nothing for score in SCORES for side in sides}
        return Outcomes(labelled=0, without_control=missed, **scores)

    def measure_of(rows: np.ndarray) -> Measure:
        scored = {
            side: Scored(churned[rows], p[side][rows], profit.of(churned[rows], flagged[side][rows])) for side in BOTH
        }
        once = weight[rows]

        def measure(w: Weights) -> dict[str, np.ndarray]:
            answered, shadow = (scored[side].measures(w * once) for side in BOTH)
            measures: dict[str, np.ndarray] = {}
            for score in SCORES:
                measures |= {f"{score}_answered": answered[score], f"{score}_shadow": shadow[score]}
                measures[f"{score}_difference"] = shadow[score] - answered[score]
            return measures

        return measure

    parts: dict[str, Any] = {**intervals(bootstrap(measure_of, n, resamples, [seed]))}
    return Outcomes(labelled=n, without_control=missed, **parts)


def as_text(report: Report) -> str:
    """The report for people."""
    decisions, outcomes = report.decisions, report.outcomes
    lines = [
        f"shadow {report.shadow} beside champion {report.champion} since {day_and_hour(report.since)}",
        "",
        f"{report.pairs:,} of {report.answered:,} answered requests have the shadow's score; "
        f"{report.customers:,} customers",
    ]
    if report.customers:
        sizes = report.difference_50, report.difference_90, report.difference_99, report.difference_max
        lines += [
            f"rank correlation {shown(report.spearman, '.4f')}",
            decision_words(shown(report.changed, ".2%"), decisions, *SIDES),
            difference_words(report.mean_difference, sizes, *SIDES),
        ]
    if outcomes.labelled:
        rows: list[Sequence[str]] = [(f"{outcomes.labelled:,} outcomes", *BOTH, "difference")]
        for score, shape in SCORES.items():
            shapes = {"answered": shape, "shadow": shape, "difference": f"+{shape}"}
            cells = (shown(getattr(outcomes, f"{score}_{side}"), shape) for side, shape in shapes.items())
            rows.append((label(score), *cells))
        lines += ["", *columns(rows)]
    elif outcomes.without_control:
        missed = f"offers went to {outcomes.without_control:.0%} of the customers with an outcome"
        lines.append(f"outcomes tell nothing: {missed}, and nobody like them was held back")
    else:
        lines.append("no outcomes known yet")
    return "".join(f"{line}\n" for line in lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m monitoring.shadow", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print it for programs")
    arguments = parser.parse_args(argv)
    design, store = read_knobs("ab", Design), Store(read_settings().releases)
    trial = running(store.history())
    profit = read_knobs("profit", Profit).on_average(lambda: open_release(store.champion()).card)
    with open_log() as connection:
        pairs = read_pairs(connection, trial, read_lasts())
    made = report(trial, *pairs, profit, design.resamples, design.seed)
    sys.stdout.write(as_json(plain(made)) if arguments.json else as_text(made))


if __name__ == "__main__":
    run(main, "monitoring.shadow")
