"""An edit makes stale what uses it, by the imports in the code and the sections that are read, and nothing else."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from review.verify import git
from tests.conftest import ROOT
from tests.e2e.conftest import command, ran, set_knobs
from tests.test_pipeline_contract import CODE_LEFT_OUT, SCRIPTS, closure, script

pytestmark = pytest.mark.e2e

MODELS = list(yaml.safe_load((ROOT / "params.yaml").read_text())["train"]["models"])
TRAIN = [f"train@{name}" for name in MODELS]
READ_SCHEMA = ["load", "validate", "preprocess", "featurize", "evaluate", "deploy"]

# knob, another value -> the stages that it makes stale
KNOBS = [
    ("simulate.customers", 5000, ["simulate"]),
    ("data.options", {"sep": ","}, ["load"]),
    ("data.weight", "_weight", ["load"]),
    ("data.path", "data/raw/other.csv", ["extract", "load", "deploy"]),
    ("data.schema", "schemas/other.yaml", READ_SCHEMA),
    ("validate.leak_auc", 0.95, ["validate"]),
    ("validate.reference", "schemas/other.json", ["validate"]),
    ("preprocess.seed", 1, ["preprocess"]),
    ("featurize.features", ["tenure_log"], ["featurize", "evaluate", "deploy"]),
    ("train.folds", 4, TRAIN),
    ("train.seed", 1, TRAIN),
    ("train.models.gradient_boosting.learning_rate", 0.2, ["train@gradient_boosting", "select", "deploy"]),
    ("train.models.xgboost.max_leaves", 30, ["train@xgboost", "select", "deploy"]),
    ("tracking.experiment", "other", []),
    ("profit.measured", "campaigns/other.json", ["select", "evaluate", "deploy"]),
    ("profit.offer_cost", 30, ["select", "evaluate", "deploy"]),
    ("select.threshold", "f1", ["select"]),
    ("evaluate.seed", 1, ["evaluate"]),
    ("evaluate.baseline", "random_forest", ["evaluate"]),
    ("evaluate.fairness", ["contract"], ["evaluate"]),
    ("evaluate.fairness_customers", 50, ["evaluate"]),
    ("evaluate.fairness_outcomes", 5, ["evaluate"]),
    ("deploy.golden", 120, ["deploy"]),
    ("gate.slice_margin", 0.1, []),
    ("gate.fairness_margin", 0.1, []),
    ("review.metrics.roc_auc.absolute", 0.02, []),
    ("ab.alpha", 0.01, []),
    ("campaigns.effect", 10, []),
    ("monitoring.report.alpha", 0.001, []),
]


def changes(folder: Path) -> dict[str, list[str]]:
    """Stale stage -> its deps and params that changed, as `dvc status` tells them."""
    status = json.loads(command(folder, "dvc", "status", "--json"))
    return {
        stage: [name for change in told if isinstance(change, dict) for kind in change.values() for name in kind]
        for stage, told in status.items()
    }


def stages(folder: Path) -> list[str]:
    return list(yaml.safe_load((folder / "dvc.lock").read_text())["stages"])


def test_code_makes_stale_the_stages_that_import_it(restored: Path) -> None:
    for name in SCRIPTS:
        if (restored / name).read_text():  # empty: nothing to import
            with (restored / name).open("a") as file:
                file.write("\nSTALE_PROBE = 1\n")
    # DVC tells of every dep by itself, so one look at all edits is as good as a look at each
    assert {stage: sorted(names) for stage, names in changes(restored).items()} == {
        stage: sorted(closure(script(stage))) for stage in stages(restored) if stage not in CODE_LEFT_OUT
    }


def test_every_section_of_the_parameters_is_tried_below() -> None:
    assert {name.partition(".")[0] for name, _, _ in KNOBS} == set(yaml.safe_load((ROOT / "params.yaml").read_text()))


@pytest.mark.parametrize(("name", "value", "stale"), KNOBS, ids=[name for name, _, _ in KNOBS])
def test_a_knob_makes_stale_the_stages_that_read_it(name: str, value: object, stale: list[str], restored: Path) -> None:
    for source, other in (
        ("data/raw/customers.csv", "data/raw/other.csv"),
        ("schemas/telco.yaml", "schemas/other.yaml"),
        ("campaigns/measured.json", "campaigns/other.json"),
        ("schemas/reference.json", "schemas/other.json"),
    ):
        shutil.copy(restored / source, restored / other)
    set_knobs(restored, **{name.replace(".", "__"): value})
    assert sorted(changes(restored)) == sorted(stale)


def test_a_new_model_is_a_new_stage(restored: Path) -> None:
    set_knobs(restored, train__models__tree={"estimator": "sklearn.tree.DecisionTreeClassifier"})
    assert sorted(changes(restored)) == sorted(["train@tree", "select", "deploy"])


@pytest.mark.parametrize(
    ("edited", "expected"),
    [
        ("stages/evaluate.py", ["evaluate"]),  # its metrics stay the same, so deploy has nothing to do
        ("churn/mlflow_loader.py", ["deploy"]),
        ("churn/leakage.py", ["validate"]),
        ("churn/draft_schema.py", []),
    ],
)
def test_repro_runs_what_is_stale_and_stops_where_nothing_changed(
    edited: str, expected: list[str], restored: Path
) -> None:
    with (restored / edited).open("a") as file:
        file.write("\nSTALE_PROBE = 1\n")
    assert ran(command(restored, "dvc", "repro")) == expected
    assert git(restored, "diff", "HEAD", "--name-only").decode().split() == sorted(
        [edited, *(["dvc.lock"] if expected else [])]
    )
