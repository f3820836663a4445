"""How production goes: scores with intervals, verdicts and their reasons over time, and what the last check found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from churn.reasons import LEVELS
from serve.web.charts import Axis, Bar, Chart, Event, Mark, Series, Strip, bars, marks_of, over_time, strip, time_axis
from serve.web.console import TheConsole
from serve.web.overview import RUNBOOK
from serve.web.production.checks import From, Range, Shown, To, last_found, read_checks, releases_between

PARTS = {name: (name,) for name in ("window", "reasons", "estimated", "realised")} | {"auc": ("reference", "roc_auc")}
SCORES = {  # key of the report -> name, format of its values, where it should be
    "roc_auc": ("ROC AUC", ".3f", None),
    "profit_per_customer": ("Profit per customer", ",.2f", None),
    "slope": ("Slope of the calibration", ".2f", 1.0),
    "intercept": ("Intercept of the calibration", ".2f", 0.0),
}
AIMS = {"roc_auc": "in training"}
REASONS = {
    "input_drift": "Inputs drifted",
    "prediction_drift": "Probabilities drifted",
    "more_missing": "More values missing",
    "outside": "Values beyond the training's range",
    "unseen": "Levels that training never saw",
    "estimated_auc": "Estimated ROC AUC lower",
    "realised_auc": "ROC AUC by outcomes lower",
    "concept_drift": "Customers leave for other reasons",
    "calibration_drift": "Probabilities off",
    "selected_outcomes": "Outcomes of some customers only",
    "offers_without_control": "Offers without a control group",
    "too_few_customers": "Too few customers",
}
DRAWN_UP_TO = 3.0  # thresholds: farther distances have a bar as long


@dataclass(frozen=True)
class Point:
    """A score of one check, with its interval; `at` is the end of the window of its customers."""

    at: datetime
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Score:
    """One score over time: estimated without outcomes, and by outcomes."""

    key: str
    name: str
    shape: str
    aim: float | None
    estimated: list[Point]
    realised: list[Point]

    @property
    def lines(self) -> list[Series]:
        return [as_series("estimated", self.estimated), as_series("by outcomes", self.realised)]


@dataclass(frozen=True)
class Verdict:
    at: datetime
    model_version: str
    verdict: str
    reasons: dict[str, str]  # id -> level


@dataclass(frozen=True)
class Alert:
    """A reason of these days: the worst level it had, its first and last check, what the last one says."""

    id: str
    name: str
    level: str
    first: datetime
    last: datetime
    checks: int  # of those shown
    is_open: bool  # the newest check gives it
    text: str
    section: str  # of the runbook


@dataclass(frozen=True)
class Input:
    """What the last check says of one input; a flaw is a share of the customers, None where it can't occur."""

    name: str
    distance: float
    threshold: float
    drifted: bool
    missing: float | None
    unseen: float | None
    outside: float | None


@dataclass(frozen=True)
class Production:
    range: Range
    scores: list[Score]
    verdicts: list[Verdict]
    alerts: list[Alert]
    releases: list[Event]
    last: Verdict | None
    customers: int | None  # of the last check
    inputs: list[Input]  # the farthest first

    @property
    def charts(self) -> list[Chart]:
        """A chart for each score that there is."""
        return [
            over_time(
                score.name, score.lines, self.range.start, self.range.end, score.shape,
                None if score.aim is None else (score.aim, AIMS.get(score.key, "ideal")), self.releases,
            )
            for score in self.scores
            if score.estimated or score.realised
        ]  # fmt: skip

    @property
    def strips(self) -> list[Strip]:
        """The verdict, and each reason for it, as long as they held: until the next check, at most a day."""
        if not self.verdicts:
            return []
        until = min(self.range.end, self.verdicts[-1].at + timedelta(days=1))
        rows = [("Verdict", [(one.at, one.verdict) for one in self.verdicts])]
        rows += [
            (alert.name, [(one.at, one.reasons.get(alert.id, "")) for one in self.verdicts]) for alert in self.alerts
        ]
        return [strip(name, [*levels, (until, "")], self.range.start, self.range.end) for name, levels in rows]

    @property
    def axis(self) -> Axis:
        return time_axis(self.range.start, self.range.end)

    @property
    def marks(self) -> list[Mark]:
        return marks_of(self.releases, self.range.start, self.range.end)

    @property
    def bars(self) -> list[Bar]:
        """Of the inputs' distances, as a share of their thresholds."""
        return bars([one.distance / one.threshold for one in self.inputs], limit=1.0, most=DRAWN_UP_TO)


def production(console: TheConsole, first: From = None, last: To = None) -> Production:
    """Scores, verdicts and reasons of the checks of these days, with promotions and retrainings beside them."""
    days, checks = read_checks(console, first, last, PARTS)
    verdicts = [Verdict(one.at, one.model_version, one.verdict, levels_of(one)) for one in checks]
    newest = last_found(console, checks[-1].at) if checks else {}
    return Production(
        range=days,
        scores=[score_of(key, checks) for key in SCORES],
        verdicts=verdicts,
        alerts=alerts_of(checks),
        releases=releases_between(console.service.store.history(), days.start, days.end),
        last=verdicts[-1] if verdicts else None,
        customers=newest.get("customers"),
        inputs=inputs_of(newest),
    )


def score_of(key: str, checks: Sequence[Shown]) -> Score:
    name, shape, aim = SCORES[key]
    if key == "roc_auc":
        aim = next((one.found["auc"] for one in reversed(checks) if one.found.get("auc") is not None), None)
    ends = {"estimated": "end", "realised": "cohort_end"}
    lines = {
        kind: [
            Point(datetime.fromisoformat(one.part("window")[end]), value, *interval_of(one.part(kind), key))
            for one in checks
            if (value := one.part(kind).get(key)) is not None and end in one.part("window")
        ]
        for kind, end in ends.items()
    }
    return Score(key, name, shape, aim, **lines)


def interval_of(scores: Mapping[str, Any], key: str) -> tuple[float | None, float | None]:
    return scores.get(f"{key}_low"), scores.get(f"{key}_high")


def as_series(name: str, points: Sequence[Point]) -> Series:
    return Series(
        name,
        [point.at.timestamp() for point in points],
        [point.value for point in points],
        [point.low for point in points],
        [point.high for point in points],
    )


def levels_of(check: Shown) -> dict[str, str]:
    return {reason["id"]: reason["level"] for reason in check.found.get("reasons") or []}


def alerts_of(checks: Sequence[Shown]) -> list[Alert]:
    """Every reason that a check of these days gave, those that still hold first, then the newest."""
    alerts: dict[str, Alert] = {}
    for check in checks:
        for reason in check.found.get("reasons") or []:
            name = reason["id"]
            known = alerts.get(name)
            level = max(reason["level"], known.level if known else "healthy", key=LEVELS.index)
            alerts[name] = Alert(
                name, REASONS.get(name, name.replace("_", " ")), level, known.first if known else check.at, check.at,
                known.checks + 1 if known else 1, check is checks[-1], reason["words"],
                RUNBOOK.get(name, "churncheckfails"),
            )  # fmt: skip
    return sorted(alerts.values(), key=lambda alert: (alert.last, LEVELS.index(alert.level)), reverse=True)


def inputs_of(found: Mapping[str, Any]) -> list[Input]:
    """The inputs of a report, those that moved most first."""
    flaws = (found.get("quality") or {}).get("features", {})
    moved = (found.get("drift") or {}).get("features", {})
    inputs = [
        Input(name, one["distance"], one["threshold"], one["drifted"], *shares(flaws.get(name, {})))
        for name, one in moved.items()
        if one["distance"] is not None
    ]
    return sorted(inputs, key=lambda one: -one.distance / one.threshold)


def shares(flaws: Mapping[str, float | None]) -> tuple[float | None, float | None, float | None]:
    return flaws.get("missing"), flaws.get("unseen"), flaws.get("outside")
