"""Files are scored by real Spark: in processes of this machine and on a standalone cluster, which loses an executor."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pyarrow as pa
import pytest
from pyarrow import parquet

from churn.git import child_environment
from churn.schema import TARGET
from demo.processes import free_port, until
from serve.releases.store import Store
from serve.score.engines import AGAIN
from tests.conftest import ROOT
from tests.e2e.test_score_dask import command

SPARK = ROOT / ".venv/spark"
needs_spark = pytest.mark.skipif(
    not (SPARK / ".installed").exists() or not shutil.which("java"), reason="pyspark (make spark) or Java is missing"
)
pytestmark = [pytest.mark.e2e, needs_spark]

# serve.score that asks Spark without a pause, so that an interrupt comes within a call to Java
ASKING = """
import runpy
from serve.score import spark
spark.POLL_SECONDS = 0
runpy.run_module("serve.score", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spark")


@pytest.fixture(scope="module")
def environment(folder: Path, released: Path) -> dict[str, str]:
    """Of all processes; what Spark writes for itself lies below `local`."""
    store = Store(folder / "releases")
    store.promote(store.add(released, "test"), "test")
    spark = {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_DIRS": str(folder / "local"), "TMPDIR": str(folder)}
    found = {"PYTHONPATH": str(SPARK), "PYSPARK_PYTHON": sys.executable, "CHURN_RELEASES": str(store.where)}
    return child_environment() | spark | found


@pytest.fixture(scope="module")
def table(project: Path, folder: Path) -> Path:
    """16 files, which are 16 pieces, of 480,000 customers: enough that an executor dies in the middle."""
    frame = pd.concat([pd.read_parquet(project / "data/test.parquet").drop(columns=TARGET)] * 4000, ignore_index=True)
    frame["customer_id"] = [f"C{i}" for i in range(len(frame))]
    (folder / "customers").mkdir()
    for i in range(16):
        rows = pa.Table.from_pandas(frame.iloc[i::16], preserve_index=False)
        parquet.write_table(rows, folder / f"customers/{i:02d}.parquet")
    return folder / "customers"


@pytest.fixture(scope="module")
def expected(table: Path, folder: Path, environment: dict[str, str]) -> dict[str, bytes]:
    """The files of a run without Spark, with reasons."""
    subprocess.run(
        command(table, folder / "expected", "--reasons", "5", "--processes", "1"),
        cwd=ROOT, env=environment, check=True,
    )  # fmt: skip
    return files(folder / "expected")


@pytest.fixture
def cluster(folder: Path, environment: dict[str, str]) -> Iterator[tuple[str, list[subprocess.Popen[bytes]], Path]]:
    """The address of a master, its two workers, which do not have this repository's code, and their log."""
    port, log = free_port(), folder / "cluster.log"
    address = f"spark://127.0.0.1:{port}"
    known = {key: value for key, value in environment.items() if key not in ("PYTHONPATH", "CHURN_RELEASES")}
    home = SPARK / "pyspark"
    options = {"SPARK_HOME": str(home), "SPARK_MASTER_OPTS": "-Dspark.master.rest.enabled=false"}

    def start(name: str, *words: str) -> subprocess.Popen[bytes]:
        java_class = f"org.apache.spark.deploy.{name.lower()}.{name}"
        command = [home / "bin/spark-class", java_class, *words, "--host", "127.0.0.1", "--webui-port", "0"]
        return subprocess.Popen(command, cwd=folder, env=known | options, stdout=log.open("ab"), stderr=-2)

    master = start("Master", "--port", str(port))
    workers = [
        start("Worker", address, "--cores", "1", "--memory", "1g", "--work-dir", str(folder / f"worker-{i}"))
        for i in range(2)
    ]
    try:
        until(lambda: master.poll() is not None or socket.socket().connect_ex(("127.0.0.1", port)) == 0, 300)
        assert master.poll() is None, log.read_text()
        yield address, workers, log
    finally:
        for process in (*workers, master):
            process.terminate()
            process.wait()


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if not path.name.startswith(".")}


def until_begun(run: subprocess.Popen[str], out: Path) -> int:
    """Wait for the first piece; how many are scored."""
    until(lambda: run.poll() is not None or list(out.rglob("part-*")), 300)
    assert run.poll() is None
    return len(list(out.rglob("part-*")))


def at_work(workers: list[subprocess.Popen[bytes]]) -> list[int]:
    """The executors that have a task: a process of Python."""
    executors = [child for worker in workers for child in psutil.Process(worker.pid).children()]
    return [executor.pid for executor in executors if executor.children()]


def test_a_run_on_this_machine_that_is_stopped_and_begun_again_gives_the_bytes_of_one_without_spark(
    table: Path, folder: Path, environment: dict[str, str], expected: dict[str, bytes]
) -> None:
    out = folder / "local-2"
    on_spark = command(table, out, "--reasons", "5", "--engine", "spark", "--address", "local[2]")
    asking = [sys.executable, "-c", ASKING, *on_spark[3:]]
    run = subprocess.Popen(asking, cwd=ROOT, env=environment, stderr=-1, text=True)
    assert until_begun(run, out) < len(list(table.iterdir()))
    run.send_signal(signal.SIGINT)
    lines = run.communicate(timeout=300)[1].splitlines()
    assert (run.returncode, lines[-1]) == (2, f"serve.score: stopped; {AGAIN}")
    assert "Traceback" not in "".join(lines)
    done = subprocess.run(on_spark, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert "serve.score: 16 of 16 pieces: " in done.stderr
    assert files(out) == expected
    assert not list((folder / "local").rglob("churn-score-*")), "executors leave a release behind"


def test_a_cluster_loses_no_piece_with_an_executor_and_gives_the_same_bytes(
    cluster: tuple[str, list[subprocess.Popen[bytes]], Path],
    table: Path,
    folder: Path,
    environment: dict[str, str],
    expected: dict[str, bytes],
) -> None:
    address, workers, log = cluster
    out = folder / "standalone"
    on_spark = command(table, out, "--reasons", "5", "--engine", "spark", "--address", address)
    run = subprocess.Popen(on_spark, cwd=ROOT, env=environment, stderr=-1, text=True)
    executor = until(lambda: next(iter(at_work(workers)), 0), 300)
    os.kill(executor, signal.SIGSTOP)  # or the run might be over before the executor is killed
    assert until_begun(run, out) < len(list(table.iterdir()))
    os.kill(executor, signal.SIGKILL)
    assert run.wait(300) == 0, run.communicate()[1]
    assert re.search(r"Executor app-\S+ finished with state EXITED .*exitStatus 137", log.read_text())
    assert files(out) == expected
    until(lambda: not list((folder / "local").rglob("churn-score-*")), 120)


def test_a_piece_that_cannot_be_read_is_one_line(table: Path, folder: Path, environment: dict[str, str]) -> None:
    broken = shutil.copytree(table, folder / "broken") / "05.parquet"
    content = broken.read_bytes()
    broken.write_bytes(content[:1000] + bytes(40_000) + content[41_000:])
    done = subprocess.run(
        command(broken.parent, folder / "none", "--engine", "spark", "--address", "local[1]"),
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "serve.score: 5 of 16 pieces: 04.parquet" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"serve.score: on {socket.gethostname()}: {broken} can't be read: ")
    assert "Traceback" not in done.stderr


def test_a_master_that_does_not_answer_is_one_line(table: Path, folder: Path, environment: dict[str, str]) -> None:
    address = f"spark://127.0.0.1:{free_port()}"
    done = subprocess.run(
        command(table, folder / "none", "--engine", "spark", "--address", address),
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"--address {address}: no Spark master answers: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
