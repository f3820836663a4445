"""Scoring survives any kill: run again, folder and log are those that an undisturbed run leaves."""

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from churn.git import child_environment
from churn.schema import TARGET
from serve.releases.store import Store
from tests.conftest import ROOT

pytestmark = pytest.mark.e2e

KILLS = 10
GROUPS = 24


@pytest.fixture
def table(project: Path, tmp_path: Path) -> Path:
    """Customers in two files of many row groups, some of whom are refused."""
    frame = pd.concat([pd.read_parquet(project / "data/test.parquet").drop(columns=TARGET)] * 300, ignore_index=True)
    frame["customer_id"] = [f"C{i}" for i in range(len(frame))]
    frame.loc[::5000, "tenure"] = -1.0
    folder = tmp_path / "customers"
    folder.mkdir()
    for name, half in (("a", frame.iloc[: len(frame) // 2]), ("b", frame.iloc[len(frame) // 2 :])):
        rows = pa.Table.from_pandas(half, preserve_index=False)
        parquet.write_table(rows, folder / f"{name}.parquet", row_group_size=len(frame) // GROUPS)
    return folder


def start(table: Path, out: Path, store: Path, *options: str) -> subprocess.Popen[str]:
    """The command with small pieces, in two processes, in a process group of its own."""
    code = (
        "import sys; from serve.score import pieces; pieces.ROWS = 1; from serve.score.__main__ import main; "
        "from churn.script import run; run(lambda: sys.exit(main()), 'serve.score', mistake=2)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(table), str(out), "--processes", "2", *options],
        cwd=ROOT, env=child_environment() | {"CHURN_RELEASES": str(store)}, start_new_session=True,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def members(group: int) -> list[int]:
    """The processes of a group, the first its leader; without the one in which Python keeps its books."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            is_member = folder.name.isdecimal() and os.getpgid(int(folder.name)) == group
            if is_member and b"resource_tracker" not in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (ProcessLookupError, FileNotFoundError):
            continue
    return sorted(found)


def test_kills_of_workers_and_of_all_leave_no_trace(table: Path, released: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")
    run = start(table, tmp_path / "undisturbed", tmp_path / "releases")
    began = time.monotonic()
    assert run.wait(120) == 0, run.stderr and run.stderr.read()
    usual = time.monotonic() - began
    expected = {path.name: path.read_bytes() for path in (tmp_path / "undisturbed").iterdir()}
    assert len(expected) > GROUPS
    chance, out, killed, rounds = random.Random(0), tmp_path / "out", 0, 0
    while killed < KILLS:
        rounds += 1
        run = start(table, out, tmp_path / "releases", "--log")
        time.sleep(chance.uniform(0.3, 2 * usual))
        if run.poll() is None:
            processes = members(run.pid)
            # all of them, as when the machine goes; or one, as the kernel does where memory is short
            victims = processes if chance.random() < 0.5 else [chance.choice(processes)]
            for process in victims:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            killed += 1
        status, said = run.wait(120), run.stderr.read() if run.stderr else ""
        assert "Traceback" not in said
        assert status in (0, 2, -signal.SIGKILL), said
        if (out / "MANIFEST.json").exists():
            assert {path.name: path.read_bytes() for path in out.iterdir()} == expected
            for path in out.iterdir():
                path.unlink()
        deadline = time.monotonic() + 10
        while members(run.pid):  # workers end with their parent
            assert time.monotonic() < deadline
            time.sleep(0.01)
    run = start(table, out, tmp_path / "releases", "--log")
    assert run.wait(120) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == expected
    scored = pd.concat(map(pd.read_parquet, out.glob("part-*")))["customer_id"]
    with contextlib.closing(sqlite3.connect(tmp_path / "releases/log.db")) as log:
        logged = [name for (name,) in log.execute("SELECT customer_id FROM predictions")]
    assert sorted(logged) == sorted(scored)  # each once, however often it was begun
