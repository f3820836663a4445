"""Watch production: a check every so many hours, and a retraining where one is needed, also when an alert asks for it.

`python -m monitoring.watch [--every HOURS] [--port 9099]` is what the compose file runs. Alertmanager posts to /alerts
what is to be trained again, and to /people what they should hear, as long as they are reached nowhere else: it goes to
the log. /metrics says how the last runs ended. Each run is a process of its own, one at a time: `python -m
monitoring.check`, `python -m monitoring.retrain --if-needed`. A crontab line does the same without alerts.
"""

import argparse
import json
import logging
import math
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Literal

import uvicorn
from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from pydantic import BaseModel, Field

from churn.script import InputError, run

log = logging.getLogger("monitoring.watch")

CHECK, RETRAIN = ("monitoring.check", "--json"), ("monitoring.retrain", "--if-needed")


class Alert(BaseModel):
    """What of an alert counts here."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    annotations: dict[str, str] = {}


class Alerts(BaseModel):
    """What Alertmanager posts, version 4."""

    alerts: Annotated[list[Alert], Field(max_length=10_000)]


class Watch:
    """Runs commands one after the other, in a thread of its own: on a schedule, and when asked to."""

    def __init__(self, every: float):
        self.every = every  # seconds; 0: nothing but alerts
        self.registry = CollectorRegistry()
        status = "exit status of the last run of a command"
        self.status = Gauge("churn_watch_exit_status", status, ["command"], registry=self.registry)
        self.ended = Gauge("churn_watch_run_timestamp_seconds", "when it ended", ["command"], registry=self.registry)
        self._asked, self._stopping = threading.Event(), False
        self._starting = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None  # the last one; it may have ended
        self._thread = threading.Thread(target=self._work, name="watch")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End what runs; a retraining that is cut short leaves nothing behind."""
        with self._starting:
            self._stopping = True
            if self._running:
                self._running.terminate()
        self._asked.set()
        self._thread.join()

    def ask(self) -> None:
        """Let a retraining run that looks itself whether it is needed; asking often is asking once."""
        self._asked.set()

    def _work(self) -> None:
        due = time.monotonic() if self.every else math.inf  # looked at first: alerts do not put off the next check
        while not self._stopping:
            if time.monotonic() >= due:
                due = following(due, self.every, time.monotonic())
                if verdict_of(self._run(CHECK)) == "breach":
                    self._run(RETRAIN)
            elif self._asked.is_set():
                self._asked.clear()
                self._run(RETRAIN)
            self._asked.wait(max(0.0, due - time.monotonic()) if self.every else None)

    def _run(self, command: Sequence[str]) -> bytes:
        """The report that a check prints."""
        with self._starting:
            if self._stopping:
                return b""
            output = subprocess.PIPE if command == CHECK else sys.stderr
            self._running = subprocess.Popen([sys.executable, "-m", *command], stdout=output)
        printed, _ = self._running.communicate()
        status = self._running.returncode
        self.status.labels(command[0]).set(status)
        self.ended.labels(command[0]).set_to_current_time()
        log.info("%s ended with exit status %d", " ".join(command), status)
        return printed or b""


def verdict_of(printed: bytes) -> str | None:
    """The verdict of a check, and a line of the log for each reason; None where it printed no report."""
    try:
        report = json.loads(printed)
        for reason in report["reasons"]:
            log.info("%s: %s", reason["level"], reason["words"])
        return str(report["verdict"])
    except (ValueError, KeyError, TypeError):
        return None


def following(due: float, every: float, now: float) -> float:
    """The next time behind now; those that a long retraining took are not made up, or one day would count as many."""
    return due + every * (1 + (now - due) // every)


def create_app(watch: Watch) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watch.start()
        yield
        watch.stop()

    app = FastAPI(title="Watch", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.post("/alerts", status_code=202)
    async def alerts(told: Alerts) -> dict[str, bool]:
        if firing := [alert.labels.get("alertname", "an alert") for alert in told.alerts if alert.status == "firing"]:
            log.info("%s: looking whether a retraining is needed", ", ".join(firing))
            watch.ask()
        return {"asked": bool(firing)}

    @app.post("/people", status_code=202)
    async def people(told: Alerts) -> dict[str, int]:
        for alert in told.alerts:
            log.warning("%s", line(alert))
        return {"told": len(told.alerts)}

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(watch.registry), media_type=CONTENT_TYPE_LATEST)

    return app


def line(alert: Alert) -> str:
    """One line, whatever stands in it: `firing, ticket: ChurnSlow: summary: description (docs/runbook.md#...)`."""
    labels, notes = alert.labels, alert.annotations
    parts = [
        f"{alert.status}, {labels.get('severity', 'no severity')}", labels.get("alertname", "an alert"),
        notes.get("summary", ""), notes.get("description", ""),
    ]  # fmt: skip
    words = ": ".join(filter(None, parts)) + (f" ({notes['runbook_url']})" if "runbook_url" in notes else "")
    return " ".join(words.split())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m monitoring.watch", description=__doc__)
    parser.add_argument("--every", type=float, default=24.0, metavar="HOURS", help="24 where left out; 0: only alerts")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9099)
    given = parser.parse_args()
    if not 0 <= given.every <= 24 * 365:
        raise InputError(f"--every is {given.every:g}; expected hours, 0 to 8760")
    uvicorn.run(create_app(Watch(given.every * 3600)), host=given.host, port=given.port, log_level="warning")


if __name__ == "__main__":
    run(main, "monitoring.watch")
