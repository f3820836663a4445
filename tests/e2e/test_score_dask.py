"""A real Dask cluster scores files, with the bytes of a run on one machine, also where a worker is lost."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from tests.e2e.hosts import Host, hosts

pytestmark = pytest.mark.e2e

PIECES = 12


class Cluster:
    """A scheduler on the first host, and workers, one on each of the others, which know neither the store nor each
    other's folders."""

    def __init__(self, folder: Path, at: Sequence[Host]):
        self.folder, self.at = folder, at
        self.address = f"tcp://{at[0].address}:{free_port()}"
        self.scheduler = self._dask(at[0], "scheduler", "scheduler", "--port", self.address.rpartition(":")[2])
        self.workers = [self._worker(i) for i in range(len(at) - 1)]

    def start(self, i: int) -> None:
        """Another worker in the place of a dead one."""
        self.workers[i] = self._worker(i)

    def kill(self, i: int) -> None:
        self.workers[i].kill()
        self.workers[i].wait()

    def _worker(self, i: int) -> subprocess.Popen[bytes]:
        limits = ("--nthreads", "1", "--no-nanny", "--local-directory", str(self.folder / f"worker-{i}"))
        return self._dask(self.at[i + 1], f"worker-{i}", "worker", self.address, *limits)

    def _dask(self, host: Host, name: str, *words: str) -> subprocess.Popen[bytes]:
        command = host.on(sys.executable, "-m", "dask", *words, "--host", host.address, "--no-dashboard")
        # a killed one leaves the releases behind
        own = {"DASK_DISTRIBUTED__WORKER__DAEMON": "false", "TMPDIR": str(self.folder)}
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, cwd=ROOT, env=child_environment() | own, stdout=log, stderr=log)


@contextmanager
def cluster(folder: Path, at: Sequence[Host]) -> Iterator[Cluster]:
    started = Cluster(folder, at)
    try:
        yield started
    finally:
        for process in (*started.workers, started.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def table(project: Path, tmp_path: Path) -> Path:
    frame = pd.concat([pd.read_parquet(project / "data/test.parquet").drop(columns=TARGET)] * 200, ignore_index=True)
    frame["customer_id"] = [f"C{i}" for i in range(len(frame))]
    folder = tmp_path / "customers"
    folder.mkdir()
    for i in range(PIECES):
        rows = pa.Table.from_pandas(frame.iloc[i::PIECES], preserve_index=False)
        parquet.write_table(rows, folder / f"{i:02d}.parquet")
    return folder


def command(table: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "serve.score", str(table), str(out), *options]


@pytest.fixture
def environment(released: Path, tmp_path: Path) -> dict[str, str]:
    """Of a run with the release as champion."""
    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")
    return child_environment() | {"CHURN_RELEASES": str(store.where)}


def content(out: Path) -> dict[str, bytes]:
    """Of all files that count."""
    return {path.name: path.read_bytes() for path in out.iterdir() if not path.name.startswith(".")}


def until_parts(out: Path, count: int, run: subprocess.Popen[str]) -> None:
    """Wait until so many pieces are scored."""
    while len(list(out.glob("part-*"))) < count:
        assert run.poll() is None
        time.sleep(0.01)


def test_hosts_of_a_cluster_give_the_bytes_of_one_machine_in_whatever_order_they_end(
    table: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    outs = [tmp_path / "one", tmp_path / "two"]
    for processes, out in enumerate(outs, 1):
        subprocess.run(command(table, out, "--processes", str(processes)), cwd=ROOT, env=environment, check=True)
    with hosts(3) as at, cluster(tmp_path, at) as of_hosts:
        on_dask = command(table, there := tmp_path / "there", "--engine", "dask", "--address", of_hosts.address)
        run = subprocess.Popen(at[0].on(*on_dask), cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        until_parts(there, 1, run)
        of_hosts.workers[0].send_signal(signal.SIGSTOP)  # its piece waits for pieces that come after it
        until_parts(there, 4, run)
        of_hosts.workers[0].send_signal(signal.SIGCONT)
        _, lines = run.communicate(timeout=120)
    ended = re.findall(r"pieces: (\d+)\.parquet", lines)
    assert len(ended) == PIECES
    assert ended != sorted(ended)
    assert content(there) == content(outs[0]) == content(outs[1])


def test_no_piece_is_lost_with_a_worker(table: Path, environment: dict[str, str], tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    subprocess.run(command(table, here, "--processes", "1"), cwd=ROOT, env=environment, check=True)
    with cluster(tmp_path, [Host()] * 3) as started:
        on_dask = command(table, there, "--engine", "dask", "--address", started.address)
        run = subprocess.Popen(on_dask, cwd=ROOT, env=environment, text=True)
        until_parts(there, 1, run)
        started.kill(0)
        assert run.wait(120) == 0
    assert content(there) == content(here)


def test_a_cluster_that_does_not_answer_is_one_line(table: Path, environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        command(table, tmp_path / "out", "--engine", "dask", "--address", f"tcp://127.0.0.1:{free_port()}"),
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no Dask scheduler answers" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
