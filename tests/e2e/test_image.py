"""The service's image: what it holds, how fast it starts, how it ends, and that it answers as the pipeline says."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from churn.customers import records
from churn.model import load_model
from churn.read_table import read_table
from churn.release import PIPELINE, open_release
from churn.table import customers, named
from demo.processes import until
from serve.log.database import connect
from serve.releases.store import Store
from tests.e2e.conftest import TELCO
from tests.e2e.docker_engine import BASE, Engine, engine
from tests.e2e.servers import Load, Service, logged

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

IMAGE = "churn-service"
HEAVY = ("pandas", "sklearn", "mlflow", "joblib", "scipy", "xgboost", "onnx", "pytest")
LOCKED_UP = (
    "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--memory=512m",
    "--pids-limit=200", "--network=host",
)  # fmt: skip


@pytest.fixture(scope="module")
def docker(reproduced: Path) -> Iterator[Engine]:
    """An engine that has the image, with the release of the reproduced repository in it."""
    with engine() as running:
        labels = {"VERSION": "1.2.3", "REVISION": "0123abc", "SOURCE": "https://example.org/churn"}
        arguments = [f"--build-arg={name}={value}" for name, value in labels.items()]
        running.build(IMAGE, reproduced, *arguments)
        yield running


class Container(Service):
    """The image as it is meant to run, on a folder that stands for the volume."""

    def __init__(self, docker: Engine, folder: Path, *options: str, image: str = IMAGE):
        super().__init__(folder, folder / "none")
        volume = folder / "volume"
        volume.mkdir(exist_ok=True)
        volume.chmod(0o777)
        self.store, self.docker = Store(volume / "releases"), docker
        given = [f"--volume={volume}:/var/lib/churn", f"--env=UVICORN_PORT={self.port}", "--health-interval=1s"]
        self.id = docker("create", *LOCKED_UP, *given, *options, image)

    def start(self) -> None:
        self.docker("start", self.id)

    def kill(self) -> None:
        self.docker("rm", "--force", "--volumes", self.id, check=False)

    def terminate(self) -> int:
        self.docker("kill", "--signal=TERM", self.id)
        return int(self.docker("wait", self.id))

    def answers(self, path: str) -> bool:
        try:
            return self.get(path)[0] == 200
        except OSError:
            assert self.state("Running") == "true", self.said()
            return False

    def state(self, name: str) -> str:
        return self.docker("inspect", "--format", f"{{{{.State.{name}}}}}", self.id)

    def said(self) -> str:
        return self.docker("logs", self.id, stderr=True)

    def python(self, code: str) -> str:
        return self.docker("exec", self.id, "python", "-c", code)


@pytest.fixture(scope="module")
def running(docker: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    with Container(docker, tmp_path_factory.mktemp("container")) as container:
        yield container


def test_it_runs_locked_up_as_nobody_in_particular_and_becomes_healthy(running: Container) -> None:
    assert running.python("import os; print(os.getuid(), os.getgid())") == "10001 10001"
    until(lambda: running.state("Health.Status") == "healthy", 10)
    for place in ("/app", "/var/lib", "/opt/packages"):
        assert not running.docker.runs("exec", running.id, "touch", f"{place}/x")


def test_it_holds_nothing_of_the_training(running: Container) -> None:
    code = f"from importlib.util import find_spec; print([name for name in {HEAVY!r} if find_spec(name)])"
    assert running.python(code) == "[]"
    files = running.python("from pathlib import Path; print(*sorted(str(p) for p in Path('.').rglob('*.py')))").split()
    assert "serve/app.py" in files
    assert not [name for name in files if not name.startswith(("serve/", "churn/"))]


def test_every_module_of_it_can_be_imported(running: Container) -> None:
    code = "from pathlib import Path; from importlib import import_module; "
    modules = "[p for p in Path('.').rglob('[!_]*.py') if 'migrations' not in p.parts]"  # which Alembic runs
    running.python(code + f"[import_module('.'.join(p.with_suffix('').parts)) for p in {modules}]")


def test_it_adds_less_than_200_mb_to_its_base(docker: Engine) -> None:
    assert docker.size(IMAGE) - docker.size(BASE) < 200e6


def test_its_labels_say_where_it_comes_from(docker: Engine) -> None:
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", IMAGE))
    found = [labels[f"org.opencontainers.image.{name}"] for name in ("version", "revision", "source")]
    assert found == ["1.2.3", "0123abc", "https://example.org/churn"]


def test_it_says_json_alone(running: Container) -> None:
    for line in running.said().splitlines():
        json.loads(line)


@pytest.mark.skipif(not TELCO.is_file(), reason=f"{TELCO} is missing")
def test_all_customers_of_the_real_table_get_what_the_offline_pipeline_says(
    running: Container, reproduced: Path
) -> None:
    bundle = open_release(reproduced / "models/release")
    schema = bundle.schema
    table = customers(named(read_table(TELCO, {}), schema), schema)[[column.name for column in schema.columns]]
    p = load_model(bundle.folder / PIPELINE).predict_proba(table)[:, 1]
    status, _, answer = running.post("/predict/batch", {"customers": records(table, schema)})
    assert (status, len(p)) == (200, 7043)
    found = [prediction["churn_probability"] for prediction in answer["predictions"]]
    np.testing.assert_allclose(found, p, rtol=0, atol=1e-6)


def test_from_start_to_ready_is_less_than_3_seconds(docker: Engine, tmp_path: Path) -> None:
    container, seconds = Container(docker, tmp_path), []
    try:
        for _ in range(3):
            begin = time.monotonic()
            container.start()
            until(lambda: container.answers("/ready"))
            ready = time.monotonic() - begin
            # of these nanoseconds, it waited for processors that others used
            waited = int(container.python("print(open('/proc/1/schedstat').read().split()[1])"))
            seconds.append(ready - waited / 1e9)
            container.terminate()
    finally:
        container.kill()
    assert min(seconds) < 3, seconds


@pytest.mark.parametrize("workers", [1, 2])
def test_at_the_end_nothing_that_was_accepted_is_lost_and_the_volume_keeps_it_all(
    workers: int, docker: Engine, tmp_path: Path
) -> None:
    with Container(docker, tmp_path, f"--env=WEB_CONCURRENCY={workers}") as container:
        load = Load(container.port, container.customers(), batch_every=10)

        async def stopped() -> int:
            running = asyncio.create_task(load.run())
            while len(load.answered) < 200:
                await asyncio.sleep(0.005)
            half = await begun(container)
            stopping = asyncio.create_task(asyncio.to_thread(container.terminate))
            await asyncio.sleep(1)
            load.stopped = True
            assert await ended(*half) == 200  # it was in flight for all of the time
            await running
            return await stopping

        assert asyncio.run(stopped()) == 0
        assert set(load.answered.values()) == {200}
        log = connect(f"sqlite:///{container.store.where}/log.db")
        before = logged(log)
        # what got no answer was not accepted: it is not in the log either
        assert before - Counter(load.promised()) == Counter({"in-flight": 1})
        assert not Counter(load.promised()) - before
        state = container.store.state()

        container.start()
        until(lambda: container.answers("/ready"))
        assert container.get("/model")[2]["model_version"] == state["champion"]
        assert container.store.state() == state
        assert [act["act"] for act in container.store.history()] == ["add", "promote"]
        assert container.post("/predict", container.customers()[0])[0] == 200
        assert logged(log).total() == before.total() + 1
        assert sum(1 for line in container.get("/metrics")[2].splitlines() if line.startswith("churn_requests_total"))


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def begun(container: Container) -> tuple[Streams, bytes]:
    """A request to /predict of which half was sent, and the other half."""
    body = json.dumps(container.customers()[0]).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", container.port)
    writer.write(head.encode() + b"X-Request-ID: in-flight\r\n\r\n" + body[: len(body) // 2])
    await asyncio.sleep(0.2)  # nobody tells when the service has read it
    return (reader, writer), body[len(body) // 2 :]


async def ended(streams: Streams, tail: bytes) -> int:
    """The status of a request, once the rest of it was sent."""
    reader, writer = streams
    writer.write(tail)
    status = int((await reader.readuntil(b"\r\n")).split()[1])
    writer.close()
    return status


def test_without_a_release_it_says_what_to_mount_and_with_one_it_answers(
    docker: Engine, original: Path, reproduced: Path, tmp_path: Path
) -> None:
    docker.build("empty", original)
    container = Container(docker, tmp_path, image="empty")
    container.start()
    assert docker("wait", container.id) == "1"
    assert "/bundle no release; mount one: -v DIR:/bundle:ro" in container.said()
    container.kill()
    bundle = reproduced / "models/release"
    with Container(docker, tmp_path, f"--volume={bundle}:/bundle:ro", image="empty") as mounted:
        answer: Any = mounted.post("/predict", mounted.customers()[0])[2]
        assert answer["model_version"] == open_release(bundle).version
