"""The shadow: a release that scores already answered customers, in its own thread."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from serve.log.tables import COLUMNS, Row, new_id
from serve.predict.live import Model
from serve.telemetry import metrics
from serve.telemetry.logs import raised_at

log = logging.getLogger("serve.shadow")

MAX_WAITING = 10_000  # customers waiting; more are not scored
MAX_GROUP = 500  # customers scored together
PAUSE_SECONDS = 0.2  # between looks at the waiting customers
MAX_PAIRS = 2_000  # of probabilities in the rank correlation
CLOSE_SECONDS = 2.0  # that shutdown waits for the thread
LOOKS_PER_CORRELATION = 5

ID, FEATURES, P, PREDICTION, THRESHOLD, VERSION, ARM = (
    COLUMNS.index(name)
    for name in ("id", "features", "churn_probability", "prediction", "threshold", "model_version", "arm")
)
Scored = tuple[Mapping[str, Any], Row]  # a customer, and the row of its answer


class Shadow:
    """Scores the customers offered to it and passes its rows to `keep`, in its thread."""

    def __init__(self, model: Model, keep: Callable[[list[Row]], None]):
        self.model, self.keep = model, keep
        self._line: deque[Scored] = deque(maxlen=MAX_WAITING)
        self._pairs: deque[tuple[float, float]] = deque(maxlen=MAX_PAIRS)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, customers: Sequence[Mapping[str, Any]], rows: Sequence[Row]) -> None:
        """Take customers and the rows of their answers; never blocks."""
        room = MAX_WAITING - len(self._line)
        self._line.extend(zip(customers[:room], rows[:room], strict=True))
        if len(rows) > room:
            metrics.shadow_dropped.inc(len(rows) - room)

    def close(self) -> None:
        """Score the customers still in line, for CLOSE_SECONDS at most, and stop."""
        self._stop.set()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        looks = 0
        while not self._stop.wait(PAUSE_SECONDS):
            self._work_off()
            looks += 1
            if looks % LOOKS_PER_CORRELATION == 0 and len(self._pairs) > 1:
                metrics.shadow_rank_correlation.set(rank_correlation(np.array(self._pairs)))
        self._work_off()

    def _work_off(self) -> None:
        while self._line:
            group = [self._line.popleft() for _ in range(min(MAX_GROUP, len(self._line)))]
            begin = time.thread_time()
            try:
                self.keep(self._scored(group))
            except Exception as error:  # answers must not depend on the shadow
                metrics.shadow_dropped.inc(len(group))
                metrics.errors.labels("shadow").inc()
                log.error("the shadow %s failed: %s", self.model.version, raised_at(error))
            metrics.shadow_seconds.inc(time.thread_time() - begin)

    def _scored(self, group: Sequence[Scored]) -> list[Row]:
        """Return the shadow's rows, with the requests and times of the answers."""
        model = self.model
        p = model.scorer.probabilities([customer for customer, _ in group])
        if not ((p >= 0) & (p <= 1)).all():
            raise ArithmeticError("the model's output is no probability")
        rows, changed = [], 0
        for (_, answered), q in zip(group, p.tolist(), strict=True):
            decision = "churn" if q >= model.threshold else "no_churn"
            changed += decision != answered[PREDICTION]
            self._pairs.append((answered[P], q))
            row = list(answered)
            row[ID], row[FEATURES], row[P], row[PREDICTION] = new_id(), "{}", q, decision
            row[THRESHOLD], row[VERSION], row[ARM] = model.threshold, model.version, model.arm
            rows.append(tuple(row))
        metrics.shadow_decisions.labels("changed").inc(changed)
        metrics.shadow_decisions.labels("same").inc(len(rows) - changed)
        return rows


def rank_correlation(pairs: np.ndarray) -> float:
    """Spearman's correlation of (n, 2) pairs; ties share their mean rank. NaN if one side is constant."""
    ranks = np.column_stack([mean_ranks(side) for side in pairs.T])
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.corrcoef(ranks.T)[0, 1])


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """(n,) ranks from 0; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    mean: np.ndarray = ends - (counts + 1) / 2
    return mean[inverse]
