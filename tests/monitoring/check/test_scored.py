"""A check of scored files finds in their manifest what a check of their rows finds."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from churn.model_inputs import model_inputs
from churn.params import read_knobs
from churn.profit import Profit
from churn.schema import TARGET
from churn.script import InputError
from monitoring.check.knobs import Limits
from monitoring.check.report import report
from monitoring.check.scored import places, snapshot_of
from serve.releases.store import Store
from serve.score import pieces
from serve.score.__main__ import main as score
from tests.conftest import ROOT

ROWS = 4000


@pytest.fixture
def customers(project: Path) -> pd.DataFrame:
    """Newer and dearer customers than in training, some with gaps, some with a contract that nobody saw."""
    rng = np.random.default_rng(0)
    frame = pd.read_parquet(project / "data/test.parquet").drop(columns=TARGET)
    frame = frame.sample(ROWS, replace=True, random_state=0).reset_index(drop=True)
    frame["tenure"] = (frame["tenure"] * rng.uniform(0.3, 1, ROWS)).round()
    frame["monthly_charges"] *= 1.1
    frame.loc[rng.random(ROWS) < 0.2, "total_charges"] = np.nan
    frame.loc[rng.random(ROWS) < 0.1, "contract"] = "Ten years"
    return frame


def test_drift_quality_and_estimates_are_those_of_the_rows(
    customers: pd.DataFrame, released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "ROWS", 1)
    monkeypatch.setenv("CHURN_RELEASES", str(tmp_path / "releases"))
    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")
    customers.to_parquet(tmp_path / "customers.parquet", row_group_size=1500)
    out = tmp_path / "out"
    assert score([str(tmp_path / "customers.parquet"), str(out), "--processes", "1"]) == 0

    made = snapshot_of(out)
    scored = pd.concat(map(pd.read_parquet, sorted(out.glob("part-*"))), ignore_index=True)
    p, card = scored["churn_probability"], made.card
    inputs = model_inputs(
        customers.drop(columns="customer_id"), card["features"], card["inputs"]["numbers"], card["inputs"]["categories"]
    )
    answers = pd.DataFrame({"p": p, "flagged": (scored["prediction"] == "churn").astype("int64")})
    assert made.standing
    is_one = made.standing.inputs["partner"]
    assert set(is_one) == {0, 1} and is_one.mean() == pytest.approx(inputs["partner"].mean(), abs=1e-3)
    of_rows = made._replace(
        answers=answers, sample=pd.DataFrame({"churn_probability": p}), standing=made.standing._replace(inputs=inputs)
    )
    params = ROOT / "params.yaml"
    limits, profit = read_knobs("monitoring.report", Limits, params), read_knobs("profit", Profit, params)
    (found, _), (expected, _) = report(made, profit, limits), report(of_rows, profit, limits)
    assert found.verdict == expected.verdict == "breach"
    one, other = found.findings, expected.findings
    assert one and other and one.drift and other.drift and one.quality and other.quality and one.estimated
    assert one.customers == ROWS
    assert one.drift.drifted == other.drift.drifted
    for name, feature in other.drift.features.items():
        assert one.drift.features[name].distance == pytest.approx(feature.distance, abs=0.005)
    assert one.drift.prediction == pytest.approx(other.drift.prediction, abs=0.005)
    for name, flaws in other.quality.features.items():
        assert one.quality.features[name] == pytest.approx(flaws, abs=0.01)
    assert other.estimated
    for key in ("roc_auc", "churn_rate", "recall", "precision", "brier", "profit_per_customer"):
        assert getattr(one.estimated, key).value == pytest.approx(getattr(other.estimated, key).value, rel=0.01)


def test_each_place_is_taken_as_often_as_its_share_asks_for() -> None:
    assert np.bincount(places([1, 0, 3, 4], 800), minlength=4).tolist() == [100, 0, 300, 400]


def test_a_folder_that_no_run_has_filled_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no MANIFEST\.json"):
        snapshot_of(tmp_path)
