"""What the demo talks to over HTTP: the service and the watch, real processes."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from churn.script import InputError
from demo.processes import child, free_port, until

WAIT_SECONDS = 60.0  # for whatever is waited for


class Web:
    """Requests to a process on this machine."""

    def __init__(self, port: int, process: Popen[bytes], log: Path):
        self.address, self.process, self.log = f"http://127.0.0.1:{port}", process, log
        self.key = os.environ["CHURN_ADMIN_KEY"]

    def get(self, path: str) -> Any:
        return self._asked(Request(self.address + path))[1]

    def post(self, path: str, content: Any) -> tuple[int, Any]:
        """The status and what was answered."""
        headers = {"Content-Type": "application/json", "X-API-Key": self.key}
        return self._asked(Request(self.address + path, json.dumps(content).encode(), headers))

    def _asked(self, request: Request) -> tuple[int, Any]:
        try:
            answer = urlopen(request, timeout=150)  # a promotion waits for the gate
        except HTTPError as error:
            answer = error
        except OSError as error:
            if self.process.poll() is not None:
                raise InputError(f"the process of {self.log.stem} ended: {self.log.read_text()[-500:]}") from None
            raise error
        with answer:
            body = answer.read().decode()
            is_json = answer.headers.get_content_type() == "application/json"
            return answer.status, json.loads(body) if is_json else body

    def metric(self, name: str) -> float | None:
        """A value of /metrics by its whole name, labels too; None where there is none."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics"), re.MULTILINE)
        return float(found[1]) if found else None

    def is_up(self) -> bool:
        try:
            return bool(self._asked(Request(f"{self.address}/health"))[0] == 200)
        except OSError:
            return False


class Service(Web):
    """`uvicorn serve.app:app`."""

    def ask(self, customers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        status, answer = self.post("/predict/batch", {"customers": customers})
        if status != 200:
            raise InputError(f"the service answered {status}: {answer}")
        predictions: list[dict[str, Any]] = answer["predictions"]
        return predictions

    def tell(self, outcomes: Sequence[dict[str, Any]]) -> int:
        """How many of the outcomes belong to an answer."""
        status, answer = self.post("/feedback", {"outcomes": outcomes})
        if status != 200:
            raise InputError(f"the service answered {status}: {answer}")
        return int(answer["matched"])

    def contact(self, contacts: Sequence[dict[str, Any]]) -> None:
        """Who was made an offer, and who was held back."""
        status, answer = self.post("/contacts", {"contacts": contacts})
        if status != 200:
            raise InputError(f"the service answered {status}: {answer}")

    def wait_for(self, version: str, arm: str = "champion") -> None:
        """Until that release is loaded as that arm."""
        name = f'churn_model_info{{arm="{arm}",model_version="{version}"}}'
        until(lambda: self.metric(name) == 1, WAIT_SECONDS)


class Watch(Web):
    """`python -m monitoring.watch`, which does nothing until an alert is posted."""

    ENDED = 'churn_watch_run_timestamp_seconds{command="monitoring.retrain"}'
    STATUS = 'churn_watch_exit_status{command="monitoring.retrain"}'

    def alert(self, words: str, meanwhile: Callable[[str], None]) -> tuple[int, list[str]]:
        """Post what Alertmanager would, and wait for what comes of it: its exit status and what it said.

        `meanwhile` gets the last line while it runs.
        """
        before, heard = self.metric(self.ENDED), self.log.stat().st_size
        labels = {"alertname": "the check found a breach", "severity": "critical"}
        self.post("/alerts", {"alerts": [{"status": "firing", "labels": labels, "annotations": {"summary": words}}]})
        said: list[str] = []
        while (ended := self.metric(self.ENDED)) == before:
            said = self._lines(heard)
            if said:
                meanwhile(said[-1])
            time.sleep(0.3)
        assert ended is not None
        said = [
            line.removeprefix("monitoring.retrain: ") for line in self._lines(heard) if "monitoring.retrain: " in line
        ]
        return int(self.metric(self.STATUS) or 0), said

    def _lines(self, start: int) -> list[str]:
        with self.log.open("rb") as file:
            file.seek(start)
            return file.read().decode(errors="replace").splitlines()


@contextmanager
def service(clone: Path) -> Iterator[Service]:
    port, log = free_port(), clone.parent / "service.log"
    with child("uvicorn", "serve.app:app", "--port", str(port), cwd=clone, log=log) as process:
        web = Service(port, process, log)
        until(web.is_up, WAIT_SECONDS)
        yield web


@contextmanager
def watch(clone: Path) -> Iterator[Watch]:
    port, log = free_port(), clone.parent / "watch.log"
    with child("monitoring.watch", "--every", "0", "--port", str(port), cwd=clone, log=log) as process:
        web = Watch(port, process, log)
        until(web.is_up, WAIT_SECONDS)
        yield web
