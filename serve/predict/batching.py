"""Scoring and logging in groups: what arrives while one group is at work makes up the next.

One row alone costs the model and the database as much as fifteen in a group, so grouping makes every answer faster
although no request waits for a group to fill.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from serve.log.tables import Row
from serve.log.writer import PredictionLog
from serve.payloads import Prediction
from serve.predict.answers import GroupResult, Work, count_group, predict_group
from serve.predict.live import Model
from serve.predict.shadow import Shadow
from serve.telemetry import metrics

MAX_GROUP = 200  # rows that are scored and committed together at most; the event loop waits that long
MAX_WAITING = 50_000  # rows in line; more are refused
SHADOW_ROWS = 40  # rows of the shadow that a commit takes along, in half a millisecond, or twice as many as its own
MAX_SHADOW_ROWS = 10_000  # rows of the shadow that wait for a commit; more are dropped
SHADOW_SECONDS = 0.1  # between commits of the shadow's rows alone, which keep answers waiting


class Busy(Exception):
    """Too many customers are in line."""


class Predictor:
    """Turns customers into predictions that are in the log.

    With a log in a file all of it happens on the event loop: a commit takes less time than handing the interpreter's
    lock to a thread and back. A thread waits for commits to a database elsewhere.
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
        if self.waiting + len(customers) > MAX_WAITING:
            raise Busy
        self.waiting += len(customers)
        predictions: list[Prediction] = []
        loop = asyncio.get_running_loop()
        try:
            for start in range(0, len(customers), MAX_GROUP):  # one part at a time, so that others come in between
                part = slice(start, start + MAX_GROUP)
                done: asyncio.Future[list[Prediction]] = loop.create_future()
                self._line.append(Work(customers[part], request_ids[part], model, arrived, done))
                if not self._at_work:
                    self._at_work = True
                    loop.call_soon(self._gather, 0)
                predictions += await done
        finally:
            self.waiting -= len(customers)
        return predictions

    def carry(self, rows: Sequence[Row]) -> None:
        """Commit rows of the shadow along with the next answers, or by themselves when there are none."""
        if not self._carried:
            asyncio.get_running_loop().call_later(SHADOW_SECONDS, self._alone)
        room = MAX_SHADOW_ROWS - len(self._carried)  # batches bring more than their commits take along
        self._carried.extend(rows[:room])
        metrics.shadow_dropped.inc(max(0, len(rows) - room))

    def _alone(self) -> None:
        if self._carried and not self._at_work:
            self._at_work = True
            self._next()
        if self._carried:
            asyncio.get_running_loop().call_later(SHADOW_SECONDS, self._alone)

    async def idle(self, seconds: float) -> None:
        """Wait until nothing is left to commit, for so many seconds at most."""
        end = time.monotonic() + seconds
        await asyncio.sleep(0)
        while (self._at_work or self._carried) and time.monotonic() < end:
            await asyncio.sleep(0.01)

    def _gather(self, seen: int) -> None:
        """Start the next group after a turn of the event loop without a request: those sent together are in line."""
        if seen < len(self._line) < MAX_GROUP:
            asyncio.get_running_loop().call_soon(self._gather, len(self._line))
        elif self._line:
            self._next()
        else:
            self._at_work = False
            metrics.queue.set(self.waiting)

    def _next(self) -> None:
        """Score and commit the next group, then gather the one after."""
        group: list[Work] = []
        rows = 0
        while self._line and (not group or rows + len(self._line[0].customers) <= MAX_GROUP):
            group.append(self._line.popleft())
            rows += len(group[-1].customers)
        metrics.queue.set(self.waiting)
        result = predict_group(group)
        along = min(max(SHADOW_ROWS, 2 * rows), len(self._carried))
        carried = [self._carried.popleft() for _ in range(along)]
        if self.log.is_file:
            self._committed(group, result, self._problem(result.rows, carried))
        else:
            commit = asyncio.get_running_loop().run_in_executor(None, self._problem, result.rows, carried)
            commit.add_done_callback(lambda commit: self._committed(group, result, commit.result()))

    def _committed(self, group: list[Work], result: GroupResult, problem: Exception | None) -> None:
        deliver(group, result.answers, problem)
        asyncio.get_running_loop().call_soon(self._gather, 0)
        if not problem:
            count_group(result)
            if self.shadow:
                pairs = zip(group, result.answers, strict=True)
                self.shadow.offer([c for work, a in pairs if isinstance(a, list) for c in work.customers], result.rows)

    def _problem(self, rows: list[Row], carried: list[Row]) -> Exception | None:
        try:
            metrics.shadow_dropped.inc(len(carried) - self.log.write(rows, carried))
        except Exception as error:
            return error
        return None


def deliver(group: list[Work], answers: Sequence[list[Prediction] | Exception], problem: Exception | None) -> None:
    """Give each part of the group its answer or its error."""
    for work, answer in zip(group, answers, strict=True):
        outcome = problem or answer
        if work.done.cancelled():
            continue
        if isinstance(outcome, Exception):
            work.done.set_exception(outcome)
        else:
            work.done.set_result(outcome)
