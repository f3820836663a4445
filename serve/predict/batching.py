"""Scoring and logging in groups: what arrives while one group is at work makes up the next.

One row alone costs as much as fifteen in a group, for the model as for the database, so that waiting for nobody and
answering together is faster for everybody.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import orjson

from serve.log.tables import COLUMNS, Row, db_time, new_id
from serve.log.writer import PredictionLog
from serve.payloads import ID, Prediction
from serve.predict.live import Model
from serve.predict.shadow import Shadow
from serve.telemetry import metrics

GROUP = 200  # rows that are scored and committed together at most; the event loop waits that long
WAITING = 50_000  # rows in line; one that comes on top is refused
CARRIED = 40  # rows of the shadow that a commit takes along, in half a millisecond, or twice as many as its own
HELD = 10_000  # rows of the shadow that wait for a commit; who comes on top is lost
ALONE = 0.1  # seconds between commits of the shadow's rows alone: when they come between answers, these wait

P, ARM = COLUMNS.index("churn_probability"), COLUMNS.index("arm")

observed = cache(metrics.scores.labels)


class Busy(Exception):
    """More customers are in line than can be served soon."""


@dataclass(slots=True, eq=False)
class Work:
    """The customers of one request, or a part of them."""

    customers: Sequence[Mapping[str, Any]]
    request_ids: Sequence[str]
    model: Model
    arrived: float  # time.perf_counter() of the request
    done: asyncio.Future[list[Prediction]]


@dataclass(slots=True)
class Found:
    """What a group comes to: an answer for each part, the rows of the log that say the same, what /metrics counts."""

    answers: list[list[Prediction] | Exception] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)


class Predictor:
    """Turns customers into predictions that are in the log.

    All of it happens on the event loop while the log is a file: a commit takes less than handing the interpreter's lock
    to a thread and back. Commits to a database elsewhere are waited for in a thread.
    """

    def __init__(self, prediction_log: PredictionLog):
        self.log = prediction_log
        self.waiting = 0  # rows that are not answered yet
        self.shadow: Shadow | None = None
        self._line: deque[Work] = deque()
        self._carried: deque[Row] = deque()
        self._at_work = False

    async def predict(
        self, customers: Sequence[Mapping[str, Any]], request_ids: Sequence[str], model: Model, arrived: float
    ) -> list[Prediction]:
        """Predictions in order, each committed; Busy, or LogFull, when they can't be."""
        if self.waiting + len(customers) > WAITING:
            raise Busy
        self.waiting += len(customers)
        found: list[Prediction] = []
        loop = asyncio.get_running_loop()
        try:
            for start in range(0, len(customers), GROUP):  # one part at a time, so that others come in between
                part = slice(start, start + GROUP)
                done: asyncio.Future[list[Prediction]] = loop.create_future()
                self._line.append(Work(customers[part], request_ids[part], model, arrived, done))
                if not self._at_work:
                    self._at_work = True
                    loop.call_soon(self._gather, 0)
                found += await done
        finally:
            self.waiting -= len(customers)
        return found

    def carry(self, rows: Sequence[Row]) -> None:
        """Have rows of the shadow committed along with the next ones, or by themselves where nobody comes."""
        if not self._carried:
            asyncio.get_running_loop().call_later(ALONE, self._alone)
        room = HELD - len(self._carried)  # batches bring more than their commits take along
        self._carried.extend(rows[:room])
        metrics.shadow_dropped.inc(max(0, len(rows) - room))

    def _alone(self) -> None:
        if self._carried and not self._at_work:
            self._at_work = True
            self._next()
        if self._carried:
            asyncio.get_running_loop().call_later(ALONE, self._alone)

    async def idle(self, seconds: float) -> None:
        """Until nothing is at work or to be carried, for so many seconds at most."""
        end = time.monotonic() + seconds
        await asyncio.sleep(0)
        while (self._at_work or self._carried) and time.monotonic() < end:
            await asyncio.sleep(0.01)

    def _gather(self, seen: int) -> None:
        """Go on once a turn of the event loop brought nobody new: who sent at the same time is in line by then."""
        if seen < len(self._line) < GROUP:
            asyncio.get_running_loop().call_soon(self._gather, len(self._line))
        elif self._line:
            self._next()
        else:
            self._at_work = False
            metrics.queue.set(self.waiting)

    def _next(self) -> None:
        """Answer who is in line; the last step of a group leads back to the first."""
        group: list[Work] = []
        rows = 0
        while self._line and (not group or rows + len(self._line[0].customers) <= GROUP):
            group.append(self._line.popleft())
            rows += len(group[-1].customers)
        metrics.queue.set(self.waiting)
        found = answered(group)
        along = min(max(CARRIED, 2 * rows), len(self._carried))
        carried = [self._carried.popleft() for _ in range(along)]
        if self.log.is_file:
            self._committed(group, found, self._problem(found.rows, carried))
        else:
            commit = asyncio.get_running_loop().run_in_executor(None, self._problem, found.rows, carried)
            commit.add_done_callback(lambda commit: self._committed(group, found, commit.result()))

    def _committed(self, group: list[Work], found: Found, problem: Exception | None) -> None:
        deliver(group, found.answers, problem)
        asyncio.get_running_loop().call_soon(self._gather, 0)
        if not problem:
            count(found)
            if self.shadow:
                pairs = zip(group, found.answers, strict=True)
                self.shadow.offer([c for work, a in pairs if isinstance(a, list) for c in work.customers], found.rows)

    def _problem(self, rows: list[Row], carried: list[Row]) -> Exception | None:
        try:
            metrics.shadow_dropped.inc(len(carried) - self.log.write(rows, carried))
        except Exception as error:
            return error
        return None


def deliver(group: list[Work], answers: Sequence[list[Prediction] | Exception], problem: Exception | None) -> None:
    """Hand each part of the group its answer, or what went wrong."""
    for work, answer in zip(group, answers, strict=True):
        outcome = problem or answer
        if work.done.cancelled():
            continue
        if isinstance(outcome, Exception):
            work.done.set_exception(outcome)
        else:
            work.done.set_result(outcome)


def answered(group: list[Work]) -> Found:
    """What the group comes to; whoever makes it fail fails alone."""
    found = Found()
    try:
        p = scored(group)
        now, at = time.perf_counter(), db_time(datetime.now(UTC))
        for work, probabilities in zip(group, p, strict=True):
            latency = round((now - work.arrived) * 1000, 3)
            predictions: list[Prediction] = []
            for customer, request_id, q in zip(work.customers, work.request_ids, probabilities, strict=True):
                answer = prediction(customer, request_id, q, work.model, found.counts)
                predictions.append(answer)
                found.rows.append(log_row(customer, answer, at, latency))
            found.answers.append(predictions)
    except Exception as error:
        if len(group) == 1:
            return Found([error])
        found = Found()
        for alone in map(answered, ([work] for work in group)):
            found.answers += alone.answers
            found.rows += alone.rows
            found.counts += alone.counts
    return found


def scored(group: list[Work]) -> list[list[float]]:
    """The probabilities of each part of the group; each model is asked once, of all: picking its rows costs more."""
    customers = [customer for work in group for customer in work.customers]
    inputs: dict[str, dict[str, np.ndarray]] = {}
    said: dict[Model, list[float]] = {}
    for model in {work.model: None for work in group}:
        scorer = model.scorer
        if scorer.recipe not in inputs:
            inputs[scorer.recipe] = scorer.inputs(scorer.columns(customers))
        said[model] = scorer.run(inputs[scorer.recipe]).tolist()
    found, start = [], 0
    for work in group:
        end = start + len(work.customers)
        found.append(said[work.model][start:end])
        start = end
    if not all(0 <= q <= 1 for p in found for q in p):  # the database would refuse the row again and again
        raise ArithmeticError("the model gives what is no probability")
    return found


def prediction(
    customer: Mapping[str, Any], request_id: str, p: float, model: Model, counts: Counter[tuple[str, ...]]
) -> Prediction:
    """The answer for one customer; `counts` learns what is to be counted about it."""
    churn = p >= model.threshold
    decision, warnings = "churn" if churn else "no_churn", []
    for name, levels in model.levels.items():
        level = customer[name]
        if level is not None and level not in levels:
            warnings.append(f"{name}: training never saw this level, so the model makes nothing of it")
            counts["unseen", name] += 1
    for name in model.nullable:
        if customer[name] is None:
            counts["missing", name] += 1
    counts["predicted", decision, model.arm] += 1
    return {
        "customer_id": customer[ID],
        "churn_probability": p,
        "prediction": decision,  # type: ignore[typeddict-item]
        "confidence": p if churn else 1 - p,
        "threshold": model.threshold,
        "model_version": model.version,
        "arm": model.arm,  # type: ignore[typeddict-item]
        "request_id": request_id,
        "warnings": warnings,
    }


def log_row(customer: Mapping[str, Any], answer: Prediction, at: str, latency_ms: float) -> Row:
    """The answer as the log's table holds it."""
    return (
        new_id(),
        answer["request_id"],
        at,
        answer["customer_id"],
        orjson.dumps({name: value for name, value in customer.items() if name != ID}).decode(),
        answer["churn_probability"],
        answer["prediction"],
        answer["threshold"],
        answer["model_version"],
        answer["arm"],
        latency_ms,
    )


def count(found: Found) -> None:
    """Tell /metrics of a group."""
    for key, n in found.counts.items():
        counter(*key).inc(n)
    for row in found.rows:
        observed(row[ARM]).observe(row[P])


@cache
def counter(kind: str, *labels: str) -> Any:
    """The client looks a label up under a lock."""
    counters = {"unseen": metrics.unseen, "missing": metrics.missing, "predicted": metrics.predictions}
    return counters[kind].labels(*labels)
