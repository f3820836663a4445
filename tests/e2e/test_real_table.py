"""IBM's Telco table goes through the committed pipeline, by its path alone, to scores as good as that table allows."""

import contextlib
import json
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, with_knobs
from tests.e2e.conftest import TELCO, command, ran

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not TELCO.is_file(), reason=f"{TELCO} is missing")]


@pytest.fixture(scope="module")
def telco(clone: Path) -> Path:
    """The clone after `dvc exp run` on the table."""
    output = command(clone, "dvc", "exp", "run", "-S", f"data.path={TELCO.resolve()}", timeout=600)
    assert ran(output)[0] == "load"
    assert "Ran experiment" in output
    return clone


def metrics(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / f"metrics/{name}.json").read_text())
    return content


def test_the_table_fits_the_committed_schema_and_has_no_leak(telco: Path) -> None:
    found = metrics(telco, "validate")
    assert (found["is_valid"], found["errors"], found["rows"], found["columns"]) == (True, 0, 7043, 21)
    told = json.loads((telco / "data/validation.json").read_text())["warnings"]
    assert not [line for line in told if "ROC AUC" in line]


def test_the_winner_ranks_customers_it_never_saw(telco: Path) -> None:
    roc_auc = metrics(telco, "evaluate")["roc_auc"]
    assert 0.84 <= roc_auc <= 0.87  # above is leakage


def test_the_card_names_the_table_and_its_hash(telco: Path) -> None:
    data = json.loads((telco / "models/release/card.json").read_text())["data"]
    assert data["table"] == TELCO.name
    assert data["sha256"] == "16320c9c1ec72448db59aa0a26a0b95401046bef5d02fd3aeb906448e3055e91"


def test_another_rule_for_the_threshold_reruns_what_stands_behind_it(telco: Path) -> None:
    output = command(telco, "dvc", "exp", "run", "-S", "select.threshold=f1")
    assert ran(output) == ["select", "evaluate", "deploy"]
    assert metrics(telco, "evaluate")["f1"] >= 0.62
    assert metrics(telco, "select")["threshold_by"] == "f1"


def test_on_three_splits_the_winner_averages_085(tmp_path: Path) -> None:
    from stages import evaluate, featurize, load, preprocess, select, train

    knobs = {"data.path": str(TELCO), "data.schema": str(ROOT / "schemas/telco.yaml"), "evaluate.resamples": 100}
    params = with_knobs(yaml.safe_load((ROOT / "params.yaml").read_text()), knobs)

    def roc_auc(seed: int) -> float:
        Path("params.yaml").write_text(yaml.safe_dump(with_knobs(params, {"preprocess.seed": seed}), sort_keys=False))
        for stage in (load, preprocess, featurize):
            stage.main()
        for name in params["train"]["models"]:
            train.main(name)
        select.main()
        evaluate.main()
        return float(metrics(tmp_path, "evaluate")["roc_auc"])

    with contextlib.chdir(tmp_path):
        found = [roc_auc(seed) for seed in (0, 1, 2)]
    assert mean(found) >= 0.850, found
