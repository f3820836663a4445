"""What a campaign brought: customers who were made an offer against those who were held back by chance.

Money is that of the section `profit`: a customer who stays is worth `customer_value`, an offer costs `offer_cost`,
taken or not. So an offer earns customer_value * (P(churned | held back) - P(churned | offered)) - offer_cost, without
any assumption of how many it keeps.

The verdict comes from a test that may be looked at every day (churn.sequential), of outcomes that are old enough to be
known of leavers and stayers alike. What the score foretold is taken out of both sides first, which narrows the interval
and moves nothing: a regression on the score within each side (Lin 2013, Annals of Applied Statistics 7, 295-318), as
CUPED does with what was before (Deng, Xu, Kohavi, Walker 2013, WSDM, 123-132). Other intervals hold for one look.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import t as student

from campaigns.result.experiment import Experiment
from churn.campaigns import Campaigns
from churn.experiments import SRM_ALPHA, p_of_ratios, p_of_shares
from churn.intervals import Interval, Z
from churn.offers import effective
from churn.profit import Profit
from churn.report_text import plain
from churn.sequential import Looks, Moments, compare, running_moments, variance_to_find

SIDES = ("control", "offered")
FIFTHS = 5
MIN_FIFTH = 30  # customers of each side in a fifth of the score, below which nothing is said of it
MAX_HIDDEN = 0.01  # share of the held back who may be made an offer all the same
MAX_NAMED = 20  # of them, that a report names


@dataclass(frozen=True, kw_only=True)
class Side:
    """The customers who were made an offer, or who were held back."""

    customers: int
    known: int  # with an outcome old enough to count
    churn_rate: float


@dataclass(frozen=True, kw_only=True)
class Fifth:
    """Customers of neighbouring scores."""

    low: float
    high: float
    customers: int
    churn_avoided: Interval


@dataclass(frozen=True, kw_only=True)
class Day:
    """The test at the end of a day in UTC, of incremental profit per contact."""

    day: str
    known_control: int
    known_offered: int
    profit: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, kw_only=True)
class Checks:
    """Whether chance alone split the customers, and outcomes are known of both sides alike."""

    srm_p: float
    labels_p: float
    hidden: int  # held back, and made an offer all the same
    hidden_customers: list[str]  # the first of them
    problems: list[str]


class Verdict(NamedTuple):
    verdict: str  # too_early, undecided, profitable, unprofitable or invalid
    words: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """The fields are the keys of `--json`; NaN where there is nothing to measure."""

    verdict: str
    words: str
    campaign: str
    since: datetime | None
    control: Side
    offered: Side
    churn_avoided: Interval  # P(churned) held back minus offered; for one look
    churn_avoided_at_all_looks: Interval
    profit_per_contact: Interval  # incremental, the offer's cost paid; for one look
    profit_per_contact_at_all_looks: Interval
    profit_per_1000_contacts: Interval  # at all looks
    profit: Interval  # of all offers that were made; at all looks
    p: float  # of no incremental profit, at all looks
    offer_success: Interval  # share of the leavers whom the offer kept; for one look
    narrower: float  # share of the variance that the score took out
    more_known: int | None  # about how many more outcomes would show an effect as large as campaigns.effect
    effect: float  # per contact, that is looked for
    fifths: list[Fifth]
    days: list[Day]
    checks: Checks
    expected: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """The report for programs."""
        result: dict[str, Any] = plain(self)
        return result


class Arms(NamedTuple):
    """The customers who count, (n,) each."""

    offered: np.ndarray  # bool
    weight: np.ndarray  # one over the chance of the side, so that both stand for all
    churned: np.ndarray
    score: np.ndarray  # minus its mean over all of the campaign; 0 where there is none
    look: np.ndarray  # place of the day on which its outcome is old enough
    days: list[str]


def report(experiment: Experiment, profit: Profit, knobs: Campaigns, now: datetime) -> Report:
    arms = counted(experiment, knobs, now)
    value, cost = float(profit.customer_value), float(profit.offer_cost)
    stayed = adjusted(-arms.churned, arms)
    money = stayed * value - cost * arms.offered
    avoided = looks_of(stayed, arms, knobs.effect / value, knobs)
    earned = looks_of(money, arms, knobs.effect, knobs)
    n_offered = int(experiment.offered.sum())
    sides = {name: side_of(experiment, arms, is_offered) for name, is_offered in zip(SIDES, (False, True), strict=True)}
    checks = checks_of(experiment, sides)
    profit_now = last(earned.looks)
    more = still_needed(earned.moments, knobs)
    verdict = verdict_of(sides, checks, profit_now, more, earned, knobs)
    return Report(
        **verdict._asdict(),
        campaign=experiment.name,
        since=_moment(experiment.at.min()) if len(experiment.at) else None,
        control=sides["control"],
        offered=sides["offered"],
        churn_avoided=welch(avoided.moments),
        churn_avoided_at_all_looks=last(avoided.looks),
        profit_per_contact=welch(earned.moments),
        profit_per_contact_at_all_looks=profit_now,
        profit_per_1000_contacts=times(profit_now, 1000),
        profit=times(profit_now, n_offered),
        p=float(earned.looks.p[-1]) if arms.days else math.nan,
        offer_success=success(arms),
        narrower=narrower(arms, stayed),
        more_known=more,
        effect=knobs.effect,
        fifths=fifths_of(experiment, knobs, now),
        days=days_of(earned, arms),
        checks=checks,
        expected=experiment.expected,
    )


def counted(experiment: Experiment, knobs: Campaigns, now: datetime) -> Arms:
    """Whose outcome is known and old enough; the share must leave both sides a chance."""
    old = np.maximum(experiment.observed, experiment.at + np.timedelta64(timedelta(days=knobs.outcome_after)))
    drawn = (experiment.share > 0) & (experiment.share < 1)
    is_in = ~np.isnan(experiment.churned) & (old <= np.datetime64(now.astimezone(UTC).replace(tzinfo=None))) & drawn
    score = experiment.p - (np.nanmean(experiment.p[drawn]) if np.isfinite(experiment.p[drawn]).any() else 0.0)
    offered, share = experiment.offered[is_in], experiment.share[is_in]
    weight = 1 / np.where(offered, share, 1 - share)
    for side in (offered, ~offered):
        weight[side] /= weight[side].min(initial=np.inf)  # equal shares weigh 1, whatever they are
    days, look = np.unique(old[is_in].astype("datetime64[D]"), return_inverse=True)
    churned = experiment.churned[is_in]
    return Arms(offered, weight, churned, np.nan_to_num(score[is_in]), look, [str(day) for day in days])


def adjusted(values: np.ndarray, arms: Arms) -> np.ndarray:
    """The values without what the score explains of them within their side."""
    result = values.astype("float64")
    for side in (arms.offered, ~arms.offered):
        x, w = arms.score[side], arms.weight[side]
        if side.sum() >= MIN_FIFTH and np.ptp(x) > 0:
            off = x - np.average(x, weights=w)
            result[side] -= (w * off * values[side]).sum() / (w * off * off).sum() * x
    return result


class Test(NamedTuple):
    """Offered minus control, by day; and what each side is by then, control first."""

    looks: Looks
    moments: tuple[Moments, Moments]


def looks_of(values: np.ndarray, arms: Arms, tau: float, knobs: Campaigns) -> Test:
    sides = (~arms.offered, arms.offered)
    control, offered = (running_moments(values[i], arms.weight[i], arms.look[i], len(arms.days)) for i in sides)
    found = compare(control, offered, tau=tau, alpha=knobs.alpha, least=knobs.min_known)
    return Test(found, (control, offered))


def last(looks: Looks) -> Interval:
    """The interval of the last look."""
    if not len(looks.p):
        return Interval(math.nan, -math.inf, math.inf)
    return Interval(float(looks.difference[-1]), float(looks.low[-1]), float(looks.high[-1]))


def welch(moments: tuple[Moments, Moments]) -> Interval:
    """Of the difference of two means, for one look: Welch 1947, Biometrika 34, 28-35."""
    a, b = moments
    if not len(a.n) or min(a.n[-1], b.n[-1]) < 2:
        return Interval(math.nan, math.nan, math.nan)
    variances = [float(side.variance[-1] / side.n[-1]) for side in moments]
    difference, variance = float(b.mean[-1] - a.mean[-1]), sum(variances)
    freedom = sum(v**2 / (side.n[-1] - 1) for v, side in zip(variances, moments, strict=True))
    width = float(student.ppf(0.975, variance**2 / freedom)) * math.sqrt(variance) if freedom else 0.0
    return Interval(difference, difference - width, difference + width)


def times(interval: Interval, n: float) -> Interval:
    return Interval(*(n * end for end in interval))


def success(arms: Arms) -> Interval:
    """Share of the leavers whom the offer kept, for one look.

    One minus the relative risk, whose logarithm is about normal: Katz, Baptista, Azen, Pike 1978, Biometrics 34, 469.
    """
    variance, rates = 0.0, []
    for side in (arms.offered, ~arms.offered):
        n, w = effective(arms.weight[side]), arms.weight[side]
        rate = float(np.average(arms.churned[side], weights=w)) if n else 0.0
        if not rate:
            return Interval(math.nan, math.nan, math.nan)
        rates.append(rate)
        variance += (1 - rate) / (n * rate)
    risk, width = rates[0] / rates[1], Z * math.sqrt(variance)
    return Interval(1 - risk, 1 - risk * math.exp(width), 1 - risk * math.exp(-width))


def narrower(arms: Arms, stayed: np.ndarray) -> float:
    """Share of the variance of the control group's outcomes that the score took out."""
    before, after = arms.churned[~arms.offered], stayed[~arms.offered]
    return 1 - float(after.var() / before.var()) if len(before) > 1 and before.var() > 0 else math.nan


def side_of(experiment: Experiment, arms: Arms, is_offered: bool) -> Side:
    ours = arms.offered == is_offered
    rate = float(np.average(arms.churned[ours], weights=arms.weight[ours])) if ours.any() else math.nan
    return Side(customers=int((experiment.offered == is_offered).sum()), known=int(ours.sum()), churn_rate=rate)


def fifths_of(experiment: Experiment, knobs: Campaigns, now: datetime) -> list[Fifth]:
    """Churn avoided by fifth of the score, the lowest first; none without scores."""
    scored = np.flatnonzero(~np.isnan(experiment.p))
    order = scored[np.argsort(experiment.p[scored], kind="stable")]
    found = []
    for part in np.array_split(order, FIFTHS):
        if not len(part):
            continue
        arms = counted(experiment.of(np.sort(part)), knobs, now)
        enough = min(arms.offered.sum(), (~arms.offered).sum()) >= MIN_FIFTH
        test = looks_of(-arms.churned, arms, 1.0, knobs)
        nothing = Interval(math.nan, math.nan, math.nan)
        avoided = welch(test.moments) if enough else nothing
        ends = experiment.p[part[0]], experiment.p[part[-1]]
        found.append(Fifth(low=float(ends[0]), high=float(ends[1]), customers=len(part), churn_avoided=avoided))
    return found


def days_of(test: Test, arms: Arms) -> list[Day]:
    control, offered = (np.round(side.n).astype("int64").tolist() for side in test.moments)
    rows = zip(arms.days, control, offered, *(x.tolist() for x in test.looks), strict=True)
    names = ("day", "known_control", "known_offered", "profit", "low", "high", "p")
    return [Day(**dict(zip(names, row, strict=True))) for row in rows]


def still_needed(moments: tuple[Moments, Moments], knobs: Campaigns) -> int | None:
    """About how many more outcomes of both sides would show an effect of `campaigns.effect`, if there is one."""
    now = sum(float(side.variance[-1] / side.n[-1]) if len(side.n) else math.nan for side in moments)
    if not now > 0:
        return None
    factor = now / variance_to_find(knobs.effect, tau=knobs.effect, alpha=knobs.alpha)
    return max(0, math.ceil(sum(float(side.n[-1]) for side in moments) * (factor - 1)))


def checks_of(experiment: Experiment, sides: Mapping[str, Side]) -> Checks:
    control, offered = sides["control"], sides["offered"]
    drawn, n = experiment.share < 1, len(experiment.share)
    expected = float(experiment.share[drawn].mean()) if drawn.any() else 1.0
    counts = [int((experiment.offered[drawn] == side).sum()) for side in (False, True)]
    srm_p = p_of_shares(counts, [1 - expected, expected]) if drawn.any() else 1.0
    labels_p = p_of_ratios([[side.known, side.customers - side.known] for side in (control, offered)])
    hidden = experiment.hidden & ~experiment.offered
    problems = []
    if n and not control.customers:
        problems.append("nobody was held back, so nothing can be said of what the offers changed")
    if srm_p < SRM_ALPHA:
        got = f"{counts[1] / sum(counts):.2%} of the customers were made an offer, not {expected:.2%}"
        problems.append(f"{got} (p = {srm_p:.1g})")
    if labels_p < SRM_ALPHA:
        a, b = (f"{side.known / max(1, side.customers):.2%}" for side in (control, offered))
        problems.append(
            f"outcomes are known of {a} of those held back and of {b} of those offered (p = {labels_p:.1g})"
        )
    if hidden.sum() > MAX_HIDDEN * max(1, control.customers):
        problems.append(f"{hidden.sum()} of {control.customers} customers held back were made an offer all the same")
    names = [str(name) for name in experiment.customer[hidden][:MAX_NAMED]]
    return Checks(srm_p=srm_p, labels_p=labels_p, hidden=int(hidden.sum()), hidden_customers=names, problems=problems)


def verdict_of(
    sides: Mapping[str, Side], checks: Checks, profit: Interval, more: int | None, test: Test, knobs: Campaigns
) -> Verdict:
    known = [sides[name].known for name in SIDES]
    if checks.problems:
        return Verdict("invalid", f"don't trust this comparison: {'; '.join(checks.problems)}")
    if min(known) < knobs.min_known:
        words = f"outcomes old enough are known of {known[0]} held back and {known[1]} offered"
        return Verdict("too_early", f"too early: {words}; a first look needs {knobs.min_known} of each")
    interval = f"{profit.low:+.2f} to {profit.high:+.2f} at all looks together, p = {float(test.looks.p[-1]):.2g}"
    for verdict, is_so in (("profitable", profit.low > 0), ("unprofitable", profit.high < 0)):
        if is_so:
            return Verdict(verdict, f"{verdict}: {profit.value:+.2f} incremental profit per contact ({interval})")
    wait = f"there are enough outcomes to see an effect of {knobs.effect:g}, so there probably is none"
    if more:
        wait = f"to see an effect of {knobs.effect:g}, wait for about {more:,} more outcomes"
    return Verdict("undecided", f"not decided: {profit.value:+.2f} incremental profit per contact ({interval}); {wait}")


def _moment(at: np.datetime64) -> datetime:
    moment: datetime = at.astype("datetime64[us]").item()
    return moment.replace(tzinfo=UTC)
