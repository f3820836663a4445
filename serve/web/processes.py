"""Commands whose packages the service does not load: each is a process of its own, one at a time, in the background.

No reader waits for one. What a command printed is kept for a minute after it was first read, so that ten readers of a
page are one run.
"""

import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from serve.http.middleware import Refused

KEPT_SECONDS = 60.0  # after the first reading; five times as long where there is none
LIMIT_SECONDS = 300.0  # that a command may take
MAX_WAITING = 5  # commands
PRIORITY = 10  # of processes, below the service's


class Failed(Exception):
    """A command that ended otherwise than well, in its own words."""


@dataclass
class Run:
    """A command that runs, or has run."""

    future: Future[str]
    until: float = math.inf  # it is kept, by the monotonic clock


class Processes:
    """Runs `python -m COMMAND` for pages; `places` are the variables that tell it where releases and the log are."""

    def __init__(self, places: Mapping[str, str]):
        self.places = dict(places)
        self._runs: dict[tuple[str, ...], Run] = {}
        self._lock, self._one = threading.Lock(), ThreadPoolExecutor(1, thread_name_prefix="process")
        self._running: subprocess.Popen[str] | None = None
        self._is_closed = False

    def json_of(self, *command: str) -> Any:
        """What the command prints, at most a minute old; None while it runs, or waits to. Failed where it does."""
        with suppress(Refused):  # it begins when it is asked for again
            run = self._run(command)
            if run.future.done():
                run.until = min(run.until, time.monotonic() + KEPT_SECONDS)
                return json.loads(run.future.result())
        return None

    def start(self, *command: str) -> Future[str]:
        """Run it, also where it ran a moment ago; where it runs, leave it at that. Refused where too many wait."""
        return self._run(command, anew=True).future

    def state_of(self, word: str) -> tuple[Literal["running", "failed", "none"], str]:
        """Of the newest command that has this argument: whether it runs, or why it failed."""
        with self._lock:
            runs = [run for command, run in self._runs.items() if word in command]
        if not runs:
            return "none", ""
        if not (future := runs[-1].future).done():
            return "running", ""
        return ("failed", str(error)) if (error := future.exception()) else ("none", "")

    def close(self) -> None:
        """End what runs, and start nothing more."""
        with self._lock:
            self._is_closed = True
            if self._running:
                self._running.terminate()
        self._one.shutdown(cancel_futures=True)

    def _run(self, command: tuple[str, ...], anew: bool = False) -> Run:
        with self._lock:
            now = time.monotonic()
            self._runs = {key: run for key, run in self._runs.items() if now < run.until}
            if (run := self._runs.get(command)) and not (anew and run.future.done()):
                return run
            if sum(not run.future.done() for run in self._runs.values()) >= MAX_WAITING:
                raise Refused(503, "busy", f"{MAX_WAITING} commands of other pages wait already; try again", 10)
            self._runs.pop(command, None)  # the newest is the last
            run = self._runs[command] = Run(self._one.submit(self._work, command))

        def end(_: Future[str]) -> None:
            run.until = min(run.until, time.monotonic() + 5 * KEPT_SECONDS)  # a reader may have come first

        run.future.add_done_callback(end)
        return run

    def _work(self, command: tuple[str, ...]) -> str:
        with self._lock:
            if self._is_closed:
                raise Failed("the service ends")
            process = self._running = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=os.environ | self.places,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        with suppress(OSError):  # it has ended already
            os.setpriority(os.PRIO_PROCESS, process.pid, PRIORITY)
        try:
            printed, complaints = process.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise Failed(f"it takes longer than {LIMIT_SECONDS:g} seconds: run python -m {command[0]}") from None
        if process.returncode:
            raise Failed(last_line(complaints) or f"it ended with exit status {process.returncode}")
        return printed


def last_line(complaints: str) -> str:
    """What a command says of its end, without its name: one line for a mistake, a traceback for a fault of its own."""
    lines = [line for line in complaints.splitlines() if line.strip()]
    if any(line.startswith("Traceback ") for line in lines):
        return "a fault of the program; run the command to see it"
    return lines[-1].partition(": ")[2] if lines else ""
