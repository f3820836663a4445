"""Performance by outcomes: no alarm where customers leave as promised, one where they do not."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from churn.calibration import stretch
from churn.params import read_knobs
from churn.profit import Profit
from monitoring.check.estimate import calibrate
from monitoring.check.findings import Realised
from monitoring.check.knobs import Limits
from monitoring.check.realised import concept_drift, realised, recalibration, selection
from tests.conftest import ROOT
from tests.factories import customers, guessed

PROFIT = read_knobs("profit", Profit, ROOT / "params.yaml")
LIMITS = read_knobs("monitoring.report", Limits, ROOT / "params.yaml")
CURVE = calibrate(*[values.astype("float64") for values in customers(5_000, seed=99)][::-1])


def frame(p: np.ndarray, churned: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"p": p, "flagged": (p >= 0.33) * 1.0, "churned": churned * 1.0, "weight": 1.0})


def scored(p: np.ndarray, churned: np.ndarray, resamples: int = 200) -> Realised:
    return realised(frame(p, churned), CURVE, PROFIT, resamples, 1)


def test_the_scores_are_scikit_learn_s() -> None:
    p, churned = customers(800, seed=1)
    scores = scored(p, churned)
    assert scores.roc_auc.value == pytest.approx(roc_auc_score(churned, p))
    assert scores.brier.value == pytest.approx(brier_score_loss(churned, p))
    assert scores.labelled == 800


@pytest.mark.slow
def test_customers_who_leave_as_promised_are_no_concept_drift() -> None:
    alarms = [concept_drift(scored(*customers(700, seed)), LIMITS).found for seed in range(40)]
    assert sum(alarms) <= 1


def test_an_order_that_no_longer_holds_is_found() -> None:
    for seed in range(10):
        p, churned = customers(1_000, seed)
        scores = scored(guessed(p, 1.5, seed), churned)
        assert scores.roc_auc_gap.value < 0 and concept_drift(scores, LIMITS).ranks_worse


def test_rates_that_no_longer_hold_are_found_though_the_order_does() -> None:
    p, churned = customers(1_500, seed=3)
    scores = scored(stretch(p, 1.0, -1.0), churned)
    concept = concept_drift(scores, LIMITS)
    assert concept.rates_off and not concept.ranks_worse
    assert scores.intercept.low > 0.5


@pytest.mark.slow
def test_a_million_customers_cry_no_wolf_over_a_trifle() -> None:
    p, churned = customers(400_000, seed=4)
    curve = recalibration(churned * 1.0, stretch(p, 1.0, 0.1), np.ones(len(p)))
    assert curve.p_calibrated < 1e-6 and curve.miscalibration < 0.03


@pytest.mark.slow
def test_the_calibration_test_rejects_the_calibrated_as_seldom_as_it_says() -> None:
    p_values = [recalibration(churned * 1.0, p, np.ones(len(p))).p_calibrated for p, churned in map(sample, range(300))]
    assert 0.02 < np.mean(np.array(p_values) < 0.05) < 0.09


def sample(seed: int) -> tuple[np.ndarray, np.ndarray]:
    return customers(500, seed)


def test_outcomes_of_leavers_alone_are_seen_to_be_selected() -> None:
    p, churned = customers(3_000, seed=5)
    anybody = np.random.default_rng(1).random(3_000) < 0.6
    assert abs(selection(p, anybody)) < 0.1 < selection(p, churned)
    assert selection(p, np.zeros(3_000, bool)) == selection(p, np.ones(3_000, bool)) == 0
