"""Performance without outcomes: what is expected of probabilities is what comes, as long as they mean what they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from churn.calibration import stretch
from churn.intervals import with_intervals
from churn.params import read_knobs
from churn.profit import Profit
from monitoring.check.estimate import ESTIMATES, Calibration, Expected, calibrate, estimate
from tests.conftest import ROOT
from tests.factories import customers

PROFIT = read_knobs("profit", Profit, ROOT / "params.yaml")
EXACT = Calibration(1.0, 0.0, np.zeros((2, 2)))


def expected(p: np.ndarray, flagged: np.ndarray, q: np.ndarray) -> dict[str, float]:
    scores = Expected(p, flagged, PROFIT).scores(q, np.ones((1, len(p))))
    return {key: float(value[0]) for key, value in scores.items()}


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.booleans()), min_size=2, max_size=40))
def test_of_certain_customers_the_expected_scores_are_the_scores(rows: list[tuple[float, bool]]) -> None:
    p, churned = np.array([p for p, _ in rows]), np.array([float(y) for _, y in rows])
    if churned.min() == churned.max():
        return
    flagged = (p > 0.33).astype("float64")
    scores = expected(p, flagged, churned)
    assert scores["roc_auc"] == pytest.approx(roc_auc_score(churned, p))
    assert scores["brier"] == pytest.approx(np.mean((p - churned) ** 2))
    assert scores["recall"] == pytest.approx((flagged * churned).sum() / churned.sum())
    assert scores["profit_per_customer"] == pytest.approx(PROFIT.of(churned, flagged).mean())


@pytest.mark.slow
def test_the_expected_scores_are_the_mean_over_the_outcomes_that_may_come() -> None:
    p, _ = customers(2_000, seed=1)
    flagged = (p >= 0.33).astype("float64")
    rng = np.random.default_rng(2)
    came = [roc_auc_score(rng.random(len(p)) < p, p) for _ in range(200)]
    assert expected(p, flagged, p)["roc_auc"] == pytest.approx(np.mean(came), abs=4 * np.std(came) / np.sqrt(200))


def test_probabilities_that_mean_something_else_are_translated_by_the_reference() -> None:
    p, churned = customers(20_000, seed=3)
    too_sure = stretch(p, 2.0, 0.5)
    curve = calibrate(churned.astype("float64"), too_sure)
    assert (curve.slope, curve.intercept) == pytest.approx((0.5, -0.25), abs=0.05)
    new, came = customers(20_000, seed=4)
    sure = stretch(new, 2.0, 0.5)
    scores = {k: v[0] for k, v in estimate(sure, (sure >= 0.5).astype("float64"), curve, PROFIT, 100, 1).items()}
    assert scores["roc_auc"] == pytest.approx(roc_auc_score(came, sure), abs=0.01)
    assert scores["churn_rate"] == pytest.approx(came.mean(), abs=0.01)


@pytest.mark.slow
def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    everybody, _ = customers(200_000, seed=9)
    truth = expected(everybody, everybody > 0.33, everybody)["roc_auc"]
    hits, trials = 0, 60
    for seed in range(trials):
        known, churned = customers(1_500, seed=1000 + seed)
        curve = calibrate(churned.astype("float64"), known)
        p, _ = customers(1_000, seed=5000 + seed)
        scores = with_intervals(estimate(p, (p > 0.33).astype("float64"), curve, PROFIT, 200, seed))
        hits += scores["roc_auc_low"] < truth < scores["roc_auc_high"]
    assert hits >= 0.87 * trials  # 95 %, and three standard errors of so few trials


def test_what_calibration_does_not_know_widens_the_interval() -> None:
    p, churned = customers(3_000, seed=6)
    flagged = (p > 0.33).astype("float64")
    width = []
    for n in (200, 3_000):
        scores = with_intervals(estimate(p, flagged, calibrate(churned[:n].astype("float64"), p[:n]), PROFIT, 200, 1))
        width.append(scores["roc_auc_high"] - scores["roc_auc_low"])
    sure = with_intervals(estimate(p, flagged, EXACT, PROFIT, 200, 1))
    assert width[0] > 1.5 * width[1] > 1.5 * (sure["roc_auc_high"] - sure["roc_auc_low"])


def test_the_order_of_the_customers_changes_no_estimate() -> None:
    p, _ = customers(500, seed=7)
    flagged = (p > 0.33).astype("float64")
    mixed = np.random.default_rng(1).permutation(500)
    one, other = expected(p, flagged, p), expected(p[mixed], flagged[mixed], p[mixed])
    assert one == pytest.approx(other) and set(one) == set(ESTIMATES)
