"""What was answered 200 is in the log, once: through kills of the server, an outage of its database, a full disk."""

import asyncio
import json
import os
import random
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from demo.processes import until
from serve.log.database import connect
from tests.e2e.servers import Load, Postgres, Service, check, eventually, postgres, under_load

pytestmark = pytest.mark.e2e

POISON = "客户-9"  # a customer whom the owner of the database lets in nowhere


def check_order(engine: Engine) -> None:
    """Each worker's rows came into PostgreSQL in the order in which it made them."""
    workers: dict[str, list[str]] = {}
    with engine.connect() as connection:
        for row_id in connection.scalars(text("SELECT id FROM predictions ORDER BY xmin::text::bigint, id")):
            workers.setdefault(row_id[14:24], []).append(row_id)  # behind its moment stands the process's own
    assert len(workers) == 3  # one of two was replaced
    for ids in workers.values():
        assert ids == sorted(ids)


@pytest.fixture
def bundle(reproduced: Path) -> Path:
    return reproduced / "models/release"


def test_twenty_kills_under_load_lose_and_double_nothing(bundle: Path, tmp_path: Path) -> None:
    chance = random.Random(42)
    done: list[Load] = []
    service = Service(tmp_path, bundle)
    engine = connect(f"sqlite:///{service.store.where / 'log.db'}")
    for n in range(20):
        service.workers = 1 + n % 2
        with service:
            load = Load(service.port, service.customers(), batch_every=25)

            async def killed(load: Load = load) -> None:
                wanted = chance.randint(1, 400)
                while len(load.answered) < wanted:
                    await asyncio.sleep(0.001)
                await asyncio.sleep(chance.random() * 0.05)
                service.kill()

            under_load(load, killed)
        done.append(load)
    # where this process gets no turn for a while, all that was asked is answered before the kill
    assert sum(load.broken > 0 for load in done) >= 15
    assert sum(len(load.promised()) for load in done) > 5_000
    everything = Load(0, [])
    for load in done:
        assert set(load.answered.values()) <= {200}
        everything.answered |= load.answered
        everything.answers |= load.answers
        everything.batches |= load.batches
    check(everything, engine)


@pytest.mark.alone
def test_an_outage_of_postgresql_is_bridged_by_the_spool(bundle: Path, tmp_path: Path) -> None:
    with postgres() as database, Service(tmp_path, bundle, workers=2, CHURN_LOG_URL=database.url) as service:
        load = Load(service.port, service.customers(), batch_every=40)
        poison = service.customers()[0] | {"customer_id": POISON}
        refused: list[str] = []
        with connect(database.url).begin() as connection:
            connection.execute(text(f"ALTER TABLE predictions ADD CHECK (customer_id <> '{POISON}') NOT VALID"))

        async def outage() -> None:
            await asyncio.sleep(1.5)
            assert service.post("/predict", poison)[0] == 422  # while others are answered
            database.stop()
            await eventually(lambda: service.get("/ready")[2]["status"] == "degraded")
            for _ in range(5):
                status, _, answer = service.post("/predict", poison)
                assert status == 200
                refused.append(answer["request_id"])
                await asyncio.sleep(0.05)
            os.kill(service.pids[0], signal.SIGKILL)  # uvicorn starts another worker, in the outage
            await eventually(lambda: service.errors.read_text().count("Application startup complete") == 3)
            await asyncio.sleep(1)
            assert service.get("/ready")[2]["status"] == "degraded"
            database.start()
            await asyncio.sleep(1.5)

        under_load(load, outage)
        assert Counter(load.answered.values()).keys() == {200}, service.errors.read_text()
        until(lambda: not (service.store.where / "spool.jsonl").stat().st_size)
        until(lambda: service.get("/ready")[2]["status"] == "ready")
        check(load, connect(database.url))
        check_order(connect(database.url))
        aside = [json.loads(line) for line in (service.store.where / "spool.jsonl.refused").read_text().splitlines()]
        kept = [line["request_id"] for line in aside if line["request_id"] in refused]
        assert sorted(kept) == sorted(refused)
        assert {line["customer_id"] for line in aside} == {POISON} and len(aside) == len(refused) + 1


@contextmanager
def locked(database: Postgres) -> Iterator[None]:
    """Somebody holds the table."""
    with connect(database.url).begin() as connection:
        connection.execute(text("LOCK TABLE predictions"))
        yield


@contextmanager
def frozen(database: Postgres) -> Iterator[None]:
    """The system takes bytes for the server, and nothing else happens."""
    first = (Path(database.data) / "postmaster.pid").read_text().split()[0]
    pids = [int(pid) for pid in (first, *Path(f"/proc/{first}/task/{first}/children").read_text().split())]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("held", [locked, frozen])
def test_a_database_that_stands_still_is_bridged_too(
    held: Callable[[Postgres], AbstractContextManager[None]], bundle: Path, tmp_path: Path
) -> None:
    with postgres() as database, Service(tmp_path, bundle, CHURN_LOG_URL=database.url) as service:
        load = Load(service.port, service.customers())

        async def waited() -> None:
            await eventually(lambda: len(load.answered) > 200)
            with held(database):
                await eventually(lambda: service.get("/ready")[2]["status"] == "degraded")
                before = len(load.answered)
                await eventually(lambda: len(load.answered) > before + 200)

        under_load(load, waited)
        assert Counter(load.answered.values()).keys() == {200}
        until(lambda: service.get("/ready")[2]["status"] == "ready")
        until(lambda: not (service.store.where / "spool.jsonl").stat().st_size)
        check(load, connect(database.url))


@contextmanager
def small_disk() -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = Path(tempfile.mkdtemp(prefix="disk"))
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True).returncode:
        folder.rmdir()
        pytest.skip("nobody may mount a file system here: needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)


def test_a_full_disk_refuses_what_it_cannot_keep_and_recovers_by_itself(bundle: Path, tmp_path: Path) -> None:
    with small_disk() as disk:
        variables = {"CHURN_LOG_URL": f"sqlite:///{disk / 'log.db'}", "CHURN_SPOOL": str(disk / "spool.jsonl")}
        with Service(tmp_path, bundle, **variables) as service:
            load = Load(service.port, service.customers())
            under_load(load, lambda: eventually(lambda: 503 in load.answered.values()))
            assert Counter(load.answered.values()).keys() == {200, 503}
            until(lambda: service.get("/ready")[0] == 503)
            status, headers, refusal = service.post("/predict", service.customers()[0])
            assert (status, refusal.keys()) == (503, {"detail"})
            assert int(headers["retry-after"]) > 0
            enlarge(disk)
            until(lambda: service.get("/ready")[2]["status"] == "ready")
            assert service.post("/predict", service.customers()[0])[0] == 200
            check(load, connect(variables["CHURN_LOG_URL"]))


def test_a_spool_on_another_disk_bridges_a_full_one(bundle: Path, tmp_path: Path) -> None:
    with small_disk() as disk:
        url = f"sqlite:///{disk / 'log.db'}"
        with Service(tmp_path, bundle, CHURN_LOG_URL=url) as service:
            load = Load(service.port, service.customers())

            async def filled() -> None:
                await eventually(lambda: service.get("/ready")[2]["status"] == "degraded")
                await asyncio.sleep(0.2)

            under_load(load, filled)
            assert Counter(load.answered.values()).keys() == {200}
            enlarge(disk)
            until(lambda: service.get("/ready")[2]["status"] == "ready")
            assert not (service.store.where / "spool.jsonl").stat().st_size
            check(load, connect(url))
