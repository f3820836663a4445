"""What the last check of production found, as numbers of GET /metrics; and how old the models are that answer.

Each worker reads the check from the log by itself, so these are told at each scrape instead of summed over the workers.
What is not known is left out. Every name bears the version that was checked, which need not be the champion's any more.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from churn.reasons import REASONS

log = logging.getLogger("serve.checked")

VERDICTS = ("healthy", "warn", "breach", "unknown")
QUALITY = ("more_missing", "unseen", "outside")
KINDS = ("reference", "estimated", "realised")
DOCUMENTED = {
    "timestamp_seconds": "When production was checked last",
    "verdict": "1 for the verdict of the last check",
    "reason": "1 for each reason that the last check gives",
    "customers": "Customers in the window that was checked",
    "labelled_customers": "Customers of the cohort whose outcome is known",
    "drift_share": "Share of the inputs that drifted",
    "drift_distance": "Distance of an input from the training's: in standard deviations, or Jensen and Shannon's",
    "drift_threshold": "Distance from which on an input has drifted",
    "prediction_drift": "Distance of the probabilities from the training's, in standard deviations",
    "quality_share": "Share of the customers with a flaw, in the input that has most",
    "roc_auc": "ROC AUC: in training, estimated without outcomes, realised by outcomes",
    "roc_auc_low": "Lower end of the interval",
    "roc_auc_high": "Upper end of the interval",
    "miscalibration": "Average error of the probabilities, by outcomes",
    "profit_per_customer": "Profit of an answer, in the currency of the charges",
    "estimate_trusted": "0 where outcomes show that customers leave for other reasons than in training",
}
ADDED = "churn_model_added_timestamp_seconds"


class Check(Protocol):
    """A check as the log keeps it."""

    @property
    def at(self) -> datetime: ...
    @property
    def model_version(self) -> str: ...
    @property
    def verdict(self) -> str: ...
    @property
    def found(self) -> Mapping[str, Any]: ...  # the report


class LoadedModel(NamedTuple):
    """A model that is loaded, as far as metrics name it."""

    version: str
    arm: str
    categories: Sequence[str]  # columns whose unseen levels are counted
    nullable: Sequence[str]  # columns whose missing values are counted
    added_at: float | None  # seconds since 1970, None where the ledger can't be read


Sample = tuple[str, dict[str, str], Any]  # name without its beginning, labels, value


def samples(check: Check) -> Iterator[Sample]:
    """All that is to be told of a check; where the report lacks a part, None or nothing."""
    found = check.found
    yield "timestamp_seconds", {}, check.at.timestamp()
    for verdict in VERDICTS:
        yield "verdict", {"verdict": verdict}, check.verdict == verdict
    given = {(reason["id"], reason["level"]) for reason in found["reasons"]}
    known = {(id_, level) for id_, levels in REASONS.items() for level in levels}  # 0 where it is not given: alerts end
    for id_, level in sorted(given | known):
        yield "reason", {"reason": id_, "level": level}, (id_, level) in given
    yield "customers", {}, found["customers"]
    yield "labelled_customers", {}, _part(found, "cohort").get("labelled")
    drift = _part(found, "drift")
    for column, moved in _part(drift, "features").items():
        yield "drift_distance", {"column": column}, moved["distance"]
        yield "drift_threshold", {"column": column}, moved["threshold"]
    yield "drift_share", {}, drift.get("share")
    yield "prediction_drift", {}, drift.get("prediction")
    for flaw in QUALITY:
        yield "quality_share", {"check": flaw}, _part(found, "quality").get(flaw)
    for kind in KINDS:
        scores = _part(found, kind)
        for end in ("", "_low", "_high"):
            yield f"roc_auc{end}", {"kind": kind}, scores.get(f"roc_auc{end}")
        yield "profit_per_customer", {"kind": kind}, scores.get("profit_per_customer")
    yield "miscalibration", {}, _part(found, "realised").get("miscalibration")
    yield "estimate_trusted", {}, _part(found, "estimated").get("trusted")


def _part(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return found.get(name) or {}


class CheckCollector(Collector):
    """Whoever scrapes gets what was set last."""

    def __init__(self) -> None:
        self.check: Check | None = None
        self.models: Sequence[LoadedModel] = ()

    def describe(self) -> list[Metric]:
        return []  # names are known once there is a check; none of them is anybody else's

    def collect(self) -> Iterator[Metric]:
        if self.check:
            yield from self._found(self.check)
        if self.models:
            added = Metric(ADDED, "When the release was added to the store", "gauge")
            for model in self.models:
                if model.added_at:
                    added.add_sample(ADDED, {"model_version": model.version, "arm": model.arm}, model.added_at)
            yield added

    def _found(self, check: Check) -> Iterator[Metric]:
        metrics = {name: Metric(f"churn_monitoring_{name}", told, "gauge") for name, told in DOCUMENTED.items()}
        try:
            told = list(samples(check))
        except (KeyError, TypeError, AttributeError) as error:  # of another version of the check; all else goes on
            log.error("the check of %s can't be told: %r", check.at, error)
            return
        for name, labels, value in told:
            if isinstance(value, int | float) and math.isfinite(value):
                all_labels = {"model_version": check.model_version, **labels}
                metrics[name].add_sample(f"churn_monitoring_{name}", all_labels, float(value))
        yield from (metric for metric in metrics.values() if metric.samples)
