"""The same code, data and parameters give the same bytes: with any number of threads, twice, and as committed."""

from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from review.verify import compare_rebuilt, files, git, verdict
from tests.e2e.conftest import command, ran, reproduce

pytestmark = pytest.mark.e2e

TOLERANCE = 1e-3  # of what is committed: it may come from another processor


@pytest.fixture(scope="module")
def twin(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reproduced elsewhere with two threads and another hash seed."""
    return reproduce(original, tmp_path_factory.mktemp("twin") / "repository", threads=2)


def sums(folder: Path, *paths: str) -> dict[str, str]:
    """File -> hash, of those files and of all files in those folders."""
    found = [file for path in paths for file in files(folder / path)]
    return {str(file.relative_to(folder)): sha256(file.read_bytes()).hexdigest() for file in found}


def test_two_reproductions_give_the_same_bytes_with_one_thread_and_with_two(reproduced: Path, twin: Path) -> None:
    ours, theirs = (sums(folder, "dvc.lock", "metrics", "data", "models") for folder in (reproduced, twin))
    assert ours == theirs
    assert {"dvc.lock", "metrics/evaluate.json", "models/release/model.joblib", "data/test.parquet"} <= ours.keys()


def test_what_is_committed_is_what_comes_out(reproduced: Path) -> None:
    differences = compare_rebuilt(reproduced, "HEAD~1")
    sentence, status = verdict(differences, TOLERANCE)
    assert not status, "\n".join([sentence, *map(str, differences)])


def test_a_reproduced_repository_has_nothing_to_do(reproduced: Path) -> None:
    assert ran(command(reproduced, "dvc", "repro")) == []
    assert "up to date" in command(reproduced, "dvc", "status")


def test_running_every_stage_again_changes_nothing(twin: Path) -> None:
    before = sums(twin, "models", "data")
    stages = yaml.safe_load((twin / "dvc.lock").read_text())["stages"]
    assert sorted(ran(command(twin, "dvc", "repro", "--force", timeout=600))) == sorted(stages)
    assert git(twin, "status", "--porcelain") == b""
    assert sums(twin, "models", "data") == before
    assert "up to date" in command(twin, "dvc", "status")


def test_mlflow_shows_one_run_for_the_release_and_below_it_one_for_each_model(reproduced: Path) -> None:
    from mlflow import MlflowClient

    params = yaml.safe_load((reproduced / "params.yaml").read_text())
    client = MlflowClient(f"sqlite:///{reproduced / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(params["tracking"]["experiment"])
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(run.info.run_name for run in children) == sorted(params["train"]["models"])
    assert {run.info.status for run in runs} == {"FINISHED"}
