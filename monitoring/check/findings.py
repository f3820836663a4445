"""The check's report as types. Their fields are the keys of `--json`, of metrics/check.json and of the log's checks."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from churn.intervals import Interval
from churn.report_text import plain


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why the verdict is not healthy; ids and their levels stand in churn.reasons."""

    id: str
    level: str
    words: str  # the sentence for people


@dataclass(frozen=True, kw_only=True)
class Window:
    """Customers answered in [start, end), and the cohort: an earlier window whose outcomes must be known by `end`."""

    model_version: str
    start: datetime
    end: datetime
    cohort_start: datetime
    cohort_end: datetime


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The training customers: how many have an outcome, and the model's scores out of fold."""

    customers: int
    roc_auc: float
    churn_rate: float


@dataclass(frozen=True, kw_only=True)
class Distance:
    """How far one input is from the training's."""

    distance: float
    threshold: float
    drifted: bool


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Shares of the training's customers and of production's, between edges (n + 1) or of levels (n)."""

    edges: list[float]
    levels: list[str]
    reference: list[float]
    current: list[float]
    low: float | None  # the training's range; None for levels
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Drift:
    share: float  # of the inputs that drifted
    drifted: list[str]  # the farthest first
    prediction: float  # distance of the probabilities, in standard deviations of the training's
    features: dict[str, Distance]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Shares of the customers with a flaw: in the input that has most of each, and by input."""

    more_missing: float
    unseen: float
    outside: float
    features: dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Estimated:
    """Scores of the window without outcomes."""

    roc_auc: Interval
    churn_rate: Interval
    recall: Interval
    precision: Interval
    brier: Interval
    profit_per_customer: Interval
    trusted: bool | None  # None: no outcomes have shown yet whether probabilities still mean what they meant


@dataclass(frozen=True, kw_only=True)
class Realised:
    """Scores of the cohort by its outcomes; a gap is a score minus the estimate for the same customers."""

    labelled: int
    roc_auc: Interval
    brier: Interval
    churn_rate: Interval
    profit_per_customer: Interval
    roc_auc_gap: Interval
    brier_gap: Interval
    churn_rate_gap: Interval
    profit_per_customer_gap: Interval
    slope: Interval  # of the calibration: 1, and the intercept 0, where probabilities are what they promise
    intercept: Interval
    miscalibration: float
    p_calibrated: float


@dataclass(frozen=True, kw_only=True)
class Concept:
    """Whether customers leave for other reasons than in training: the model's order is worse, or its rates are off."""

    found: bool
    ranks_worse: bool
    rates_off: bool
    p: float
    alpha: float


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """How many customers have an outcome, and the problem that keeps the cohort from being scored, "" for none."""

    customers: int
    labelled: int
    known: float  # share
    off: float  # standard deviations between the probabilities of those with an outcome and of all
    offered: int  # customers whose outcome an offer reached: it does not count
    control: int  # customers held back, who count for them
    effective: float  # number of outcomes that tell as much as those that count
    problem: str
    words: str


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a snapshot shows; None where it has too few customers, or too few outcomes, to show it."""

    window: Window
    customers: int
    sampled: int
    reference: Reference
    drift: Drift | None
    quality: Quality | None
    distributions: dict[str, Distribution]  # of inputs and of the probabilities
    estimated: Estimated | None
    realised: Realised | None
    concept: Concept | None
    cohort: Cohort


@dataclass(frozen=True, kw_only=True)
class Report:
    """The verdict with its reasons, the worst first; without findings where there is nothing to look at."""

    verdict: str
    reasons: list[Reason]
    findings: Findings | None

    def as_dict(self) -> dict[str, Any]:
        """The report for programs; the findings stand beside verdict and reasons."""
        findings = plain(self.findings) if self.findings else {}
        return {"verdict": self.verdict, "reasons": plain(self.reasons), **findings}
