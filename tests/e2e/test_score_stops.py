"""A run without memory, and one that is stopped by Ctrl-C, end soon and in one line, and a rerun completes them."""

import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from churn.git import child_environment
from churn.schema import TARGET
from churn.scored import read_manifest
from demo.processes import until
from serve.releases.store import Store
from tests.conftest import ROOT
from tests.e2e.test_score_dask import command

pytestmark = pytest.mark.e2e

FILES, COPIES = 4, 1000
MEMORY = 600 * 2**20  # bytes of address space: enough to start, not enough to score


@pytest.fixture
def run(project: Path, released: Path, tmp_path: Path) -> list[str]:
    """The command, in two processes, on more customers than fit into MEMORY."""
    frame = pd.concat([pd.read_parquet(project / "data/test.parquet").drop(columns=TARGET)] * COPIES)
    (tmp_path / "customers").mkdir()
    for i in range(FILES):
        frame.to_parquet(tmp_path / f"customers/{i}.parquet", index=False)
    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")
    return command(tmp_path / "customers", tmp_path / "out", "--processes", "2")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return child_environment() | {"CHURN_RELEASES": str(tmp_path / "releases"), "OPENBLAS_NUM_THREADS": "1"}


def is_completed(run: list[str], environment: dict[str, str], out: Path) -> bool:
    """Whether the same command, started again, does the rest."""
    subprocess.run(run, cwd=ROOT, env=environment, check=True, capture_output=True)
    manifest = read_manifest(out)
    return manifest["scored"] == manifest["rows"] > 0 and not [path for path in out.iterdir() if path.name[0] == "."]


def is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_run_without_memory_is_one_line_and_a_rerun_completes(
    run: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    limited = subprocess.run(
        run, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )  # fmt: skip
    assert limited.returncode == 2, limited.stderr
    assert "run the same command again: what is finished stays, with fewer --processes" in limited.stderr
    assert "Traceback" not in limited.stderr
    assert is_completed(run, environment, tmp_path / "out")


def test_ctrl_c_ends_the_workers_at_once(run: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    process = subprocess.Popen(
        run, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not (tmp_path / "out").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.3)  # until the workers start
    os.killpg(process.pid, signal.SIGINT)  # a terminal tells all of them
    lines = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 2
    assert lines[-1] == "serve.score: stopped; run the same command again: what is finished stays"
    assert not [line for line in lines if "Traceback" in line]
    until(lambda: not is_alive(process.pid))
    assert is_completed(run, environment, tmp_path / "out")
