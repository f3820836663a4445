"""Files are scored on a real Dask cluster, with the bytes of a run on this machine, also where a worker is lost."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from churn.git import child_environment
from churn.schema import TARGET
from demo.processes import free_port
from serve.releases.store import Store
from tests.conftest import ROOT

pytestmark = pytest.mark.e2e


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The address of a scheduler, and its two workers, which know neither the store nor each other's folders."""
    address = f"tcp://127.0.0.1:{free_port()}"
    environment = child_environment() | {"DASK_DISTRIBUTED__WORKER__DAEMON": "false"}

    def dask(*words: str) -> subprocess.Popen[bytes]:
        log = (tmp_path / f"{words[0]}.log").open("ab")
        command = [sys.executable, "-m", "dask", *words, "--no-dashboard"]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    scheduler = dask("scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2])
    workers = [
        dask("worker", address, "--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path / f"worker-{i}"))
        for i in range(2)
    ]
    try:
        yield address, workers
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def table(project: Path, tmp_path: Path) -> Path:
    frame = pd.concat([pd.read_parquet(project / "data/test.parquet").drop(columns=TARGET)] * 200, ignore_index=True)
    frame["customer_id"] = [f"C{i}" for i in range(len(frame))]
    folder = tmp_path / "customers"
    folder.mkdir()
    for i in range(12):
        rows = pa.Table.from_pandas(frame.iloc[i::12], preserve_index=False)
        parquet.write_table(rows, folder / f"{i:02d}.parquet")
    return folder


def command(table: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "serve.score", str(table), str(out), *options]


def test_a_cluster_gives_the_bytes_of_one_machine_and_loses_no_piece_with_a_worker(
    cluster: tuple[str, list[subprocess.Popen[bytes]]], table: Path, released: Path, tmp_path: Path
) -> None:
    address, workers = cluster
    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")
    environment = child_environment() | {"CHURN_RELEASES": str(store.where)}
    here, there = tmp_path / "here", tmp_path / "there"
    subprocess.run(command(table, here, "--processes", "1"), cwd=ROOT, env=environment, check=True)
    expected = {path.name: path.read_bytes() for path in here.iterdir()}
    on_dask = command(table, there, "--engine", "dask", "--address", address)
    subprocess.run(on_dask, cwd=ROOT, env=environment, check=True)
    assert {path.name: path.read_bytes() for path in there.iterdir()} == expected

    again = tmp_path / "again"
    run = subprocess.Popen([*on_dask[:4], str(again), *on_dask[5:]], cwd=ROOT, env=environment)
    while not list(again.glob("part-*")):
        assert run.poll() is None
        time.sleep(0.01)
    os.kill(random.Random(0).choice(workers).pid, signal.SIGKILL)
    assert run.wait(120) == 0
    assert {path.name: path.read_bytes() for path in again.iterdir() if not path.name.startswith(".")} == expected


def test_a_cluster_that_does_not_answer_is_one_line(table: Path, released: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")
    done = subprocess.run(
        command(table, tmp_path / "out", "--engine", "dask", "--address", f"tcp://127.0.0.1:{free_port()}"),
        cwd=ROOT, env=child_environment() | {"CHURN_RELEASES": str(store.where)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no Dask scheduler answers" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
