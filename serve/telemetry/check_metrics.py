"""Metrics of the last check of production, and the ages of the live models.

Each worker reads the check from the log, so these are collected at each scrape, not summed over workers. Unknown values
are left out. Each sample is labelled with the version that was checked, which may no longer be the champion.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from churn.reasons import LEVELS, REASONS

log = logging.getLogger("serve.checked")

QUALITY = ("more_missing", "unseen", "outside")
KINDS = ("reference", "estimated", "realised")
DOCUMENTED = {
    "timestamp_seconds": "When production was checked last",
    "verdict": "1 for the verdict of the last check",
    "reason": "1 for each reason that the last check gives",
    "customers": "Customers in the window that was checked",
    "labelled_customers": "Customers of the cohort whose outcome is known",
    "offered_customers": "Those of them whose outcome an offer reached, so that it does not count",
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
    """A loaded model, as far as metrics name it."""

    version: str
    arm: str
    categories: Sequence[str]  # columns whose unseen levels are counted
    nullable: Sequence[str]  # columns whose missing values are counted
    added_at: float | None  # seconds since 1970, None where the ledger can't be read


Sample = tuple[str, dict[str, str], Any]  # name without its prefix, labels, value


def samples(check: Check) -> Iterator[Sample]:
    """Yield the samples of a check; None or no sample for a part that the report lacks."""
    report = check.found
    yield "timestamp_seconds", {}, check.at.timestamp()
    for verdict in LEVELS:
        yield "verdict", {"verdict": verdict}, check.verdict == verdict
    raised = {(reason["id"], reason["level"]) for reason in report["reasons"]}
    possible = {(id_, level) for id_, levels in REASONS.items() for level in levels}  # 0 ends alerts
    for id_, level in sorted(raised | possible):
        yield "reason", {"reason": id_, "level": level}, (id_, level) in raised
    yield "customers", {}, report["customers"]
    yield "labelled_customers", {}, _part(report, "cohort").get("labelled")
    yield "offered_customers", {}, _part(report, "cohort").get("offered")
    drift = _part(report, "drift")
    for column, moved in _part(drift, "features").items():
        yield "drift_distance", {"column": column}, moved["distance"]
        yield "drift_threshold", {"column": column}, moved["threshold"]
    yield "drift_share", {}, drift.get("share")
    yield "prediction_drift", {}, drift.get("prediction")
    for flaw in QUALITY:
        yield "quality_share", {"check": flaw}, _part(report, "quality").get(flaw)
    for kind in KINDS:
        scores = _part(report, kind)
        for end in ("", "_low", "_high"):
            yield f"roc_auc{end}", {"kind": kind}, scores.get(f"roc_auc{end}")
        yield "profit_per_customer", {"kind": kind}, scores.get("profit_per_customer")
    yield "miscalibration", {}, _part(report, "realised").get("miscalibration")
    yield "estimate_trusted", {}, _part(report, "estimated").get("trusted")


def _part(report: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return report.get(name) or {}


class CheckCollector(Collector):
    """Exposes the check and the models that were set last."""

    def __init__(self) -> None:
        self.check: Check | None = None
        self.models: Sequence[LoadedModel] = ()

    def describe(self) -> list[Metric]:
        return []  # names depend on the check; no other collector uses them

    def collect(self) -> Iterator[Metric]:
        if self.check:
            yield from self._of_check(self.check)
        if self.models:
            added = Metric(ADDED, "When the release was added to the store", "gauge")
            for model in self.models:
                if model.added_at:
                    added.add_sample(ADDED, {"model_version": model.version, "arm": model.arm}, model.added_at)
            yield added

    def _of_check(self, check: Check) -> Iterator[Metric]:
        metrics = {name: Metric(f"churn_monitoring_{name}", text, "gauge") for name, text in DOCUMENTED.items()}
        try:
            values = list(samples(check))
        except (KeyError, TypeError, AttributeError) as error:  # written by another version; other metrics go on
            log.error("the check of %s can't be read: %r", check.at, error)
            return
        for name, labels, value in values:
            if isinstance(value, int | float) and math.isfinite(value):
                all_labels = {"model_version": check.model_version, **labels}
                metrics[name].add_sample(f"churn_monitoring_{name}", all_labels, float(value))
        yield from (metric for metric in metrics.values() if metric.samples)
