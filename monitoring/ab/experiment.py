"""The A/B report: what the split between champion and challenger has shown, and whether it is decided.

`python -m monitoring.ab [--json] [--abort] [--html FILE]` reads the running split from the ledger and the log. It may
be asked every day: the verdict comes from the difference in profit per customer, by a test that holds at all looks
together (monitoring.sequential), on all outcomes known now. The other intervals hold for one look. --abort ends the
split where the challenger is worse.

The unit is the customer, with the first prediction in the split as it is now: a share that was changed in between would
mix customers of different weeks (Simpson's paradox; Kohavi, Tang, Xu 2020, Trustworthy Online Controlled Experiments).
Profit is that of params.yaml, where an offer is a chance to keep who would have left. Where offers are made for real,
report as `churned` who would have left without; else both arms look less useful than they are.
"""

import argparse
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from pydantic import Field
from sqlalchemy import Connection, case, func, select

from churn.intervals import Measure, bootstrap, wilson, with_intervals
from churn.params import read_knobs, read_params
from churn.profit import Profit
from churn.scores import ResampledScores, Weights, total
from churn.script import InputError, as_json, write_text
from monitoring.ab.sequential import Looks, Moments, compare, running_moments, variance_to_find
from monitoring.frames import ANSWERED, between, flagged, open_log, read_frame, with_outcomes
from monitoring.text import cell, day_and_hour, row
from serve.log.tables import predictions
from serve.releases.ledger import Act, now_in, since
from serve.releases.store import Store
from serve.settings import read_settings

log = logging.getLogger("monitoring.ab")

SURPRISE = 0.001  # p below which arms are no random split (Fabijan et al. 2019, KDD, 2156-2164)
SWITCHED = 0.01  # share of customers in both arms that a difference bears; workers learn of a split one after the other
RATES = ("churn_rate", "flagged_rate")
SCORES = ("roc_auc", "brier", "profit_per_customer")


class Experiment(NamedTuple):
    champion: str
    challenger: str
    share: float  # of customers that the challenger answers
    since: datetime


class Stops(Protocol):
    """What can end a split: the store."""

    def abort(self, reason: str, who: str, challenger: str) -> object: ...


def running(acts: Sequence[Act]) -> Experiment:
    """The split that runs, from when its champion, challenger and share were what they are; acts oldest first."""
    state = now_in(acts)
    if not state.get("challenger") or not state.get("share"):
        raise InputError("no split is running; start one with: python -m serve.releases split VERSION --share 0.1")
    begun = since(acts, "champion", "challenger", "share")
    return Experiment(state["champion"], state["challenger"], state["share"], begun)


def read_customers(connection: Connection, experiment: Experiment) -> pd.DataFrame:
    """A row for each customer of the experiment, in the order of their first predictions in it.

    challenger (0 or 1: the arm that came first), switched (1: the other came too), p, flagged, churned (NaN where not
    known yet), observed_at. Predictions without a customer_id are not part of it: the split goes by the id.
    """
    c = predictions.c
    ours = case((c.arm == "champion", experiment.champion), else_=experiment.challenger) == c.model_version
    firsts = (
        select(func.min(c.id).label("id"), case((func.min(c.arm) != func.max(c.arm), 1), else_=0).label("switched"))
        .where(between(experiment.since), c.arm.in_(ANSWERED), ours, c.customer_id != "")
        .group_by(func.coalesce(c.customer_id, ""))  # not by the index, which would seek every row by itself
        .subquery()
    )
    rows = (
        select(
            *(c.id, c.at, c.customer_id, c.request_id, c.churn_probability.label("p")),
            case((c.arm == "challenger", 1), else_=0).label("challenger"),
            flagged(c.prediction).label("flagged"),
            firsts.c.switched,
        )
        .join(firsts, firsts.c.id == c.id)
        .cte("customers")
    )
    wanted = [rows.c[name] for name in ("challenger", "switched", "p", "flagged")]
    return read_frame(connection, with_outcomes(rows, *wanted))


def report(
    customers: pd.DataFrame,
    experiment: Experiment,
    profit: Profit,
    *,
    alpha: Annotated[float, Field(gt=0, le=0.5)],
    effect: Annotated[float, Field(gt=0)],
    min_labelled: Annotated[int, Field(ge=2)],
    resamples: Annotated[int, Field(ge=100)],
    seed: Annotated[int, Field(ge=0)],
) -> dict[str, Any]:
    """All that the report says; `customers` as `read_customers` gives them, NaN where something can't be said."""
    is_challenger = (customers["challenger"] == 1).to_numpy()
    parts = {arm: customers[is_challenger == (arm == "challenger")] for arm in ANSWERED}
    drawn = {arm: resampled(part.dropna(), profit, resamples, [seed, i]) for i, (arm, part) in enumerate(parts.items())}
    arms = {arm: counts(part) | with_intervals(drawn[arm]) for arm, part in parts.items()}
    gained = {score: drawn["challenger"][score] - drawn["champion"][score] for score in SCORES}
    days, looks, arms_then = daily(customers.dropna(), profit, tau=effect, alpha=alpha, least=min_labelled)
    found = {
        **experiment._asdict(),
        "since": experiment.since.isoformat(),
        "alpha": alpha,
        "effect": effect,
        "arms": arms,
        "differences": with_intervals(gained),
        "checks": checks(arms, experiment.share, int(customers["switched"].sum())),
        "days": [
            {"day": day, "labelled_champion": int(a), "labelled_challenger": int(b), **look}
            for day, a, b, look in zip(days, arms_then[0].n, arms_then[1].n, as_dicts(looks), strict=True)
        ],
    }
    last = as_dicts(looks)[-1] if days else dict.fromkeys(Looks._fields, math.nan)
    found["sequential"] = last | {"more_labelled": still_needed(arms_then, effect, alpha)}
    verdict, words = judged(found, min_labelled)
    return {"verdict": verdict, "words": words, **found}


def counts(part: pd.DataFrame) -> dict[str, float]:
    """Of one arm: customers, those with an outcome, and the shares of churned and of flagged among these."""
    labelled = part.dropna()
    shares: dict[str, float] = {"customers": len(part), "labelled": len(labelled)}
    for name, column in (("churn_rate", "churned"), ("flagged_rate", "flagged")):
        k, n = int(labelled[column].sum()), len(labelled)
        low, high = wilson(k, n)
        shares |= {name: k / n if n else math.nan, f"{name}_low": low, f"{name}_high": high}
    return shares


def resampled(labelled: pd.DataFrame, profit: Profit, b: int, seed: list[int]) -> dict[str, np.ndarray]:
    """(1 + b,) for each of SCORES, as `bootstrap` gives them."""
    churned, p, offered = (labelled[name].to_numpy("float64") for name in ("churned", "p", "flagged"))
    if not len(p):
        return dict.fromkeys(SCORES, np.full(1 + b, np.nan))

    def measure_of(rows: np.ndarray) -> Measure:
        ranks, earned = ResampledScores(churned[rows], p[rows]), profit.of(churned[rows], offered[rows])

        def measure(w: Weights) -> dict[str, np.ndarray]:
            ranking = ranks.ranking(w)
            found = {name: ranking[name] for name in ("roc_auc", "brier")}
            return found | {"profit_per_customer": total(w, earned) / w.sum(axis=1)}

        return measure

    return bootstrap(measure_of, len(p), b, seed)


def daily(
    labelled: pd.DataFrame, profit: Profit, *, tau: float, alpha: float, least: int
) -> tuple[list[str], Looks, tuple[Moments, Moments]]:
    """The test at the end of every day (UTC) on which outcomes were observed, with all that was known by then."""
    day = labelled["observed_at"].dt.strftime("%Y-%m-%d")
    days, look = np.unique(day.to_numpy("str"), return_inverse=True)
    earned = profit.of(labelled["churned"].to_numpy(), labelled["flagged"].to_numpy())
    inside = labelled["challenger"].to_numpy() == 1
    champion, challenger = (running_moments(earned[i], look[i], len(days)) for i in (~inside, inside))
    looks = compare(champion, challenger, tau=tau, alpha=alpha, least=least)
    return days.tolist(), looks, (champion, challenger)


def as_dicts(looks: Looks) -> list[dict[str, float]]:
    return [dict(zip(looks._fields, map(float, look), strict=True)) for look in zip(*looks, strict=True)]


def still_needed(arms: tuple[Moments, Moments], effect: float, alpha: float) -> dict[str, int] | None:
    """Roughly how many more labelled customers of each arm would show a difference of `effect`, were there one."""
    now = sum(float(arm.variance[-1] / arm.n[-1]) if len(arm.n) else math.nan for arm in arms)
    if not now > 0:
        return None
    times = now / variance_to_find(effect, tau=effect, alpha=alpha)
    return {name: max(0, math.ceil(arm.n[-1] * (times - 1))) for name, arm in zip(ANSWERED, arms, strict=True)}


def checks(arms: Mapping[str, Mapping[str, float]], share: float, switched: int) -> dict[str, Any]:
    """Whether the split is one: the ratio of customers, of those with an outcome, and who was in both arms."""
    n, labelled = ([int(arms[arm][key]) for arm in ANSWERED] for key in ("customers", "labelled"))
    in_both = switched / max(1, sum(n))
    found: dict[str, Any] = {
        "ratio_p": chi_square([n], [[1 - share, share]]),
        "labels_p": chi_square([labelled, [n[0] - labelled[0], n[1] - labelled[1]]]),
        "switched": switched,
    }
    problems = []
    if found["ratio_p"] < SURPRISE:
        got = f"{n[1] / sum(n):.2%} of the customers instead of {share:.2%}"
        problems.append(f"the challenger has {got} (p = {found['ratio_p']:.1g})")
    if found["labels_p"] < SURPRISE:
        a, b = (k / m for k, m in zip(labelled, n, strict=True))
        problems.append(f"outcomes are known of {a:.2%} and {b:.2%} of the arms (p = {found['labels_p']:.1g})")
    if in_both > SWITCHED:
        problems.append(f"{switched} customers ({in_both:.2%}) were in both arms")
    return found | {"problems": problems}


def chi_square(seen: list[list[int]], shares: list[list[float]] | None = None) -> float:
    """p with one degree of freedom: of one row against its shares, or of two rows being shared out alike.

    1 where a cell would have less than 5 of its own by chance: too few to say.
    """
    o = np.array(seen, dtype="float64")
    n = o.sum(axis=1, keepdims=True)
    expected = n * (np.array(shares) if shares else o.sum(axis=0) / max(1.0, o.sum()))
    if expected.min() < 5:
        return 1.0
    return math.erfc(math.sqrt(float(((o - expected) ** 2 / expected).sum()) / 2))


def judged(found: Mapping[str, Any], min_labelled: int) -> tuple[str, str]:
    """The verdict, too_early, undecided, better, worse or invalid, and a sentence for people."""
    labelled = [int(found["arms"][arm]["labelled"]) for arm in ANSWERED]
    look, more, effect = found["sequential"], found["sequential"]["more_labelled"], found["effect"]
    if problems := found["checks"]["problems"]:
        return "invalid", f"don't trust this split: {'; '.join(problems)}"
    if min(labelled) < min_labelled:
        known = f"{labelled[0]} of the champion's and {labelled[1]} of the challenger's customers"
        return "too_early", f"too few outcomes yet: of {known}; {min_labelled} of each are needed for a first look"
    if not more:
        return "undecided", "not decided: every customer with an outcome earned the same"
    sure = f"{look['low']:+.2f} to {look['high']:+.2f} at all looks together, p = {look['p']:.2g}"
    for verdict, is_so in (("better", look["low"] > 0), ("worse", look["high"] < 0)):
        if is_so:
            return verdict, f"challenger {verdict}: {look['difference']:+.2f} profit per customer ({sure})"
    needed = f"{more['champion']:,} and {more['challenger']:,} more outcomes of champion and challenger"
    wait = f"to find a difference of {effect:g}, wait for about {needed}"
    if not any(more.values()):
        wait = f"there are outcomes enough to find a difference of {effect:g}, which is not likely then"
    return "undecided", f"not decided: {look['difference']:+.2f} profit per customer ({sure}); {wait}"


def table(found: Mapping[str, Any]) -> str:
    """The report for people."""
    arms, gained, tested = found["arms"], found["differences"], found["sequential"]
    lines = [
        title(found),
        "",
        row("", *ANSWERED, "difference"),
        *(row(key, *(f"{arms[arm][key]:,}" for arm in ANSWERED), "") for key in ("customers", "labelled")),
        *(row(key.replace("_", " "), *(cell(arms[arm], key, ".1%") for arm in ANSWERED), "") for key in RATES),
    ]
    for key, shape in zip(SCORES, (".3f", ".3f", ".2f"), strict=True):
        cells = [cell(arms[arm], key, shape) for arm in ANSWERED]
        lines.append(row(key.replace("_", " "), *cells, cell(gained, key, f"+{shape}")))
    at_all_looks = {"profit": tested["difference"], "profit_low": tested["low"], "profit_high": tested["high"]}
    lines += [
        row("  at all looks", "", "", cell(at_all_looks, "profit", "+.2f")),
        "",
        f"ratio of customers p = {found['checks']['ratio_p']:.2g}, of outcomes p = {found['checks']['labels_p']:.2g};"
        f" {found['checks']['switched']} customers in both arms",
        found["words"],
    ]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def title(found: Mapping[str, Any]) -> str:
    who = f"champion {found['champion']} against challenger {found['challenger']}"
    return (
        f"{who} with {found['share']:.0%} of the customers since {day_and_hour(datetime.fromisoformat(found['since']))}"
    )


def end_if_worse(found: Mapping[str, Any], store: Stops) -> bool:
    """End the split where the challenger is worse; whether it did."""
    if found["verdict"] != "worse":
        return False
    labelled = [found["arms"][arm]["labelled"] for arm in ANSWERED]
    words = f"{found['words']}, of {labelled[0]} and {labelled[1]} customers with an outcome"
    store.abort(words, who="monitoring.ab", challenger=found["challenger"])  # not who may have come meanwhile
    return True


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m monitoring.ab", description=__doc__)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--abort", action="store_true", help="end the split where the challenger is worse")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report as a page, too")
    given = parser.parse_args()
    knobs, profit = read_params("ab", report), read_knobs("profit", Profit)
    store = Store(read_settings().releases)
    experiment = running(store.history())
    with open_log() as connection:
        customers = read_customers(connection, experiment)
    found = report(customers, experiment, profit, **knobs)
    if given.abort:
        if running(store.history()) != experiment:
            raise InputError("the split was changed while it was looked at; look again")
        found["aborted"] = end_if_worse(found, store)
    if given.html:
        from monitoring.ab.page import page

        write_text(given.html, page(found))
    sys.stdout.write(as_json(found) if given.json else table(found))
    if found.get("aborted"):
        log.info("ended the split: %s", found["words"])
