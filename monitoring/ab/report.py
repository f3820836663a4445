"""The A/B report: what the split between champion and challenger has shown, and whether it is decided.

The verdict comes from the difference in profit per customer, by a test that holds at all looks together
(churn.sequential), on all outcomes known now. All other intervals hold for one look.

Profit is that of params.yaml, where an offer may keep a customer who would have left. Where offers are made for real,
the outcomes of customers without one count, by the rule of churn.offers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from pydantic import Field

from churn.experiments import SRM_ALPHA, p_of_ratios, p_of_shares
from churn.intervals import Interval, Measure, bootstrap, intervals, wilson
from churn.offers import MAX_UNCOVERED, effective
from churn.profit import Profit
from churn.report_text import plain
from churn.scores import Scored, Weights
from churn.script import InputError
from churn.sequential import Looks, Moments, compare, running_moments, variance_to_find
from monitoring.ab.experiment import Experiment, running
from monitoring.counting import counting, not_covered
from monitoring.frames import ARMS
from serve.releases.ledger import Act

MAX_SWITCHED = 0.01  # share of customers in both arms that a comparison bears: workers switch one after the other
SCORES = ("roc_auc", "brier", "profit_per_customer")


@dataclass(frozen=True, kw_only=True)
class Design:
    """The section `ab` of params.yaml, which says what the knobs mean."""

    alpha: Annotated[float, Field(gt=0, le=0.5)]
    effect: Annotated[float, Field(gt=0)]
    min_labelled: Annotated[int, Field(ge=2)]
    resamples: Annotated[int, Field(ge=100)]
    seed: Annotated[int, Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """The customers of one release; rates and scores are of those with an outcome that no offer reached."""

    customers: int
    labelled: int
    effective: float  # number of outcomes that tell as much as those that count
    churn_rate: Interval
    flagged_rate: Interval
    roc_auc: Interval
    brier: Interval
    profit_per_customer: Interval


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Challenger minus champion."""

    roc_auc: Interval
    brier: Interval
    profit_per_customer: Interval


@dataclass(frozen=True, kw_only=True)
class Checks:
    """Whether the split is one: the ratio of customers, the ratio of outcomes, and customers in both arms."""

    srm_p: float
    labels_p: float
    switched: int
    problems: list[str]


@dataclass(frozen=True, kw_only=True)
class Day:
    """The sequential test at the end of a day in UTC, with all outcomes known by then."""

    day: str
    labelled_champion: int
    labelled_challenger: int
    difference: float  # in profit per customer, challenger minus champion
    low: float
    high: float
    p: float


@dataclass(frozen=True, kw_only=True)
class Sequential:
    """The sequential test now; about how many more outcomes of each arm a difference of `effect` needs to show."""

    difference: float
    low: float
    high: float
    p: float
    more_labelled: dict[str, int] | None

    @property
    def profit(self) -> Interval:
        return Interval(self.difference, self.low, self.high)


class Verdict(NamedTuple):
    verdict: str  # too_early, undecided, better, worse or invalid
    words: str  # for people


@dataclass(frozen=True, kw_only=True)
class Report:
    """The fields are the keys of `--json`; NaN where there is nothing to measure."""

    verdict: str
    words: str
    champion: str
    challenger: str
    share: float
    since: datetime
    alpha: float
    effect: float
    arms: dict[str, Arm]
    differences: Differences
    checks: Checks
    days: list[Day]
    sequential: Sequential

    def as_dict(self) -> dict[str, Any]:
        """The report for programs."""
        result: dict[str, Any] = plain(self)
        return result


class Stops(Protocol):
    """What can end a split: the store."""

    def history(self) -> Sequence[Act]: ...

    def abort(self, reason: str, who: str, challenger: str) -> object: ...


def report(customers: pd.DataFrame, experiment: Experiment, profit: Profit, design: Design) -> Report:
    """`customers` as `read_customers` has them."""
    is_challenger = (customers["challenger"] == 1).to_numpy()
    parts = {arm: customers[is_challenger == (arm == "challenger")] for arm in ARMS}
    drawn = {
        arm: resampled(counting(part), profit, design.resamples, [design.seed, i])
        for i, (arm, part) in enumerate(parts.items())
    }
    arms = {arm: arm_of(part, intervals(drawn[arm])) for arm, part in parts.items()}
    gained = {score: drawn["challenger"][score] - drawn["champion"][score] for score in SCORES}
    days, moments = daily(counting(customers), profit, design)
    last = {key: getattr(days[-1], key) if days else math.nan for key in Looks._fields}
    sequential = Sequential(**last, more_labelled=still_needed(moments, design))
    checks = checks_of(arms, experiment.share, int(customers["switched"].sum()), not_covered(customers))
    verdict = verdict_of(arms, checks, sequential, design)
    return Report(
        **verdict._asdict(),
        **experiment._asdict(),
        alpha=design.alpha,
        effect=design.effect,
        arms=arms,
        differences=Differences(**intervals(gained)),
        checks=checks,
        days=days,
        sequential=sequential,
    )


def arm_of(part: pd.DataFrame, scores: Mapping[str, Interval]) -> Arm:
    counted = counting(part)
    weight = counted["weight"].to_numpy()
    n, total, rates = effective(weight), float(weight.sum()), {}
    for name, column in (("churn_rate", "churned"), ("flagged_rate", "flagged")):
        share = float((weight * counted[column]).sum()) / total if total else math.nan
        rates[name] = Interval(share, *wilson(round(share * n) if n else 0, round(n)))
    return Arm(customers=len(part), labelled=int(part["churned"].count()), effective=n, **rates, **scores)


def resampled(labelled: pd.DataFrame, profit: Profit, b: int, seed: list[int]) -> dict[str, np.ndarray]:
    """(1 + b,) for each of SCORES, as `bootstrap` has them."""
    names = "churned", "p", "flagged", "weight"
    churned, p, flagged, weight = (labelled[name].to_numpy("float64") for name in names)
    if not len(p):
        return dict.fromkeys(SCORES, np.full(1 + b, np.nan))

    def measure_of(rows: np.ndarray) -> Measure:
        scored = Scored(churned[rows], p[rows], profit.of(churned[rows], flagged[rows]))
        once = weight[rows]

        def measure(w: Weights) -> dict[str, np.ndarray]:
            measures = scored.measures(w * once)
            return {name: measures[name] for name in SCORES}

        return measure

    return bootstrap(measure_of, len(p), b, seed)


def daily(labelled: pd.DataFrame, profit: Profit, design: Design) -> tuple[list[Day], tuple[Moments, Moments]]:
    """The test at the end of every day on which outcomes were observed; and the moments of both arms by then."""
    day = labelled["observed_at"].dt.strftime("%Y-%m-%d")
    days, look = np.unique(day.to_numpy("str"), return_inverse=True)
    earned = profit.of(labelled["churned"].to_numpy(), labelled["flagged"].to_numpy())
    inside = labelled["challenger"].to_numpy() == 1
    weight = labelled["weight"].to_numpy()
    champion, challenger = (running_moments(earned[i], weight[i], look[i], len(days)) for i in (~inside, inside))
    looks = compare(champion, challenger, tau=design.effect, alpha=design.alpha, least=design.min_labelled)
    counts = (np.round(arm.n).astype("int64").tolist() for arm in (champion, challenger))
    rows = zip(days.tolist(), *counts, *(x.tolist() for x in looks), strict=True)
    names = ("day", "labelled_champion", "labelled_challenger", *looks._fields)
    return [Day(**dict(zip(names, row, strict=True))) for row in rows], (champion, challenger)


def still_needed(arms: tuple[Moments, Moments], design: Design) -> dict[str, int] | None:
    """About how many more labelled customers of each arm would show a difference of `effect`, if there is one."""
    now = sum(float(arm.variance[-1] / arm.n[-1]) if len(arm.n) else math.nan for arm in arms)
    if not now > 0:
        return None
    times = now / variance_to_find(design.effect, tau=design.effect, alpha=design.alpha)
    return {name: max(0, math.ceil(arm.n[-1] * (times - 1))) for name, arm in zip(ARMS, arms, strict=True)}


def checks_of(arms: Mapping[str, Arm], share: float, switched: int, missed: float = 0.0) -> Checks:
    """`missed`: share of the customers with an outcome whom offers reached without a control group."""
    n, labelled = [arms[arm].customers for arm in ARMS], [arms[arm].labelled for arm in ARMS]
    srm_p = p_of_shares(n, [1 - share, share])
    labels_p = p_of_ratios([labelled, [n[0] - labelled[0], n[1] - labelled[1]]])
    in_both = switched / max(1, sum(n))
    problems = []
    if srm_p < SRM_ALPHA:
        problems.append(f"the challenger has {n[1] / sum(n):.2%} of the customers, not {share:.2%} (p = {srm_p:.1g})")
    if labels_p < SRM_ALPHA:
        a, b = (f"{k / m:.2%}" for k, m in zip(labelled, n, strict=True))
        unequal = f"outcomes are known of {a} of the champion's customers and of {b} of the challenger's"
        problems.append(f"{unequal} (p = {labels_p:.1g})")
    if in_both > MAX_SWITCHED:
        problems.append(f"{switched} customers ({in_both:.2%}) were in both arms")
    if missed > MAX_UNCOVERED:
        problems.append(
            f"offers went to {missed:.0%} of the customers with an outcome, and nobody like them was held back"
        )
    return Checks(srm_p=srm_p, labels_p=labels_p, switched=switched, problems=problems)


def verdict_of(arms: Mapping[str, Arm], checks: Checks, test: Sequential, design: Design) -> Verdict:
    labelled, more, effect = [round(arms[arm].effective) for arm in ARMS], test.more_labelled, design.effect
    if checks.problems:
        return Verdict("invalid", f"don't trust this split: {'; '.join(checks.problems)}")
    if min(labelled) < design.min_labelled:
        so_far = f"{labelled[0]} of the champion's and {labelled[1]} of the challenger's customers have one"
        return Verdict("too_early", f"too few outcomes yet: {so_far}; a first look needs {design.min_labelled} of each")
    if not more:
        return Verdict("undecided", "not decided: every customer with an outcome earned the same")
    interval = f"{test.low:+.2f} to {test.high:+.2f} at all looks together, p = {test.p:.2g}"
    for verdict, is_so in (("better", test.low > 0), ("worse", test.high < 0)):
        if is_so:
            return Verdict(verdict, f"challenger {verdict}: {test.difference:+.2f} profit per customer ({interval})")
    wait = f"there are enough outcomes to detect a difference of {effect:g}, so there probably is none"
    if any(more.values()):
        needed = f"{more['champion']:,} and {more['challenger']:,} more outcomes of champion and challenger"
        wait = f"to detect a difference of {effect:g}, wait for about {needed}"
    return Verdict("undecided", f"not decided: {test.difference:+.2f} profit per customer ({interval}); {wait}")


def end_if_worse(report: Report, experiment: Experiment, store: Stops) -> bool:
    """End the split if the challenger is worse; return whether it was ended."""
    if running(store.history()) != experiment:
        raise InputError("the split was changed while it was looked at; look again")
    if report.verdict != "worse":
        return False
    champion, challenger = (round(report.arms[arm].effective) for arm in ARMS)
    reason = f"{report.words}, of {champion} and {challenger} customers with an outcome"
    # the challenger is named, so that one that came in the meantime is not ended
    store.abort(reason, who="monitoring.ab", challenger=report.challenger)
    return True
