"""MLflow's registry says what the store says, late if it was down, and stops no act; releases come back whole."""

import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from churn.model import load_model
from churn.release import GOLDEN, PIPELINE, open_release
from churn.scorer import Scorer
from churn.script import InputError
from churn.tracking import CANDIDATE, REGISTERED, Tracker, reason, shown
from serve.releases.registry import ALIASES, mirror, pull, tell
from tests.conftest import ROOT, copy_tracked
from tests.factories import reseal
from tests.test_pipeline_contract import HEAVY

pytestmark = pytest.mark.slow  # MLflow takes seconds to import and to make its database


DOWN = "http://somebody:secret@127.0.0.1:9"  # the port of `discard`: nobody listens
Bundles = dict[str, Path]


def another(bundle: Path, folder: Path, threshold: float) -> str:
    """The version of that bundle with another threshold, which is in `folder` then."""
    copy = shutil.copytree(bundle, folder / "new")
    version = reseal(copy, lambda card: card["threshold"].update(value=threshold))
    copy.rename(folder / version)
    return version


@pytest.fixture(scope="module")
def bundles(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """Version -> folder of three releases, as in a store; the registry knows the first, which `deploy` made."""
    folder = tmp_path_factory.mktemp("store")
    first = open_release(released).version
    shutil.copytree(released, folder / first)
    return {version: folder / version for version in (first, *(another(released, folder, t) for t in (0.98, 0.99)))}


@pytest.fixture
def here(released: Path, elsewhere: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder but for a copy of the project's database; artifacts that are new lie in it too."""
    import mlflow

    before = mlflow.get_tracking_uri()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folder = elsewhere()
    (folder / "requirements.txt").write_text("mlflow\n")
    copy_tracked(released, folder)
    yield folder
    mlflow.set_tracking_uri(before)


@pytest.fixture
def client(here: Path) -> Any:
    import mlflow

    uri = f"sqlite:///{here / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)  # by which models:/ are found
    return mlflow.MlflowClient(uri)


@pytest.fixture
def tracker(client: Any) -> Tracker:
    return Tracker(client, client.get_experiment_by_name("churn").experiment_id)


def state(champion: str | None = None, challenger: str | None = None, shadow: str | None = None) -> dict[str, Any]:
    share = 0.1 if challenger else 0.0
    return {"champion": champion, "previous": None, "challenger": challenger, "share": share, "shadow": shadow}


def said(tracker: Tracker) -> dict[str, str]:
    """Alias -> release that the registry says."""
    releases = {number: release for release, number in tracker.registered().items()}
    return {alias: releases[number] for alias, number in tracker.aliases().items()}


# the mirror


def test_the_aliases_follow_every_act(bundles: Bundles, tracker: Tracker) -> None:
    a, b, c = bundles
    acts = {
        "promote a": (state(a), {"champion": a}),
        "split b": (state(a, challenger=b), {"champion": a, "challenger": b}),
        "shadow c": (state(a, challenger=b, shadow=c), {"champion": a, "challenger": b, "shadow": c}),
        "abort": (state(a), {"champion": a}),
        "promote b": (state(b), {"champion": b}),
        "rollback": (state(a), {"champion": a}),
    }
    for act, (after, expected) in acts.items():
        mirror(after, bundles, None)
        assert said(tracker) == {CANDIDATE: a, **expected}, act


def test_the_candidate_is_the_newest_release_or_stays(bundles: Bundles, tracker: Tracker) -> None:
    a, b, _ = bundles
    mirror(state(a), bundles, b)
    assert said(tracker)[CANDIDATE] == b
    mirror(state(b), bundles, None)
    assert said(tracker)[CANDIDATE] == b


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(data=st.data())
def test_whatever_it_missed_it_says_the_state_and_then_changes_no_more(
    bundles: Bundles, tracker: Tracker, data: st.DataObject
) -> None:
    # each example starts from what the one before left: any way from one state to another is an act, or several missed
    one = st.sampled_from([None, *bundles])
    after, newest = {alias: data.draw(one, alias) for alias in ALIASES}, data.draw(one, "newest")
    candidate = newest or said(tracker)[CANDIDATE]
    changes = mirror(after, bundles, newest)
    expected = {alias: version for alias, version in {**after, CANDIDATE: candidate}.items() if version}
    assert said(tracker) == expected
    assert len(tracker.client.search_model_versions(f"name = '{REGISTERED}'")) == len(bundles)
    assert len(changes) == len(set(changes))
    assert mirror(after, bundles, newest) == []


def test_each_change_is_a_sentence(bundles: Bundles, here: Path) -> None:
    a, b, c = bundles
    store = {version: bundles[version] for version in (a, b)}
    assert mirror(state(a, shadow=b), store, None) == [
        f"churn@champion is now version 1 ({a})",
        f"churn has a version 2 ({b})",
        f"churn@shadow is now version 2 ({b})",
    ]
    assert mirror(state(a), bundles, None) == ["churn@shadow is removed", f"churn has a version 3 ({c})"]


def test_a_release_that_it_does_not_know_is_registered_as_deploy_does(
    bundles: Bundles, tracker: Tracker, project: Path
) -> None:
    import mlflow

    a, b, _ = bundles
    mirror(state(b), {b: bundles[b]}, None)
    versions = {v.tags["model_version"]: v for v in tracker.client.search_model_versions(f"name = '{REGISTERED}'")}
    ours, theirs = (tracker.client.get_run(versions[version].run_id) for version in (b, a))
    assert (ours.info.run_name, ours.info.status) == (f"release {b}", "FINISHED")
    assert ours.data.metrics == theirs.data.metrics
    assert {key: (ours.data.params[key], theirs.data.params[key]) for key in theirs.data.params} == {
        key: ("0.98" if key == "threshold.value" else value, value) for key, value in theirs.data.params.items()
    }
    # the commit of another machine is not known
    assert {key for key in ours.data.tags if not key.startswith("mlflow.")} == {"model_version"}

    loaded, deployed = (mlflow.pyfunc.load_model(f"models:/{REGISTERED}/{versions[v].version}") for v in (b, a))
    ours_in, theirs_in = (model.metadata.signature.inputs.inputs for model in (loaded, deployed))
    assert [(column.name, column.type) for column in ours_in] == [(column.name, column.type) for column in theirs_in]
    model = load_model(bundles[b] / PIPELINE)
    customers = pd.read_parquet(project / "data/test.parquet")[list(model.feature_names_in_)]
    assert loaded.predict(customers).tolist() == model.predict_proba(customers)[:, 1].tolist()


def test_its_signature_lets_those_columns_be_missing_that_the_schema_does(bundles: Bundles, tracker: Tracker) -> None:
    import mlflow

    _, b, _ = bundles
    mirror(state(b), {b: bundles[b]}, None)
    signature = mlflow.models.get_model_info(f"models:/{REGISTERED}@champion").signature
    columns = open_release(bundles[b]).schema.columns
    assert {c.name: c.required for c in signature.inputs.inputs} == {c.name: not c.nullable for c in columns}


def test_two_mirrors_at_once_register_a_release_once(bundles: Bundles, tracker: Tracker) -> None:
    _, b, c = bundles
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda champion: mirror(state(champion), bundles, None), (b, c)))
    releases = [v.tags["model_version"] for v in tracker.client.search_model_versions(f"name = '{REGISTERED}'")]
    assert sorted(releases) == sorted(bundles)
    assert said(tracker)["champion"] in (b, c)


@dataclass(frozen=True)
class Overtaken(Tracker):
    """A tracker whose first look at the registry ends just before another machine registers the same release."""

    other: list[Callable[[], Any]] = field(default_factory=list)

    def registered(self) -> dict[str, str]:
        seen = super().registered()
        if self.other:
            self.other.pop()()
        return seen


def test_of_two_machines_that_register_a_release_at_once_the_first_stays(tracker: Tracker) -> None:
    (registered,) = tracker.client.search_model_versions(f"name = '{REGISTERED}'")
    run = tracker.client.get_run(registered.run_id)
    logged = tracker.client.get_logged_model(run.outputs.model_outputs[0].model_id)
    numbers: list[str] = []
    late = Overtaken(
        tracker.client, tracker.experiment_id, [lambda: numbers.append(tracker.add(run, logged, "another"))]
    )
    assert [late.add(run, logged, "another")] == numbers
    found = tracker.client.search_model_versions(f"name = '{REGISTERED}' and tag.model_version = 'another'")
    assert [str(version.version) for version in found] == numbers


def test_a_broken_release_that_answers_nobody_keeps_no_alias_back(
    bundles: Bundles, tracker: Tracker, here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a, b, c = bundles
    broken = shutil.copytree(bundles[b], here / b)
    (broken / GOLDEN).write_text("")
    mirror(state(a, challenger=c), {a: bundles[a], b: broken, c: bundles[c]}, None)
    assert said(tracker) == {CANDIDATE: a, "champion": a, "challenger": c}
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert line.startswith(f"release {b} is not registered: ")


def test_a_champion_that_nobody_has_is_named(bundles: Bundles, here: Path) -> None:
    with pytest.raises(InputError, match="neither the registry nor the store has release 0123456789ab"):
        mirror(state("0123456789ab"), bundles, None)


# without a registry


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_registry_that_is_down_is_one_warning_without_its_password(
    bundles: Bundles, here: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", DOWN)
    a, b, _ = bundles
    tell(state(a, challenger=b), bundles, b)
    (line,) = warnings_of(caplog)
    assert line.startswith(
        f"the registry at http://***@127.0.0.1:9 does not know yet of "
        f"champion {a}, challenger {b}, shadow none, candidate {b}: MlflowException: "
    )
    assert line.endswith("; `python -m serve.releases mirror` catches up")
    assert "\n" not in line
    assert "secret" not in caplog.text


def test_a_database_that_is_broken_is_a_warning_too(
    bundles: Bundles, here: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "broken.db").write_text("not a database, " * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here / 'broken.db'}")
    tell(state(), bundles, None)
    (line,) = warnings_of(caplog)
    assert "file is not a database" in line


def test_a_folder_without_params_is_a_warning_too(
    bundles: Bundles, here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (here / "params.yaml").unlink()
    tell(state(), bundles, None)
    (line,) = warnings_of(caplog)
    assert "params.yaml is missing" in line


def test_where_no_training_ran_and_no_registry_is_named_nothing_happens(
    bundles: Bundles, here: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (here / "mlflow.db").unlink()
    before = sorted(here.iterdir())
    tell(state(next(iter(bundles))), bundles, None)
    assert warnings_of(caplog) == []
    assert sorted(here.iterdir()) == before


def test_what_changed_is_in_the_log(bundles: Bundles, here: Path, caplog: pytest.LogCaptureFixture) -> None:
    a, *_ = bundles
    with caplog.at_level("INFO", "serve.registry"):
        tell(state(a), {}, None)
    assert [r.getMessage() for r in caplog.records if r.name == "serve.registry"] == [
        f"churn@champion is now version 1 ({a})"
    ]


def test_a_password_is_cut_out_before_the_sentence_is_cut_short() -> None:
    error = RuntimeError(f"{'x' * 100} https://somebody:{'secret' * 10}@host/api and a@b\nmore")
    assert "secret" not in reason(error)
    assert shown("postgresql://u:p@ss@host/db, a@b") == "postgresql://***@host/db, a@b"


def test_importing_it_brings_nothing_of_the_training() -> None:
    code = f"import sys; from serve.releases import registry as r; print(r.installed(), *{HEAVY!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("True", "")


# the way back


@pytest.mark.parametrize("address", ["models:/churn@champion", "models:/churn/2"])
def test_a_pulled_release_is_the_bundle_that_was_told(address: str, bundles: Bundles, here: Path) -> None:
    _, b, _ = bundles
    mirror(state(b), {b: bundles[b]}, None)
    bundle = pull(address, here / "pulled")
    assert (here / "pulled") in bundle.parents
    scorer = Scorer.open(bundle)
    assert scorer.release.version == b
    golden = [line["customer"] for line in scorer.release.golden()]
    assert np.array_equal(scorer.probabilities(golden), Scorer.open(bundles[b]).probabilities(golden))


def test_what_deploy_registered_is_pulled_as_well(bundles: Bundles, here: Path) -> None:
    assert Scorer.open(pull("models:/churn@candidate", here / "pulled")).release.version == next(iter(bundles))


@pytest.mark.parametrize("address", ["models:/churn@nobody", "models:/churn/7"])
def test_what_the_registry_does_not_have_is_named_with_what_it_has(address: str, here: Path) -> None:
    with pytest.raises(InputError) as error:
        pull(address, here / "pulled")
    assert str(error.value) == (
        f"the registry at sqlite:///{here / 'mlflow.db'} has no {address}; "
        "it has models:/churn@candidate, models:/churn/1"
    )


def test_a_model_that_nobody_registered_is_named(here: Path) -> None:
    with pytest.raises(InputError, match=r"has no models:/chrun@candidate; it has no model 'chrun'"):
        pull("models:/chrun@candidate", here / "pulled")


@pytest.mark.parametrize(
    "address",
    ["", "churn@candidate", "models:/", "models:/churn", "models:/churn/", "models:/churn@", "models:/churn/Production",
     "models:/churn@a/b", "runs:/1/release", "models:/../3@x", "s3://key:secret@bucket/release"],
)  # fmt: skip
def test_an_address_that_names_no_release_is_refused(address: str, here: Path) -> None:
    with pytest.raises(InputError, match="expected models:/churn@candidate or models:/churn/3") as error:
        pull(address, here / "pulled")
    assert "secret" not in str(error.value)
    assert not (here / "pulled").exists()


def test_a_model_without_a_bundle_is_refused(here: Path, tracker: Tracker) -> None:
    (model,) = tracker.client.search_logged_models([tracker.experiment_id], "name = 'gradient_boosting'", max_results=1)
    tracker.client.create_model_version(REGISTERED, f"models:/{model.model_id}", model_id=model.model_id)
    with pytest.raises(InputError, match="models:/churn/2 has no release bundle among its files; pull one that"):
        pull("models:/churn/2", here / "pulled")


def test_nothing_comes_from_a_registry_that_is_down(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", DOWN)
    with pytest.raises(InputError) as error:
        pull("models:/churn@candidate", here / "pulled")
    message = str(error.value)
    assert message.startswith("models:/churn@candidate did not come from the registry at http://***@127.0.0.1:9: ")
    assert message.endswith("; start the server, or set MLFLOW_TRACKING_URI")
    assert "secret" not in message and "\n" not in message


def test_a_bundle_whose_files_are_gone_is_named(bundles: Bundles, here: Path) -> None:
    _, b, _ = bundles
    mirror(state(b), {b: bundles[b]}, None)
    shutil.rmtree(here / "mlartifacts")
    with pytest.raises(InputError, match="models:/churn@champion has no release bundle among its files"):
        pull("models:/churn@champion", here / "pulled")


def test_without_a_registry_there_is_nothing_to_pull(here: Path) -> None:
    (here / "mlflow.db").unlink()
    with pytest.raises(InputError, match="there is none here; set MLFLOW_TRACKING_URI"):
        pull("models:/churn@candidate", here / "pulled")
    assert not (here / "mlflow.db").exists()
