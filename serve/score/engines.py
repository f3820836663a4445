"""Where pieces are scored: in processes of this machine, or on a Dask cluster. Results come as they are ready."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from threading import Thread
from typing import Any

import pyarrow as pa

from churn.script import InputError
from serve.score.job import Job, carried, live

Task = tuple[Any, ...]
Work = Callable[..., dict[str, Any]]  # of a task and the job: writes a file, returns its entry of the manifest
AGAIN = "run the same command again: what is finished stays"
RETRIES = 3  # of a piece whose worker was lost
PATIENCE = 10  # seconds until a cluster answers
_job: Job


def local(work: Work, tasks: Sequence[Task], job: Job, processes: int) -> Iterator[dict[str, Any]]:
    """In so many processes; one is this one."""
    if processes == 1 or len(tasks) < 2:
        yield from (in_one_line(work, task, job) for task in tasks)
        return
    # a fork would share onnxruntime's locks. The job is small: while Python hands more than a pipe holds to a process
    # that dies, it waits for ever
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(tasks)), spawn, begin, (job,)) as pool:
        try:
            asked = [pool.submit(call, work, task) for task in tasks]
            yield from (one.result() for one in futures.as_completed(asked))
        except BrokenProcessPool:
            raise InputError(
                f"a process was killed, for instance for want of memory; {AGAIN}, with fewer --processes"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def begin(job: Job) -> None:
    global _job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    Thread(target=end_with_parent, daemon=True).start()
    _job = job
    live(job)


def end_with_parent() -> None:
    """A worker would wait for work for ever where its parent was killed."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)


def call(work: Work, task: Task) -> dict[str, Any]:
    return in_one_line(work, task, _job)


def in_one_line(work: Work, task: Task, job: Job) -> dict[str, Any]:
    try:
        return work(*task, job)
    except (MemoryError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200] or "the memory is not enough"
        raise InputError(f"{task[0].file}: {reason}; {AGAIN}, with fewer --processes") from None


def on_dask(work: Work, tasks: Sequence[Task], job: Job, address: str) -> Iterator[dict[str, Any]]:
    """On the cluster of a scheduler; its workers see the input and the output under the same paths."""
    try:
        from distributed import CancelledError, Client, KilledWorker, as_completed  # who names no cluster does without
    except ImportError:
        raise InputError("--engine dask needs the package distributed: pip install distributed") from None
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(f"--address {address}: no Dask scheduler answers: {error}") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
            shared = client.scatter(carried(job), broadcast=True)
            asked = [client.submit(in_one_line, work, task, shared, pure=False, retries=RETRIES) for task in tasks]
            for one in as_completed(asked, loop=client.loop):
                yield one.result()
        except (TimeoutError, KilledWorker, CancelledError) as error:
            why = " ".join(str(error).split())
            raise InputError(f"the cluster at {address} has no workers, or lost them: {why}; {AGAIN}") from None
