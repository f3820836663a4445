"""MLflow is told of every reproduction, registers a release once, and never stops a pipeline that may go on without."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from churn.model import load_model
from churn.release import open_release
from churn.scores import SCORES
from churn.script import InputError
from churn.tracking import CANDIDATE, REGISTERED, Tracker, address, flat, track
from tests.conftest import copy_tracked

pytestmark = pytest.mark.slow  # MLflow takes seconds to import and to make its database


DOWN = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def client(released: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{released.parent.parent / 'mlflow.db'}")


@pytest.fixture(scope="module")
def runs(client: Any) -> list[Any]:
    """The parent runs, oldest first, of the two deploys of one release."""
    experiment = client.get_experiment_by_name("churn").experiment_id
    found = client.search_runs([experiment], "tags.model_version != ''", order_by=["attributes.start_time ASC"])
    return list(found)


@pytest.fixture(scope="module")
def children(client: Any, runs: list[Any]) -> dict[str, Any]:
    """Model -> its run below the first parent."""
    mine = f"tags.`mlflow.parentRunId` = '{runs[0].info.run_id}'"
    found = client.search_runs([runs[0].info.experiment_id], mine)
    return {run.info.run_name: run for run in found}


@pytest.fixture(scope="module")
def version(released: Path) -> str:
    return open_release(released).version


# a release


def test_each_deploy_is_one_run_that_names_version_and_commit(runs: list[Any], version: str, project: Path) -> None:
    command = ["git", "-C", str(project), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert [run.info.run_name for run in runs] == [f"release {version}"] * 2
    for run in runs:
        assert run.info.status == "FINISHED"
        assert run.data.tags["model_version"] == version
        assert (run.data.tags["git_commit"], run.data.tags["git_changed"]) == (commit, "false")
        assert "mlflow.parentRunId" not in run.data.tags


def test_below_it_stands_a_run_for_each_model(children: dict[str, Any], project: Path) -> None:
    models = yaml.safe_load((project / "params.yaml").read_text())["train"]["models"]
    assert set(children) == set(models)
    for name, run in children.items():
        assert run.info.status == "FINISHED"
        assert run.data.params == {key: str(value) for key, value in flat(models[name]).items()}


def test_a_model_s_scores_are_there_by_fold_and_as_their_mean(
    client: Any, children: dict[str, Any], project: Path
) -> None:
    run = children["gradient_boosting"]
    metrics = json.loads((project / "metrics/train/gradient_boosting.json").read_text())
    assert set(run.data.metrics) == {*SCORES, *(f"fold_{score}" for score in SCORES)}
    for score in SCORES:
        folds = client.get_metric_history(run.info.run_id, f"fold_{score}")
        assert [fold.step for fold in folds] == [0, 1, 2]
        mean = np.mean([fold.value for fold in folds])
        assert run.data.metrics[score] == pytest.approx(mean)
        assert run.data.metrics[score] == pytest.approx(metrics[score], abs=1e-6)


def test_the_release_s_run_has_its_test_scores_and_data(runs: list[Any], released: Path) -> None:
    card = open_release(released).card
    assert runs[0].data.metrics == pytest.approx({f"test_{key}": value for key, value in card["test"].items()})
    assert runs[0].data.params["data.sha256"] == card["data"]["sha256"]
    assert runs[0].data.params["model"] == card["model"]


def test_the_training_table_is_the_data_set_of_every_model(children: dict[str, Any]) -> None:
    for run in children.values():
        (data,) = run.inputs.dataset_inputs
        assert data.dataset.name == "training customers"
        assert json.loads(data.dataset.profile)["num_rows"] > 400
    assert len({run.inputs.dataset_inputs[0].dataset.digest for run in children.values()}) == 1


def test_the_curves_of_all_models_are_a_picture(client: Any, runs: list[Any]) -> None:
    assert [artifact.path for artifact in client.list_artifacts(runs[0].info.run_id)] == ["models.png"]


# the registry


def test_a_release_is_registered_once_as_the_candidate(client: Any, version: str, runs: list[Any]) -> None:
    (registered,) = client.search_model_versions(f"name = '{REGISTERED}'")
    assert registered.tags["model_version"] == version
    assert registered.run_id == runs[0].info.run_id
    assert client.get_model_version_by_alias(REGISTERED, CANDIDATE).version == registered.version


@pytest.mark.parametrize(
    "folder",
    [
        ".",
        ".dvc/tmp/exps/one",  # where `dvc exp run --temp` works
    ],
)
def test_another_release_is_another_version_and_the_candidate_then(
    folder: str,
    client: Any,
    released: Path,
    runs: list[Any],
    elsewhere: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mlflow import MlflowClient

    root = elsewhere({"tracking.required": True})
    copy = MlflowClient(copy_tracked(released, root))
    (root / folder).mkdir(parents=True, exist_ok=True)
    if folder != ".":
        (root / "params.yaml").rename(root / folder / "params.yaml")
    monkeypatch.chdir(root / folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logged = client.get_logged_model(runs[0].outputs.model_outputs[0].model_id)
    track("another", lambda tracker: tracker.register(runs[0], logged, "another"))
    assert copy.get_model_version_by_alias(REGISTERED, CANDIDATE).tags["model_version"] == "another"
    assert len(copy.search_model_versions(f"name = '{REGISTERED}'")) == 2


@pytest.fixture(scope="module")
def loaded(released: Path) -> Any:
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{released.parent.parent / 'mlflow.db'}")
    yield mlflow.pyfunc.load_model(f"models:/{REGISTERED}@{CANDIDATE}")
    mlflow.set_tracking_uri(before)


def test_the_registered_release_predicts_what_the_bundle_predicts(loaded: Any, released: Path, project: Path) -> None:
    model = load_model(released / "model.joblib")
    customers = pd.read_parquet(project / "data/test.parquet")[list(model.feature_names_in_)]
    assert loaded.predict(customers).tolist() == model.predict_proba(customers)[:, 1].tolist()


def test_its_signature_names_the_columns_of_the_schema(loaded: Any, released: Path) -> None:
    signature = loaded.metadata.signature
    assert signature.inputs.input_names() == [column.name for column in open_release(released).schema.columns]
    with pytest.raises(Exception, match="contract"):
        loaded.predict(pd.DataFrame({"tenure": [1.0]}))


# without a server


@pytest.fixture
def unreachable(elsewhere: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Tell a server that is down, with these knobs of the section tracking."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", DOWN)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    def tell(**knobs: Any) -> None:
        elsewhere({f"tracking.{key}": value for key, value in knobs.items()})
        track("release x", lambda tracker: pytest.fail("told nobody"))

    return tell


def test_a_server_that_is_down_is_a_warning(unreachable: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    unreachable()
    (line,) = [r.getMessage() for r in caplog.records if (r.name, r.levelname) == ("tracking", "WARNING")]
    assert line.startswith(f"release x was not tracked at {DOWN}: ")
    assert line.endswith("; the results on disk are whole")
    assert "\n" not in line


def test_a_server_that_is_down_ends_what_requires_it(unreachable: Callable[..., None]) -> None:
    with pytest.raises(InputError) as error:
        unreachable(required=True)
    assert str(error.value).startswith(f"release x was not tracked at {DOWN}: ")
    assert str(error.value).endswith("; start the server, or set tracking.required to false")


def test_what_fails_on_the_way_is_told_too_and_leaves_a_failed_run(
    released: Path,
    elsewhere: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from mlflow import MlflowClient

    address = copy_tracked(released, elsewhere())
    client = MlflowClient(address)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)

    def tell(tracker: Tracker) -> None:
        with tracker.run("broken"):
            raise RuntimeError("disk full\nat line 3")

    track("release x", tell)
    assert "RuntimeError: disk full;" in caplog.messages[-1]
    experiment = client.get_experiment_by_name("churn").experiment_id
    (run,) = client.search_runs([experiment], "attributes.run_name = 'broken'")
    assert run.info.status == "FAILED"


def test_a_knob_of_tracking_that_is_not_there_is_named(unreachable: Callable[..., None]) -> None:
    with pytest.raises(InputError, match="tracking has no knob 'requird'"):
        unreachable(requird=True)


@pytest.mark.parametrize("name", ["a?b", "a%20b", "a#b"])
def test_a_folder_of_any_name_holds_its_database(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    MlflowClient(address()).search_experiments()
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("mlflow.db")] == [Path(name, "mlflow.db")]


def test_nested_knobs_have_dotted_names() -> None:
    assert flat({"a": {"b": 1, "c": {"d": 2}}, "e": [3]}) == {"a.b": 1, "a.c.d": 2, "e": [3]}
