"""The numbers of GET /metrics, counted over all workers."""

from serve.workers import is_alive, shared_folder

FOLDER = shared_folder()  # before the client is imported: then it chooses where numbers live

from prometheus_client import (  # noqa: E402
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead  # noqa: E402

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
spool = Gauge("churn_log_spool_bytes", "Bytes that wait for the log's database", multiprocess_mode="livemax")
log_up = Gauge("churn_log_up", "1 where the log's database takes rows", multiprocess_mode="livemin")
model = Gauge("churn_model_info", "1 for the release that is loaded", ["model_version", "arm"], "", "",
              multiprocess_mode="livemax")  # fmt: skip


def forget_dead_workers() -> None:
    """Take gauges of workers that are gone out of the sums."""
    if FOLDER:
        for pid in {int(file.stem.rsplit("_", 1)[1]) for file in FOLDER.glob("gauge_live*.db")}:
            if not is_alive(pid):
                mark_process_dead(pid)


def exposition() -> bytes:
    """All numbers in Prometheus' text format."""
    if FOLDER is None:
        return generate_latest(REGISTRY)
    forget_dead_workers()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry)
