"""Processes that are started, waited for and ended: for the demo, the benchmarks and the tests."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from churn.script import InputError

END_SECONDS = 15  # that a process has to end in
PAUSE_SECONDS = 0.02  # between two looks at a condition


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """What `condition` gives once it is true; an InputError when it does not become true in time."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise InputError(f"the condition did not become true within {seconds:g} seconds")
        time.sleep(PAUSE_SECONDS)
    return value


@contextmanager
def child(*words: str, cwd: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m WORDS`, ended with the block; its output goes to the log."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=cwd, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[Any]) -> None:
    """Ask it to end; kill what is left after END_SECONDS."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
