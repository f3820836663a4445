"""Where pieces are scored: in processes of this machine, or on a Dask cluster. Results come as they are ready."""

import ctypes
import multiprocessing
import signal
import socket
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, cast

import pyarrow as pa

from churn.script import InputError
from churn.storage import StorageError
from serve.score.job import Job, carried

Task = tuple[Any, ...]
Work = Callable[..., dict[str, Any]]  # of a task and the job: writes a file, returns its entry of the manifest
AGAIN = "run the same command again: what is finished stays"
PATIENCE = 10  # seconds until a cluster answers
STORAGE_SETTINGS = (
    "a worker takes endpoint and credentials from its own environment: "
    "AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
)
DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG: a worker ends with its parent


def local(work: Work, tasks: Sequence[Task], job: Job, processes: int) -> Iterator[dict[str, Any]]:
    """In so many processes; one is this one.

    No thread hands the tasks out: where there is no memory for one, a pool waits for ever.
    """
    if processes == 1 or len(tasks) < 2:
        yield from (in_one_line(work, task, job) for task in tasks)
        return
    waiting = iter(tasks)
    workers: dict[Connection, BaseProcess] = {}
    try:
        for task in islice(waiting, processes):
            connection, worker = started(work, job)
            workers[connection] = worker
            hand(task, connection)
        for _ in tasks:
            connection = cast(Connection, wait([*workers])[0])
            yield result_from(connection)
            if task := next(waiting, ()):
                hand(task, connection)
            else:
                connection.close()
                workers.pop(connection).join()
    finally:
        for worker in workers.values():  # what they were at is not wanted any more
            worker.kill()
            worker.join()


def started(work: Work, job: Job) -> tuple[Connection, BaseProcess]:
    """A worker, and the connection to it."""
    spawn = multiprocessing.get_context("spawn")  # a fork would share onnxruntime's locks
    here, there = spawn.Pipe()
    worker = spawn.Process(target=answer, args=(there, work, job), daemon=True)
    resource_tracker.ensure_running()  # started within the block, it would unblock interrupts for the worker
    with without_interrupts():
        worker.start()
    there.close()
    return here, worker


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Ctrl-C is answered when the block is over; processes that are started in it leave it to this one for ever."""
    came: list[int] = []
    answer = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # which they inherit
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, answer)
    if came:
        raise KeyboardInterrupt


def hand(task: Task, connection: Connection) -> None:
    try:
        connection.send(task)
    except OSError:
        raise lost() from None


def result_from(connection: Connection) -> dict[str, Any]:
    try:
        result = connection.recv()
    except (EOFError, OSError):
        raise lost() from None
    if isinstance(result, Exception):
        raise result
    return dict(result)


def lost() -> InputError:
    return InputError(f"a process was killed, for instance for want of memory; {AGAIN}, with fewer --processes")


def answer(connection: Connection, work: Work, job: Job) -> None:
    """Do the tasks that come, until there are no more or the parent is gone; a worker's whole life."""
    with suppress(AttributeError):  # Linux alone has it; elsewhere the worker ends after its task
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL)
    with suppress(EOFError, OSError):
        while task := connection.recv():
            connection.send(result_of(work, task, job))


def result_of(work: Work, task: Task, job: Job) -> dict[str, Any] | Exception:
    try:
        return in_one_line(work, task, job)
    except Exception as error:
        if not isinstance(error, InputError):
            error.add_note(traceback.format_exc())
        return error


def is_want_of_memory(error: Exception) -> bool:
    """Python's own, that of onnxruntime and Arrow, or that of a thread without room for its stack."""
    words = ("bad_alloc", "can't start new thread", "Resource temporarily unavailable")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def in_one_line(work: Work, task: Task, job: Job) -> dict[str, Any]:
    try:
        return work(*task, job)
    except Exception as error:
        if not isinstance(error, pa.ArrowException) and not is_want_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200] or "the memory is not enough"
        raise InputError(f"{task[0].file}: {reason}; {AGAIN}, with fewer --processes") from None


def on_worker(work: Work, task: Task, job: Job) -> dict[str, Any] | str:
    """The entry, or the text of an error with this machine's name: not raised, or the cluster would try again."""
    try:
        return in_one_line(work, task, job)
    except InputError as error:
        way_out = f"; {STORAGE_SETTINGS}" if isinstance(error, StorageError) else ""
        return f"on {socket.gethostname()}: {error}{way_out}"


def entry_from(result: dict[str, Any] | str) -> dict[str, Any]:
    """What a worker returned; an InputError where that is an error's text."""
    if isinstance(result, str):
        raise InputError(result)
    return result


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
            try:
                shared = client.scatter(carried(job), broadcast=True)
            except KeyError as error:  # of a worker that left meanwhile, by its address
                raise TimeoutError(error) from None
            asked = [client.submit(on_worker, work, task, shared, pure=False) for task in tasks]
            for one in as_completed(asked, loop=client.loop):
                yield entry_from(one.result())
        except (TimeoutError, KilledWorker, CancelledError) as error:
            why = " ".join(str(error).split())
            raise InputError(f"the cluster at {address} has no workers, or lost them: {why}; {AGAIN}") from None
