"""Scoring survives any kill: run again, folder and log are those that an undisturbed run leaves.

CHURN_KILLS=200 pytest tests/e2e/test_score_kills.py asks for so many kills, three of five of them on one machine.
"""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from churn.git import child_environment
from churn.schema import TARGET
from demo.processes import until
from serve.releases.store import Store
from tests.conftest import ROOT
from tests.e2e.hosts import Host
from tests.e2e.test_score_dask import Cluster, cluster, content

pytestmark = pytest.mark.e2e

KILLS = int(os.environ.get("CHURN_KILLS", "8"))
GROUPS = 24


@pytest.fixture
def table(project: Path, tmp_path: Path) -> Path:
    """Customers in two files of many row groups, some of whom are refused."""
    frame = pd.concat([pd.read_parquet(project / "data/test.parquet").drop(columns=TARGET)] * 60, ignore_index=True)
    frame["customer_id"] = [f"C{i}" for i in range(len(frame))]
    frame.loc[::1000, "tenure"] = -1.0
    folder = tmp_path / "customers"
    folder.mkdir()
    for name, half in (("a", frame.iloc[: len(frame) // 2]), ("b", frame.iloc[len(frame) // 2 :])):
        rows = pa.Table.from_pandas(half, preserve_index=False)
        parquet.write_table(rows, folder / f"{name}.parquet", row_group_size=len(frame) // GROUPS)
    return folder


@pytest.fixture
def store(released: Path, tmp_path: Path) -> Path:
    made = Store(tmp_path / "releases")
    made.promote(made.add(released, "test"), "test")
    return Path(made.where)


class Run:
    """The command with small pieces, in a process group of its own."""

    def __init__(self, table: Path | str, out: Path | str, store: Path, *options: str, **variables: str):
        code = (
            "import sys; from serve.score import pieces; pieces.ROWS = 1; from serve.score.__main__ import main; "
            "from churn.script import run; run(lambda: sys.exit(main()), 'serve.score', mistake=2)"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(table), str(out), *options],
            cwd=ROOT, env=child_environment() | {"CHURN_RELEASES": str(store)} | variables, start_new_session=True,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def members(self) -> list[int]:
        """Its processes, the first its leader; without the one in which Python keeps its books."""
        found = []
        for folder in Path("/proc").iterdir():
            try:
                is_member = folder.name.isdecimal() and os.getpgid(int(folder.name)) == self.process.pid
                if is_member and b"resource_tracker" not in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except (ProcessLookupError, FileNotFoundError):
                continue
        return sorted(found)

    def end(self) -> tuple[int, str]:
        """Exit status and stderr; its workers end with it."""
        said = self.process.communicate(timeout=120)[1]
        deadline = time.monotonic() + 10
        while self.members():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return self.process.returncode, said


def kill(*processes: int) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def logged(store: Path) -> Counter[tuple[str, str]]:
    """How often the log holds each customer of each piece."""
    with contextlib.closing(sqlite3.connect(store / "log.db")) as log:
        return Counter(log.execute("SELECT request_id, customer_id FROM predictions"))


def progress(out: Path, store: Path) -> int:
    """How many pieces are scored, and how many the log holds rows of."""
    try:
        logged_pieces = len({request_id for request_id, _ in logged(store)})
    except sqlite3.OperationalError:  # before its tables
        logged_pieces = 0
    return len(list(out.glob("part-*"))) + logged_pieces


def wait_for_moment(run: Run, out: Path, store: Path, chance: random.Random) -> bool:
    """Whether the run still goes on, at a moment between its start and its end."""
    if chance.random() < 0.2:
        time.sleep(chance.uniform(0, 2))
    else:
        moment = chance.randint(progress(out, store), 2 * GROUPS)
        while run.process.poll() is None and progress(out, store) < moment:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.05))
    return run.process.poll() is None


def survives(
    start: Callable[[Path], Run], strike: Callable[[Run, random.Random], None], store: Path, kills: int
) -> None:
    """Strike at random moments and start again, until there were enough kills; runs between them come to their end."""
    usual, out = store.with_name("undisturbed"), store.with_name("out")
    status, said = start(usual).end()
    assert status == 0, said
    expected, rows = content(usual), logged(store)
    assert len(expected) > GROUPS
    scored = pd.concat(map(pd.read_parquet, usual.glob("part-*")))["customer_id"]
    assert sorted(customer for _, customer in rows.elements()) == sorted(scored)
    (store / "log.db").unlink()
    chance, killed = random.Random(0), 0
    while killed < kills or out.exists():
        run = start(out)
        if killed < kills and chance.random() < 0.6 and wait_for_moment(run, out, store, chance):
            strike(run, chance)
            killed += 1
        status, said = run.end()
        assert "Traceback" not in said
        assert status in (0, 2, -signal.SIGKILL), said
        if (out / "MANIFEST.json").exists():
            assert content(out) == expected
        if status == 0:
            # nothing that a killed run began, once the cluster's workers have ended what they still do for it
            until(lambda: {path.name for path in out.iterdir()} == {*expected})
            assert logged(store) == rows  # each once, however often it was begun
            shutil.rmtree(out)
            (store / "log.db").unlink()


def test_a_run_survives_kills_of_its_processes(table: Path, store: Path) -> None:
    def strike(run: Run, chance: random.Random) -> None:
        """All of them, as when the machine goes; or one, as the kernel does where memory is short."""
        processes = run.members()
        kill(*(processes if chance.random() < 0.5 else [chance.choice(processes)]))

    survives(lambda out: Run(table, out, store, "--log", "--processes", "2"), strike, store, KILLS * 3 // 5)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path, [Host()] * 3) as started:
        yield started


def test_a_run_on_a_cluster_survives_kills_of_workers_and_of_itself(table: Path, store: Path, workers: Cluster) -> None:
    def strike(run: Run, chance: random.Random) -> None:
        """The run, a worker, or all; other workers take their places."""
        victims = chance.choice([[], [0], [1], [0, 1]])
        for i in victims:
            workers.kill(i)
        if len(victims) != 1:
            kill(run.process.pid)
        for i in victims:
            workers.start(i)

    on_dask = ("--engine", "dask", "--address", workers.address)
    survives(lambda out: Run(table, out, store, "--log", *on_dask), strike, store, KILLS * 2 // 5)
