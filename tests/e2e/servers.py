"""Real servers for the end-to-end tests: the service under uvicorn, PostgreSQL, Prometheus and Alertmanager, a receiver
of webhooks, and a load of requests."""

import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from sqlalchemy import Engine, select

from demo.processes import free_port, until
from review.verify import environment
from serve.log.tables import predictions
from serve.releases.store import Store
from tests.conftest import ROOT

Answer = tuple[int, dict[str, str], Any]


class Service:
    """`uvicorn serve.app:app` on a store of releases in `folder`, started and stopped as often as wanted."""

    def __init__(self, folder: Path, bundle: Path, workers: int = 1, app: str = "serve.app:app", **variables: str):
        self.folder, self.port, self.workers, self.app = folder, free_port(), workers, app
        self.store = Store(folder / "releases")
        if bundle.is_dir():
            self.store.promote(self.store.add(bundle, "test"), "test")
        self.variables = {"CHURN_RELEASES": str(self.store.where), **variables}
        self.errors = folder / "stderr"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Service":
        self.start()
        until(lambda: self.answers("/ready"))
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        words = [sys.executable, "-m", "uvicorn", self.app, "--port", str(self.port), "--workers", str(self.workers)]
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                words, cwd=ROOT, env=environment(**self.variables), stdout=errors, stderr=errors, start_new_session=True
            )

    def kill(self) -> None:
        """SIGKILL to every process of the server."""
        if self.process:
            with suppress(ProcessLookupError):  # it ended by itself
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)

    def terminate(self) -> int:
        """SIGTERM, as an orchestrator does; the exit status."""
        assert self.process
        self.process.terminate()
        return self.process.wait(30)

    @property
    def pids(self) -> list[int]:
        """The processes that answer."""
        assert self.process
        if self.workers == 1:
            return [self.process.pid]
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        # multiprocessing's resource tracker is a child too
        return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def answers(self, path: str) -> bool:
        assert self.process and self.process.poll() is None, self.errors.read_text()[-2000:]
        try:
            return self.get(path)[0] == 200
        except OSError:
            return False

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.request("GET", path, None, headers)

    def post(self, path: str, content: Any, headers: Mapping[str, str] | None = None) -> Answer:
        return self.request("POST", path, content, headers)

    def request(self, method: str, path: str, content: Any, headers: Mapping[str, str] | None = None) -> Answer:
        body = content if isinstance(content, bytes | None) else json.dumps(content).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        request = Request(f"http://127.0.0.1:{self.port}{path}", body, sent, method=method)
        try:
            with urlopen(request, timeout=30) as answer:
                return self._read(answer)
        except HTTPError as error:
            return self._read(error)

    @staticmethod
    def _read(answer: Any) -> Answer:
        body = answer.read()
        named = {name.lower(): value for name, value in answer.headers.items()}
        is_json = named.get("content-type", "").startswith("application/json")
        return answer.status, named, json.loads(body) if is_json else body.decode()

    def lines(self) -> list[dict[str, Any]]:
        """What it wrote to stderr, each line a JSON object; uvicorn's supervisor of workers alone speaks otherwise."""
        whole = self.errors.read_text().rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in whole if not line.startswith(("INFO:     ", "ERROR:    "))]

    def customers(self) -> list[dict[str, Any]]:
        """Customers that the champion was proved with."""
        lines = (self.store.champion() / "golden.jsonl").read_text().splitlines()
        return [json.loads(line)["customer"] for line in lines]


@dataclass
class Load:
    """Requests over keep-alive connections, each with an id of its own; what became of them by id."""

    port: int
    customers: Sequence[Mapping[str, Any]]
    batch_every: int = 0  # every so many requests is a batch of 300
    answered: dict[str, int] = field(default_factory=dict)  # request id -> status
    answers: dict[str, Any] = field(default_factory=dict)  # of those with status 200
    times: dict[str, tuple[float, float]] = field(default_factory=dict)  # of those: when it was asked and answered
    batches: set[str] = field(default_factory=set)
    broken: int = 0  # requests that got no answer
    stopped: bool = False

    async def run(self, connections: int = 8, requests: int = 10**9) -> None:
        """Until `stopped`, or so many requests were made."""
        turns = iter(range(requests))
        await asyncio.gather(*(self._connection(turns) for _ in range(connections)))

    async def _connection(self, turns: Iterator[int]) -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for i in turns:
            if self.stopped:
                break
            if streams and i % 100 == 0:  # connect anew, so that a new worker gets its share
                streams[1].close()
                streams = None
            try:
                streams = streams or await asyncio.open_connection("127.0.0.1", self.port)
                status = await self._request(*streams, i)
            except (OSError, asyncio.IncompleteReadError, ValueError):
                self.broken += 1
                streams = None
                await asyncio.sleep(0.02)
                continue
            if status == 503:
                await asyncio.sleep(0.02)
        if streams:
            streams[1].close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, i: int) -> int:
        request_id = secrets.token_hex(8)
        customer = {"customer_id": f"c-{request_id}", **self.customers[i % len(self.customers)]}
        path, content = "/predict", json.dumps(customer)
        if self.batch_every and i % self.batch_every == self.batch_every - 1:
            path, content = "/predict/batch", json.dumps({"customers": [customer] * 300})
            self.batches.add(request_id)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nX-Request-ID: {request_id}\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        asked = time.time()
        writer.write((head + content).encode())
        received = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(received.split("content-length: ")[1].split("\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        status = int(received.split()[1])
        self.answered[request_id] = status
        if status == 200:
            self.answers[request_id] = body
            self.times[request_id] = asked, time.time()
        return status

    def promised(self) -> list[str]:
        """The request ids that must be in the log, those of a batch numbered."""
        single = [i for i, status in self.answered.items() if status == 200 and i not in self.batches]
        batches = [f"{i}-{n}" for i in self.batches if self.answered.get(i) == 200 for n in range(300)]
        return single + batches


def under_load(load: Load, meanwhile: Callable[[], Awaitable[Any]]) -> None:
    """Requests until `meanwhile` is over."""

    async def both() -> None:
        running = asyncio.create_task(load.run())
        try:
            await meanwhile()
        finally:
            load.stopped = True
            await running

    asyncio.run(both())


async def eventually(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(until, condition)


def logged(engine: Engine) -> Counter[str]:
    """Request id -> rows."""
    with engine.connect() as connection:
        return Counter(connection.scalars(select(predictions.c.request_id).where(predictions.c.arm != "shadow")))


SAID = ("churn_probability", "customer_id", "model_version", "arm", "threshold", "prediction")


def check(load: Load, engine: Engine) -> None:
    """Every promised row is there, none is there twice, and each says what the answer said."""
    rows = logged(engine)
    assert not [request_id for request_id in load.promised() if not rows[request_id]]
    assert not [request_id for request_id, n in rows.items() if n > 1]
    with engine.connect() as connection:
        query = select(predictions.c.request_id, *(predictions.c[name] for name in SAID))
        found = {row[0]: tuple(row[1:]) for row in connection.execute(query.where(predictions.c.arm != "shadow"))}
    for request_id, answer in load.answers.items():
        if request_id not in load.batches:
            assert found[request_id] == tuple(answer[name] for name in SAID)


class Postgres:
    """A PostgreSQL of its own, as the user postgres."""

    def __init__(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not found or os.getuid() != 0 or not shutil.which("runuser"):
            pytest.skip("PostgreSQL is not installed, or nobody may start it: needs /usr/lib/postgresql and root")
        # not below pytest's folder, which is closed to other users
        self.bin, self.folder, self.port = found[-1].parent, Path(tempfile.mkdtemp(prefix="postgres")), free_port()
        shutil.chown(self.folder, "postgres")
        password = self.folder / "password"
        password.write_text("secret")
        password.chmod(0o644)
        self._run("initdb", "-D", self.data, "-A", "scram-sha-256", "-U", "u", f"--pwfile={password}", "-E", "UTF8")
        self.start()

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    @property
    def url(self) -> str:
        return f"postgresql://u:secret@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.folder}"
        self._run("pg_ctl", "-D", self.data, "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self.data, "-m", "immediate", "stop")

    def _run(self, program: str, *words: str) -> None:
        command = ["runuser", "-u", "postgres", "--", str(self.bin / program), *words]
        done = subprocess.run(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0, done.stderr


@contextmanager
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder)


class Started:
    """A program that answers on a port of its own, at `address`."""

    def __init__(self, folder: Path, program: str, words: Sequence[str], port: int):
        self.address, self.port, self.log = f"http://127.0.0.1:{port}", port, folder / f"{program}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([program, *words], cwd=folder, stdout=log, stderr=log)

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        try:
            with urlopen(f"{self.address}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def get(self, path: str, **asked: str) -> Any:
        """The JSON that a path of its API answers."""
        with urlopen(f"{self.address}{path}?{urlencode(asked)}", timeout=30) as answer:
            return json.load(answer)

    def query(self, promql: str) -> list[dict[str, Any]]:
        """Of Prometheus: the series of an instant query, {metric, value: [time, text]}."""
        found: list[dict[str, Any]] = self.get("/api/v1/query", query=promql)["data"]["result"]
        return found


@contextmanager
def started(folder: Path, program: str, words: Sequence[str], port: int) -> Iterator[Started]:
    """Until the block ends; skips the test where the program is not installed."""
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    server = Started(folder, program, words, port)
    try:
        until(server.is_ready)
        yield server
    finally:
        server.process.kill()
        server.process.wait(10)


def rewritten(config: Path, folder: Path, changes: Mapping[str, str]) -> Path:
    """A copy of a folder of configuration in `folder`, in which patterns of regular expressions are replaced."""
    copy = shutil.copytree(config, folder / config.name)
    for path in copy.rglob("*.yml"):
        text = path.read_text(encoding="utf-8")
        for pattern, replacement in changes.items():
            text = re.sub(pattern, replacement, text)
        path.write_text(text, encoding="utf-8")
    return copy


@contextmanager
def prometheus(
    config: Path, folder: Path, targets: Mapping[str, int], changes: Mapping[str, str] | None = None
) -> Iterator[Started]:
    """Prometheus by the folder `config`, copied into `folder`: `targets`, say "service:8000", are at these ports of
    this machine, found by no name server, and a second lies between two looks. `changes` go to `rewritten`:
    {"for: .m": "for: 1s"}."""
    named = {
        r"dns_sd_configs:(\s+- )\{names: \[(\w+)\], type: A, port: (\d+).*\}": r'static_configs:\1targets: ["\2:\3"]'
    }
    places = {re.escape(target): f"127.0.0.1:{port}" for target, port in targets.items()}
    often = {r"(scrape|evaluation)_interval: \w+": r"\1_interval: 1s"}
    copy, port = rewritten(config, folder, named | places | often | dict(changes or {})), free_port()
    words = [f"--config.file={copy}/prometheus.yml", f"--storage.tsdb.path={folder}/metrics"]
    with started(folder, "prometheus", [*words, f"--web.listen-address=127.0.0.1:{port}"], port) as server:
        yield server


@contextmanager
def alertmanager(config: Path, folder: Path, targets: Mapping[str, int]) -> Iterator[Started]:
    """Alertmanager by the folder `config`, copied into `folder`: receivers, say "monitor:9099", are at these ports of
    this machine, and it waits for a second instead of minutes."""
    places = {re.escape(target): f"127.0.0.1:{port}" for target, port in targets.items()}
    soon = {r"group_(wait|interval): \w+": r"group_\1: 1s"}
    copy, port = rewritten(config, folder, places | soon), free_port()
    words = [f"--config.file={copy}/alertmanager.yml", f"--storage.path={folder}/alerts", "--cluster.listen-address="]
    words.append(f"--web.listen-address=127.0.0.1:{port}")
    with started(folder, "prometheus-alertmanager", words, port) as server:
        yield server


@contextmanager
def webhook() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """A receiver: its port, and the JSON that was posted to it so far."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield int(server.server_address[1]), received
        finally:
            server.shutdown()
            thread.join()
