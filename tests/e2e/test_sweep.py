"""A grid is one command: its experiments run side by side, stand in one table, and MLflow has them all."""

import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.conftest import command

pytestmark = pytest.mark.e2e

KNOB = "train.models.gradient_boosting.learning_rate"
RATES = [0.03, 0.05, 0.1]  # the last one is the baseline's: nothing is left to run


@pytest.fixture(scope="module")
def swept(clone: Path) -> Path:
    """The clone after the grid ran, two at a time."""
    command(clone, "dvc", "exp", "run", "--queue", "-S", f"{KNOB}={','.join(map(str, RATES))}")
    try:
        command(clone, "dvc", "exp", "run", "--run-all", "-j", "2", timeout=600)
    finally:
        command(clone, "dvc", "queue", "stop", "--kill")
        for path in (clone / ".dvc/tmp/exps/celery").glob("dvc-exp-worker-*.pid"):
            process = Path("/proc", path.read_text(), "cmdline")
            with suppress(OSError):  # a worker may miss the word to stop: celery's folder drops messages
                if b"queue-worker" in process.read_bytes():
                    os.kill(int(path.read_text()), signal.SIGTERM)
    return clone


def experiments(folder: Path) -> dict[str, dict[str, Any]]:
    """Name -> what `dvc exp show` tells of each experiment on top of HEAD."""
    _, head = json.loads(command(folder, "dvc", "exp", "show", "--json"))
    return {experiment["name"]: experiment["revs"][0]["data"] for experiment in head["experiments"]}


def rate(told: dict[str, Any]) -> float:
    return float(told["params"]["params.yaml"]["data"]["train"]["models"]["gradient_boosting"]["learning_rate"])


def test_the_experiments_stand_side_by_side(swept: Path) -> None:
    told = experiments(swept).values()
    assert sorted(map(rate, told)) == RATES
    metrics = [{path: sorted(found["data"]) for path, found in one["metrics"].items()} for one in told]
    assert metrics[0] == metrics[1] == metrics[2]
    assert {"metrics/evaluate.json", "metrics/select.json", "metrics/train/gradient_boosting.json"} <= metrics[0].keys()
    scores = {one["metrics"]["metrics/train/gradient_boosting.json"]["data"]["roc_auc"] for one in told}
    assert len(scores) == 3


def test_mlflow_of_the_repository_has_them_all(swept: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{swept / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name != "Default"]
    runs = client.search_runs([experiment.experiment_id])
    parents = {run.info.run_id: run.info.run_name for run in runs if "mlflow.parentRunId" not in run.data.tags}
    trained = [run for run in runs if run.info.run_name == "gradient_boosting"]
    found = {float(run.data.params["learning_rate"]): parents[run.data.tags["mlflow.parentRunId"]] for run in trained}
    assert sorted(found) == RATES
    named = {rate(told): name for name, told in experiments(swept).items()}
    assert {found[r] for r in RATES[:2]} == {named[r] for r in RATES[:2]}  # a run is called as its experiment
    assert not list((swept / ".dvc/tmp").rglob("mlflow.db"))


def test_an_experiment_is_applied_and_compared_with_head(swept: Path) -> None:
    name = next(name for name, told in experiments(swept).items() if rate(told) == 0.03)
    command(swept, "dvc", "exp", "apply", name)
    assert (
        yaml.safe_load((swept / "params.yaml").read_text())["train"]["models"]["gradient_boosting"]["learning_rate"]
        == 0.03
    )
    table = command(swept, "dvc", "metrics", "diff", "--md").splitlines()
    assert any("metrics/train/gradient_boosting.json" in line and "| roc_auc " in line for line in table)
    assert len(table) < 60
    command(swept, "dvc", "plots", "diff", "--out", "plots")
    assert "roc" in (swept / "plots/index.html").read_text()
