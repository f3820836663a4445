"""Where pieces are scored by a Spark job: a standalone cluster, or processes of this machine."""

import logging
import os
import re
import signal
import socket
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

from churn.script import InputError
from serve.score.engines import AGAIN, PATIENCE, Task, Work, entry_from, on_worker
from serve.score.job import Job, carried

VERSION = "4.3.0"  # of pyspark, the one that .ci/spark/requirements.txt pins
ADDRESS = re.compile(r"spark://[^/]+:\d+|local(\[(\d+|\*)(,\d+)?\])?")
POLL_SECONDS = 0.2  # between looks at what is ready
IDLE_SECONDS = 60  # without an executor at work, until the run ends
ROOT = Path(__file__).parents[2]
CODE = ("churn", "serve")  # sent to the executors, so that it is the driver's


def on_spark(work: Work, tasks: Sequence[Task], job: Job, address: str) -> Iterator[dict[str, Any]]:
    """On executors that see the input and the output under the same paths; Spark retries what a lost one had."""
    try:
        from py4j.protocol import Py4JError  # 480 MB with pyspark: who names no master does without
        from pyspark.accumulators import AddingAccumulatorParam
        from pyspark.errors import PySparkException
    except ImportError:
        raise InputError(f"--engine spark needs the package pyspark: pip install pyspark=={VERSION}") from None
    if address.startswith("spark://"):
        await_master(address)
    else:
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    try:
        with context(address) as (spark, interrupted):
            # collect() would be silent up to the last piece; an action applies the update of each task exactly once
            ready = spark.accumulator([], AddingAccumulatorParam([]))
            one = partial(score_on_executor, work=work, shared=spark.broadcast(carried(job)), ready=ready)
            running = in_thread(partial(spark.parallelize(tasks, len(tasks)).foreach, one))
            yield from results(spark, running, ready, interrupted)
            if (lost := len(tasks) - len(ready.value)) > 0:
                raise InputError(f"{address}: the results of {lost} pieces did not arrive; {AGAIN}")
    except Py4JError as error:
        raise InputError(f"{address}: Spark gave up: {reason(str(error))}; {AGAIN}") from None
    except PySparkException as error:
        raise InputError(f"Spark does not start: {error}; it needs Java 17, by JAVA_HOME or on the PATH") from None


def await_master(address: str) -> None:
    """An InputError where no master listens; Spark itself would try for a minute."""
    for place in address.removeprefix("spark://").split(","):
        host, _, port = place.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
            return
        except (OSError, OverflowError) as error:
            why = error
    raise InputError(f"--address {address}: no Spark master answers: {why}")


@contextmanager
def context(address: str) -> Iterator[tuple[Any, Event]]:
    """A Spark context whose executors have this code, and whether Ctrl-C came; it ends with all that it started."""
    from pyspark import SparkConf, SparkContext
    from pyspark.accumulators import AccumulatorTCPServer

    # it would print a traceback where a context that stops closes its connection; results lost by that are counted
    AccumulatorTCPServer.handle_error = lambda *_: None
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)  # which gives it none
    settings = {"spark.ui.showConsoleProgress": "false", "spark.log.level": "OFF"}  # what went wrong is one line
    conf = SparkConf().setMaster(address).setAppName("churn scores").setAll(list(settings.items()))
    before, interrupted = signal.getsignal(signal.SIGINT), Event()
    try:
        with tempfile.TemporaryDirectory(prefix="churn-score-") as folder, SparkContext(conf=conf) as spark:
            # an interrupt within a call to Java would break the next calls, and Spark's own handler is one more call
            signal.signal(signal.SIGINT, partial(note, interrupted))
            code = Path(folder, "churn-score.zip")
            with zipfile.ZipFile(code, "w") as archive:
                for path in sorted(path for name in CODE for path in (ROOT / name).rglob("*.py")):
                    archive.write(path, path.relative_to(ROOT))
            spark.addPyFile(str(code))
            yield spark, interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def note(interrupted: Event, *_: Any) -> None:
    """Handle a signal: the second one ends what does not look at the first."""
    if interrupted.is_set():
        raise KeyboardInterrupt
    interrupted.set()


def in_thread(call: Callable[[], None]) -> Future[None]:
    """Of a thread that does not keep the process when it is to end."""
    future: Future[None] = Future()

    def fulfil() -> None:
        try:
            call()
            future.set_result(None)
        except BaseException as error:
            future.set_exception(error)

    Thread(target=fulfil, daemon=True).start()
    return future


def results(spark: Any, running: Future[None], ready: Any, interrupted: Event) -> Iterator[dict[str, Any]]:
    """The entries of the manifest as they arrive, until the job ends; an InputError where a piece had one."""
    taken, at_work = 0, time.monotonic()
    while True:
        is_done = running.done()  # asked before the look, which then misses nothing
        for entry in ready.value[taken:]:
            taken += 1
            yield entry_from(entry)
        if is_done:
            running.result()  # or its error
            return
        if interrupted.is_set():
            raise KeyboardInterrupt
        if is_at_work(spark):
            at_work = time.monotonic()
        elif time.monotonic() > at_work + IDLE_SECONDS:
            raise InputError(f"{spark.master} gave no executor for {IDLE_SECONDS} seconds; {AGAIN}")
        wait([running], POLL_SECONDS)


def is_at_work(spark: Any) -> bool:
    tracker = spark.statusTracker()
    stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    return any(stage is not None and stage.numActiveTasks for stage in stages)


def score_on_executor(task: Task, work: Work, shared: Any, ready: Any) -> None:
    """In a Python process of an executor, which opens the releases for its first piece and is kept for the next."""
    # this process is killed when it is done with; Spark removes these folders
    tempfile.tempdir = os.environ["SPARK_LOCAL_DIRS"].split(",")[0]
    ready.add([on_worker(work, task, shared.value)])


def reason(text: str) -> str:
    """The line of Spark's message that says why: above the Java frames, of a Python traceback the last."""
    above = re.split(r"\n\tat |\nDriver stacktrace:", text)[0].splitlines()
    lines = [line.strip() for line in above if line.strip() and not line.startswith(" SQLSTATE")]
    return lines[-1].rpartition("most recent failure: ")[2][:300] if lines else "without a word"
