"""The scorer gives the release's probabilities from plain records, and needs none of the training's libraries."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from churn.release import GOLDEN, ReleaseError
from churn.scorer import Scorer
from tests.conftest import ROOT
from tests.factories import reseal

HEAVY = ("pandas", "sklearn", "mlflow", "joblib", "xgboost", "onnx", "skl2onnx", "matplotlib", "scipy")


@pytest.fixture(scope="module")
def scorer(released: Path) -> Scorer:
    return Scorer.open(released)


@pytest.fixture
def golden(scorer: Scorer) -> list[dict[str, Any]]:
    return [line["customer"] for line in scorer.release.golden()]


def resealed(released: Path, folder: Path, golden: list[dict[str, Any]]) -> Path:
    """A whole bundle whose golden lines are these."""
    shutil.copytree(released, folder)
    (folder / GOLDEN).write_text("".join(json.dumps(line) + "\n" for line in golden))
    reseal(folder)
    return folder


def test_opening_and_scoring_imports_no_library_of_the_training(released: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from churn.scorer import Scorer
from tests.factories import reseal
scorer = Scorer.open(Path({str(released)!r}))
p = scorer.probabilities([scorer.release.golden()[0]["customer"]])
assert 0 < p[0] < 1
print(*sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_the_scorer_says_what_the_pickled_pipeline_says(scorer: Scorer, golden: list[dict[str, Any]]) -> None:
    from churn.model import load_model

    frame = pd.DataFrame(golden).astype({"tenure": "float64", "monthly_charges": "float64", "total_charges": "float64"})
    p = load_model(scorer.release.folder / "model.joblib").predict_proba(frame)[:, 1]
    np.testing.assert_allclose(scorer.probabilities(golden), p, rtol=0, atol=1e-6)


def test_one_customer_scores_as_in_a_batch(scorer: Scorer, golden: list[dict[str, Any]]) -> None:
    alone = [scorer.probabilities([customer])[0] for customer in golden]
    # float32 sums of a batch differ in the last digits
    np.testing.assert_allclose(alone, scorer.probabilities(golden), rtol=0, atol=1e-6)


def test_the_order_of_customers_is_the_order_of_probabilities(scorer: Scorer, golden: list[dict[str, Any]]) -> None:
    p = scorer.probabilities(golden)
    assert len(set(p.tolist())) > 10
    np.testing.assert_allclose(scorer.probabilities(golden[::-1]), p[::-1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["tenure", "contract", "partner", "total_charges"])
def test_a_missing_value_is_null_or_left_out(scorer: Scorer, golden: list[dict[str, Any]], name: str) -> None:
    null = [customer | {name: None} for customer in golden]
    left_out = [{key: value for key, value in customer.items() if key != name} for customer in golden]
    p = scorer.probabilities(null)
    assert p.tolist() == scorer.probabilities(left_out).tolist()
    assert ((p > 0) & (p < 1)).all()


def test_a_missing_level_is_not_the_same_as_a_known_one(scorer: Scorer, golden: list[dict[str, Any]]) -> None:
    customer = golden[0] | {"contract": "Month-to-month"}
    p = scorer.probabilities([customer, customer | {"contract": None}, customer | {"contract": "never seen"}])
    assert p[0] != p[1] == p[2]  # training had none missing, so both are encoded as no level at all


def test_probabilities_are_double(scorer: Scorer, golden: list[dict[str, Any]]) -> None:
    p = scorer.probabilities(golden)
    assert (p.dtype, p.shape) == (np.dtype("float64"), (len(golden),))


def test_columns_come_in_their_types(scorer: Scorer) -> None:
    columns = scorer.columns([{"tenure": 3, "partner": True, "contract": "One year"}, {}])
    assert columns["tenure"].tolist() == pytest.approx([3.0, np.nan], nan_ok=True)
    assert columns["partner"].tolist() == pytest.approx([1.0, np.nan], nan_ok=True)
    assert columns["contract"].tolist() == ["One year", None]


def test_another_golden_probability_is_refused_with_its_customer(
    scorer: Scorer, released: Path, tmp_path: Path
) -> None:
    lines = scorer.release.golden()
    p = lines[6]["churn_probability"]
    lines[6]["churn_probability"] = p + 2e-6
    folder = resealed(released, tmp_path / "moved", lines)
    with pytest.raises(ReleaseError) as error:
        Scorer.open(folder)
    assert str(error.value) == (
        f"release {folder}: golden customer 7 scores {p:.7f}, recorded is {p + 2e-6:.7f}; deploy it again"
    )


def test_a_golden_probability_that_is_none_is_refused(scorer: Scorer, released: Path, tmp_path: Path) -> None:
    lines = scorer.release.golden()
    lines[6]["churn_probability"] = float("nan")
    with pytest.raises(ReleaseError, match="golden customer 7 scores"):
        Scorer.open(resealed(released, tmp_path / "moved", lines))


def test_a_last_digit_is_no_reason_to_refuse(scorer: Scorer, released: Path, tmp_path: Path) -> None:
    lines = [line | {"churn_probability": line["churn_probability"] + 5e-7} for line in scorer.release.golden()]
    Scorer.open(resealed(released, tmp_path / "near", lines))
