"""Clusters score from object storage into it with the bytes of a run here; workers reach it by their own variables."""
# ruff: noqa: F811 (fixtures of other files)

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from churn.git import child_environment
from tests.e2e.hosts import Host
from tests.e2e.object_storage import Server
from tests.e2e.test_score_dask import cluster as dask_cluster
from tests.e2e.test_score_kills import Run
from tests.e2e.test_score_objects import bucket, content, expected, releases, storage, table, there  # noqa: F401
from tests.e2e.test_score_spark import SPARK, cluster, needs_spark  # noqa: F401

pytestmark = pytest.mark.e2e


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of the Spark cluster."""
    return tmp_path


@pytest.fixture
def environment(folder: Path, storage: Server) -> dict[str, str]:
    """Of the Spark cluster, which can't reach the storage."""
    spark = {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_DIRS": str(folder / "local"), "PYSPARK_PYTHON": sys.executable}
    return {name: value for name, value in child_environment().items() if name not in storage.variables} | spark


def test_dask_workers_reach_storage_by_their_own_environment_or_say_where_it_lacks_what(
    there: str,
    bucket: str,
    expected: dict[str, bytes],
    releases: Path,
    storage: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = f"{bucket}/out"
    for name in storage.variables:
        monkeypatch.delenv(name)
    with dask_cluster(tmp_path, [Host()] * 2) as started:
        on_dask = ("--engine", "dask", "--address", started.address)
        for name, value in storage.variables.items():
            monkeypatch.setenv(name, value)
        status, lines = Run(there, out, releases, *on_dask).end()
        last = lines.splitlines()[-1]
        assert (status, content(out), "Traceback" in lines) == (2, {}, False)
        assert last.startswith(f"serve.score: on {socket.gethostname()}: {out} can't be reached: NoCredentialsError: ")
        assert last.endswith("its own environment: AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY")
        started.kill(0)
        started.start(0)
        status, lines = Run(there, out, releases, *on_dask).end()
    assert status == 0, lines
    assert content(out) == expected


@needs_spark
def test_spark_executors_reach_storage_by_the_environment_that_its_settings_give_them(
    cluster: tuple[str, list[subprocess.Popen[bytes]], Path],
    there: str,
    bucket: str,
    expected: dict[str, bytes],
    releases: Path,
    storage: Server,
    folder: Path,
) -> None:
    settings = [f"spark.executorEnv.{name} {value}" for name, value in storage.variables.items()]
    (folder / "spark-defaults.conf").write_text("\n".join(settings))
    variables = {"PYTHONPATH": str(SPARK), "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    on_spark = ("--engine", "spark", "--address", cluster[0])
    run = Run(there, out := f"{bucket}/out", releases, *on_spark, **variables, SPARK_CONF_DIR=str(folder))
    status, lines = run.end()
    assert status == 0, lines
    assert content(out) == expected
