"""The numbers of GET /metrics, counted over all workers."""

import os
from collections.abc import Sequence
from contextlib import suppress

from serve.telemetry.workers import is_alive, shared_folder

FOLDER = shared_folder()  # before the client is imported: then it chooses where numbers live

from prometheus_client import (  # noqa: E402
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead  # noqa: E402

from serve.telemetry.check_metrics import CheckCollector, LoadedModel  # noqa: E402

if FOLDER:
    # else the client asks the system for the process id at each number, several times a request
    pid = [os.getpid()]
    os.register_at_fork(after_in_child=lambda: pid.__setitem__(0, os.getpid()))
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: pid[0])
disable_created_metrics()  # a second series for each, which several workers do not have

CONTENT_TYPE = CONTENT_TYPE_LATEST
TENTHS = tuple(i / 10 for i in range(1, 11))
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

requests = Counter("churn_requests", "Requests answered", ["route", "method", "status"])
latency = Histogram("churn_request_seconds", "From a request's arrival to its answer", ["route"], buckets=SECONDS)
errors = Counter("churn_errors", "Requests refused or failed", ["kind"])
predictions = Counter("churn_predictions", "Customers scored", ["prediction", "arm"])
scores = Histogram("churn_probability", "Probabilities answered", ["arm"], buckets=TENTHS)
unseen = Counter("churn_unseen_levels", "Category levels that training never saw", ["column"])
missing = Counter("churn_missing_values", "Values that were missing", ["column"])
queue = Gauge("churn_log_queue", "Customers that wait to be scored and logged", multiprocess_mode="livesum")
spool = Gauge("churn_log_spool_bytes", "Bytes that wait for the log's database", multiprocess_mode="livemostrecent")
spool_limit = Gauge("churn_log_spool_limit_bytes", "Bytes that may wait for it", multiprocess_mode="livemostrecent")
log_up = Gauge("churn_log_up", "1 where the log's database takes rows", multiprocess_mode="livemostrecent")
shadow_decisions = Counter("churn_shadow_decisions", "Decisions of the shadow, beside the answer's", ["decision"])
shadow_dropped = Counter("churn_shadow_dropped", "Customers that the shadow did not score, or whose row was not kept")
shadow_seconds = Counter("churn_shadow_seconds", "Processor time of the shadow")
shadow_rank_correlation = Gauge("churn_shadow_rank_correlation", "Spearman's, with the last probabilities answered",
                                multiprocess_mode="livemostrecent")  # fmt: skip
share = Gauge("churn_challenger_share", "Share of the customers that the challenger answers",
              multiprocess_mode="livemostrecent")  # fmt: skip
refused = Gauge("churn_release_refused", "1 where a release that the store names can't be used",
                multiprocess_mode="livemax")  # fmt: skip
model = Gauge("churn_model_info", "1 for the release that is loaded", ["model_version", "arm"], "", "",
              multiprocess_mode="livemax")  # fmt: skip
check_collector = CheckCollector()
REGISTRY.register(check_collector)


def publish_models(
    before: Sequence[LoadedModel], now: Sequence[LoadedModel], challenger_share: float, problem: str
) -> None:
    """Publish the live models and start their counters at 0, or Prometheus misses the first event of each."""
    for gone in before:
        model.labels(gone.version, gone.arm).set(0)
    for loaded in now:
        model.labels(loaded.version, loaded.arm).set(1)
        if loaded.arm == "shadow":
            continue
        for decision in ("churn", "no_churn"):
            predictions.labels(decision, loaded.arm)
        scores.labels(loaded.arm)
        for column in loaded.categories:
            unseen.labels(column)
        for column in loaded.nullable:
            missing.labels(column)
    check_collector.models = now
    share.set(challenger_share)
    refused.set(bool(problem))


def forget_dead_workers() -> None:
    """Remove the gauges of workers that have ended from the sums."""
    if FOLDER:
        for pid in {int(file.stem.rsplit("_", 1)[1]) for file in FOLDER.glob("gauge_live*.db")}:
            if not is_alive(pid):
                with suppress(FileNotFoundError):  # another worker forgot it first
                    mark_process_dead(pid)


def exposition() -> bytes:
    """All metrics in Prometheus' text format."""
    if FOLDER is None:
        return generate_latest(REGISTRY)
    forget_dead_workers()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    registry.register(check_collector)
    return generate_latest(registry)
