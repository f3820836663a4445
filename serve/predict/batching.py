"""Scoring and logging in groups: requests that arrive during one group form the next.

One row alone costs the model and the database as much as fifteen in a group, so grouping makes every answer faster
although no request waits for a group to fill.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from serve.log.prediction_log import PredictionLog, Written
from serve.log.tables import Row
from serve.payloads import Prediction
from serve.predict.answers import GroupResult, Work, count_group, predict_group
from serve.predict.live import Model
from serve.predict.shadow import Shadow
from serve.telemetry import metrics

MAX_GROUP = 200  # rows scored and committed together; the event loop is blocked that long
MAX_WAITING = 50_000  # rows waiting; more are refused
SHADOW_ROWS = 40  # shadow rows added to a commit (half a millisecond), or twice its own rows if that is more
MAX_SHADOW_ROWS = 10_000  # shadow rows waiting for a commit; more are dropped
SHADOW_SECONDS = 0.1  # between commits of shadow rows alone, which delay answers


class Busy(Exception):
    """Too many customers are waiting."""


class RowRefused(Exception):
    """The log's database refuses the row of that answer for what it holds."""

    def __init__(self, request_id: str):
        super().__init__(request_id)
        self.request_id = request_id


class Predictor:
    """Turns customers into logged predictions.

    With a log in a file everything runs on the event loop: a commit is faster than handing the interpreter's lock to a
    thread and back. Commits to a database server are awaited in a thread.
    """

    def __init__(self, prediction_log: PredictionLog):
        self.log = prediction_log
        self.waiting = 0  # rows not answered yet
        self.shadow: Shadow | None = None
        self._line: deque[Work] = deque()
        self._carried: deque[Row] = deque()
        self._at_work = False

    async def predict(
        self, customers: Sequence[Mapping[str, Any]], request_ids: Sequence[str], model: Model, arrived: float
    ) -> list[Prediction]:
        """Return predictions in order, all committed; raise Busy, LogFull or RowRefused if that is impossible."""
        if self.waiting + len(customers) > MAX_WAITING:
            raise Busy
        self.waiting += len(customers)
        predictions: list[Prediction] = []
        loop = asyncio.get_running_loop()
        try:
            for start in range(0, len(customers), MAX_GROUP):  # one part at a time: others get their turn
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
        """Commit shadow rows with the next answers, or alone if there are none."""
        if not self._carried:
            asyncio.get_running_loop().call_later(SHADOW_SECONDS, self._alone)
        room = MAX_SHADOW_ROWS - len(self._carried)  # a batch brings more rows than its commits take
        self._carried.extend(rows[:room])
        metrics.shadow_dropped.inc(max(0, len(rows) - room))

    def _alone(self) -> None:
        if self._carried and not self._at_work:
            self._at_work = True
            self._next()
        if self._carried:
            asyncio.get_running_loop().call_later(SHADOW_SECONDS, self._alone)

    async def idle(self, seconds: float) -> None:
        """Wait until everything is committed, at most `seconds`."""
        end = time.monotonic() + seconds
        await asyncio.sleep(0)
        while (self._at_work or self._carried) and time.monotonic() < end:
            await asyncio.sleep(0.01)

    # three callbacks in a ring, not a task: on the hot path each turn of the event loop counts
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
            self._committed(group, result, self._write(result.rows, carried))
        else:
            commit = asyncio.get_running_loop().run_in_executor(None, self._write, result.rows, carried)
            commit.add_done_callback(lambda commit: self._committed(group, result, commit.result()))

    def _committed(self, group: list[Work], result: GroupResult, written: Written | Exception) -> None:
        deliver(group, result, written)
        asyncio.get_running_loop().call_soon(self._gather, 0)
        if isinstance(written, Written):
            count_group(result)
            if self.shadow:
                pairs = zip(group, result.answers, strict=True)
                self.shadow.offer([c for work, a in pairs if isinstance(a, list) for c in work.customers], result.rows)

    def _write(self, rows: list[Row], carried: list[Row]) -> Written | Exception:
        try:
            written = self.log.write(rows, carried)
            metrics.shadow_dropped.inc(len(carried) - written.beside)
        except Exception as error:
            return error
        return written


def deliver(group: list[Work], result: GroupResult, written: Written | Exception) -> None:
    """Give each part of the group its answer or its error."""
    problem, refused = (written, frozenset[int]()) if isinstance(written, Exception) else (None, written.refused)
    row = 0
    for work, answer in zip(group, result.answers, strict=True):
        outcome = problem or answer
        if not isinstance(answer, Exception):  # which has no rows
            rows = range(row, row := row + len(answer))
            if refused and (its := refused.intersection(rows)):
                outcome = RowRefused(work.request_ids[min(its) - rows.start])
        if work.done.cancelled():
            continue
        if isinstance(outcome, Exception):
            work.done.set_exception(outcome)
        else:
            work.done.set_result(outcome)
