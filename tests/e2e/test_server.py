"""The running server: how it starts, what it takes, what it says, how it ends."""

import asyncio
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from churn.release import FORMAT, GOLDEN, MANIFEST, MODEL, PIPELINE
from demo.processes import until
from serve.log.database import connect
from serve.log.tables import predictions
from tests.e2e.servers import Load, Service
from tests.factories import reseal

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

HEAVY = {"pandas", "sklearn", "mlflow", "joblib", "scipy", "xgboost", "pyarrow", "onnx", "evidently", "matplotlib"}
LIBRARIES = ("fastapi", "httptools", "numpy", "onnxruntime", "sqlalchemy", "uvicorn", "uvloop")  # the large ones
FIELDS = {"at", "level", "logger", "request_id", "route", "method", "status", "milliseconds"}


@pytest.fixture(scope="module")
def bundle(reproduced: Path) -> Path:
    return reproduced / "models/release"


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def service(request: Any, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service"), bundle, workers=request.param) as running:
        yield running


def loaded(service: Service, requests: int, connections: int = 8) -> Load:
    load = Load(service.port, service.customers())
    asyncio.run(load.run(connections, requests))
    return load


def memory(pid: int) -> float:
    """Resident MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024


def numbers(service: Service, name: str) -> dict[str, float]:
    """Labels -> value of one name in /metrics."""
    lines = service.get("/metrics")[2].splitlines()
    found = (re.fullmatch(rf"{name}(\{{.*\}})? (\S+)", line) for line in lines)
    return {line[1] or "": float(line[2]) for line in found if line}


def test_to_be_ready_takes_little_more_than_to_import_the_libraries(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1.5 s where they take .7; pandas alone would break it."""
    service, starts, imports = Service(tmp_path, bundle), [], []
    for _ in range(5):  # the first ones warm the disk
        begin = time.monotonic()
        with service:
            starts.append(time.monotonic() - begin)
        begin = time.monotonic()
        subprocess.run([sys.executable, "-c", f"import {', '.join(LIBRARIES)}"], check=True)
        imports.append(time.monotonic() - begin)
    with capsys.disabled():
        sys.stdout.write(f"\nready after {min(starts):.2f} s; its libraries alone take {min(imports):.2f} s\n")
    assert min(starts) < 2.2 * min(imports), (starts, imports)


def test_a_worker_stays_below_150_mb_and_maps_nothing_of_the_training(service: Service) -> None:
    load = loaded(service, 2000)
    service.post("/explain", service.customers()[0])
    service.post("/predict/batch", {"customers": service.customers()[:100] * 20})
    assert set(load.answered.values()) == {200}
    for pid in service.pids:
        assert memory(pid) < 150
        mapped = Path(f"/proc/{pid}/maps").read_text()
        for name in ("onnxruntime", "uvloop", "httptools"):
            assert f"/site-packages/{name}/" in mapped
        assert not [name for name in HEAVY if f"/site-packages/{name}/" in mapped]


def test_the_running_process_imports_nothing_of_the_training(bundle: Path, tmp_path: Path) -> None:
    with Service(tmp_path, bundle, app="tests.e2e.modules_app:app") as service:
        service.post("/explain", service.customers()[0])
        service.post("/predict/batch", {"customers": service.customers()})
        imported = set(service.get("/health/modules")[2])
    assert {"onnxruntime", "numpy"} <= imported
    assert not imported & HEAVY


class Boom:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(bundle: Path, tmp_path: Path) -> None:
    release, trap = shutil.copytree(bundle, tmp_path / "release"), tmp_path / "unpickled"
    (release / PIPELINE).write_bytes(pickle.dumps(Boom(trap)))
    resealed(release, lambda lines: None)
    with Service(tmp_path, release) as service:
        assert service.post("/predict", service.customers()[0])[0] == 200
        assert service.post("/explain", service.customers()[0])[0] == 200
    assert not trap.exists()
    pickle.loads((release / PIPELINE).read_bytes())
    assert trap.exists()


def test_the_numbers_are_those_of_all_workers(service: Service) -> None:
    before = numbers(service, "churn_predictions_total"), numbers(service, "churn_requests_total")
    load = loaded(service, 800)
    decisions = Counter(f'{{arm="champion",prediction="{answer["prediction"]}"}}' for answer in load.answers.values())
    after = numbers(service, "churn_predictions_total")
    assert {key: after[key] - before[0].get(key, 0) for key in decisions} == decisions
    predict = '{method="POST",route="/predict",status="200"}'
    assert numbers(service, "churn_requests_total")[predict] - before[1].get(predict, 0) == 800
    assert sum(numbers(service, "churn_probability_count").values()) == sum(after.values())


def test_a_worker_that_died_is_replaced_and_its_counts_stay(bundle: Path, tmp_path: Path) -> None:
    with Service(tmp_path, bundle, workers=2) as service:
        load = Load(service.port, service.customers(), batch_every=4)
        died = service.pids[0]

        async def killed() -> None:
            running = asyncio.create_task(load.run())
            while len(load.answered) < 400:
                await asyncio.sleep(0.001)
            os.kill(died, signal.SIGKILL)  # at work, so that its gauge of who waits is not 0
            load.stopped = True
            await running

        asyncio.run(killed())
        until(lambda: len(service.pids) == 2 and died not in service.pids)
        until(lambda: service.answers("/ready"))
        counted = sum(numbers(service, "churn_predictions_total").values())
        assert counted >= len(load.promised())
        loaded(service, 400)
        assert sum(numbers(service, "churn_predictions_total").values()) == counted + 400
        assert sum(numbers(service, "churn_log_queue").values()) == 0


def seen_lines(service: Service) -> dict[str, dict[str, Any]]:
    return {line["request_id"]: line for line in service.lines() if line.get("request_id", "").startswith("seen-")}


def test_each_request_is_one_line_of_json_without_a_customer_s_values(service: Service) -> None:
    customer = {**service.customers()[0], "customer_id": "a-name-to-look-for", "contract": "a level to look for"}
    answered = service.post("/predict", customer, {"X-Request-ID": "seen-1"})
    refused = service.post("/predict", {**customer, "tenure": "a text to look for"}, {"X-Request-ID": "seen-2"})
    assert (answered[0], refused[0]) == (200, 422)
    seen = until(lambda: found if len(found := seen_lines(service)) == 2 else None)
    good, bad = seen["seen-1"], seen["seen-2"]
    assert good.keys() == FIELDS | {"model_version", "arm"}
    assert (good["route"], good["status"], good["arm"]) == ("/predict", 200, "champion")
    assert bad.keys() == FIELDS | {"error"}
    assert (bad["status"], bad["error"]) == (422, "validation")
    assert "to-look-for" not in service.errors.read_text()
    assert "to look for" not in service.errors.read_text()


def test_every_answer_has_the_security_headers_and_the_id_it_was_given(service: Service) -> None:
    customer, headers = service.customers()[0], {"X-Request-ID": "given-1"}
    paths = ("/", "/docs", "/health", "/metrics", "/model", "/openapi.json", "/missing", "/predict")
    answers = [
        *(service.get(path, headers) for path in paths),
        service.post("/predict", customer, headers),
        service.post("/predict/batch", {"customers": []}, headers),
        service.post("/predict", customer, headers | {"Content-Type": "text/plain"}),
    ]
    assert [status for status, _, _ in answers] == [200] * 6 + [404, 405, 200, 422, 415]
    for _, found, _ in answers:
        assert (found["x-request-id"], found["x-content-type-options"]) == ("given-1", "nosniff")
        assert (found["x-frame-options"], found["referrer-policy"]) == ("DENY", "no-referrer")
        assert "frame-ancestors 'none'" in found["content-security-policy"]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_in_flight_is_answered_before_the_end(workers: int, bundle: Path, tmp_path: Path) -> None:
    with Service(tmp_path, bundle, workers) as service:
        load = Load(service.port, service.customers(), batch_every=3)

        async def ended() -> int:
            running = asyncio.create_task(load.run())
            while len(load.answered) < 200:
                await asyncio.sleep(0.005)
            stopping = asyncio.create_task(asyncio.to_thread(service.terminate))
            await asyncio.sleep(0.2)
            load.stopped = True
            await running
            return await stopping

        # uvicorn ends as the signal would have it
        assert asyncio.run(ended()) in (0, -signal.SIGTERM)
        assert set(load.answered.values()) == {200}
        with connect(f"sqlite:///{service.store.where / 'log.db'}").connect() as log:
            rows = log.scalar(select(func.count()).select_from(predictions))
        assert rows == len(load.promised())


def test_a_rate_limit_is_one_for_all_workers(bundle: Path, tmp_path: Path) -> None:
    with Service(tmp_path, bundle, workers=2, CHURN_RATE_LIMIT="50/hour") as service:
        load = loaded(service, 160)
        assert Counter(load.answered.values()) == {200: 50, 429: 110}
        status, headers, _ = service.get("/model")
        assert (status, int(headers["retry-after"]) > 1) == (429, True)
        assert service.get("/ready")[0] == 200


def test_two_keys_are_good_while_one_replaces_the_other(bundle: Path, tmp_path: Path) -> None:
    with Service(tmp_path, bundle, CHURN_API_KEYS="old-key, new-key") as service:
        customer = service.customers()[0]
        keys = ("old-key", "new-key", "another", "")
        assert [service.post("/predict", customer, {"X-API-Key": key})[0] for key in keys] == [200, 200, 401, 401]
        assert service.post("/predict", customer)[0] == service.get("/model")[0] == 401
        assert [service.get(path)[0] for path in ("/health", "/ready", "/metrics", "/docs")] == [200] * 4
        assert "old-key" not in service.errors.read_text()


def resealed(folder: Path, edit: Callable[[list[dict[str, Any]]], None]) -> None:
    """The bundle with other golden lines and checksums that hold."""
    lines = [json.loads(line) for line in (folder / GOLDEN).read_text().splitlines()]
    edit(lines)
    (folder / GOLDEN).write_text("".join(json.dumps(line) + "\n" for line in lines))
    reseal(folder)


def other_score(folder: Path) -> None:
    resealed(folder, lambda lines: lines[3].update(churn_probability=lines[3]["churn_probability"] + 2e-6))


def newer(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"format": FORMAT + 1}))


def cut(folder: Path) -> None:
    (folder / MODEL).write_bytes((folder / MODEL).read_bytes()[:-1])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (cut, "['model.onnx'] differ from the checksums of MANIFEST.json"),
        (other_score, "golden customer 4 scores"),
        (newer, f"has format {FORMAT + 1}, this code reads up to {FORMAT}"),
        (shutil.rmtree, "has no release"),
    ],
)
def test_a_release_that_must_not_serve_stops_the_start_in_one_sentence(
    damage: Callable[[Path], None], sentence: str, workers: int, bundle: Path, tmp_path: Path
) -> None:
    service = Service(tmp_path, bundle, workers)
    damage(service.store.champion())
    service.start()
    assert service.process
    ended = service.process.wait(20)
    assert ended != 0 or workers > 1  # uvicorn's supervisor ends with 0 whatever its workers met
    said = service.errors.read_text()
    assert sentence in said
    assert "Traceback" not in said


def test_a_wrong_setting_stops_the_start_in_one_sentence(bundle: Path, tmp_path: Path) -> None:
    service = Service(tmp_path, bundle, CHURN_RATE_LIMIT="fast")
    service.start()
    assert service.process
    assert service.process.wait(20) != 0
    said = service.errors.read_text()
    assert "environment variable CHURN_RATE_LIMIT: expected requests per second, minute or hour" in said
    assert "Traceback" not in said
