"""The numbers of GET /metrics, counted over all workers."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

from serve.telemetry.workers import is_alive, remember_process_id, shared_folder

FOLDER = shared_folder()  # before the import of the Prometheus client, which then chooses where it keeps numbers

from prometheus_client import (  # noqa: E402
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead  # noqa: E402

from serve.telemetry.check_metrics import CheckCollector, LoadedModel  # noqa: E402

if FOLDER:
    remember_process_id()
disable_created_metrics()  # a second series for each metric, which is missing with several workers

CONTENT_TYPE = CONTENT_TYPE_LATEST
LATEST: Literal["livemostrecent"] = "livemostrecent"  # of several workers, the one that set it last
TENTHS = tuple(i / 10 for i in range(1, 11))
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

requests = Counter("churn_requests", "Requests answered", ["route", "method", "status"])
latency = Histogram("churn_request_seconds", "From a request's arrival to its answer", ["route"], buckets=SECONDS)
errors = Counter("churn_errors", "Requests refused or failed", ["kind"])
predictions = Counter("churn_predictions", "Customers scored", ["prediction", "arm"])
scores = Histogram("churn_probability", "Probabilities answered", ["arm"], buckets=TENTHS)
unseen = Counter("churn_unseen_levels", "Category levels that training never saw", ["column"])
missing = Counter("churn_missing_values", "Values that were missing", ["column"])
queue = Gauge("churn_log_queue", "Customers waiting to be scored and logged", multiprocess_mode="livesum")
spool = Gauge("churn_log_spool_bytes", "Bytes waiting for the log's database", multiprocess_mode=LATEST)
spool_limit = Gauge("churn_log_spool_limit_bytes", "Most bytes that may wait for it", multiprocess_mode=LATEST)
log_up = Gauge("churn_log_up", "1 while the log's database accepts rows", multiprocess_mode=LATEST)
log_refused = Counter("churn_log_refused_rows", "Rows that the log's database refuses for what they hold, set aside")
shadow_decisions = Counter("churn_shadow_decisions", "Decisions of the shadow, beside the answer's", ["decision"])
shadow_dropped = Counter("churn_shadow_dropped", "Customers whose shadow score was not made or not logged")
shadow_seconds = Counter("churn_shadow_seconds", "Processor time of the shadow")
shadow_rank_correlation = Gauge(
    "churn_shadow_rank_correlation",
    "Spearman's, of the shadow and the answers",
    multiprocess_mode=LATEST,
)
share = Gauge("churn_challenger_share", "Share of customers answered by the challenger", multiprocess_mode=LATEST)
refused = Gauge("churn_release_refused", "1 while a release of the ledger can't be used", multiprocess_mode="livemax")
model = Gauge("churn_model_info", "1 for each loaded release", ["model_version", "arm"], multiprocess_mode="livemax")
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
        for process_id in {int(file.stem.rsplit("_", 1)[1]) for file in FOLDER.glob("gauge_live*.db")}:
            if not is_alive(process_id):
                with suppress(FileNotFoundError):  # another worker removed it first
                    mark_process_dead(process_id)


def exposition() -> bytes:
    """All metrics in Prometheus' text format."""
    if FOLDER is None:
        return generate_latest(REGISTRY)
    forget_dead_workers()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    registry.register(check_collector)
    return generate_latest(registry)
