"""Calibration is logistic regression on log-odds, and never changes the order of customers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from churn.calibration import fit_calibration, logit, sigmoid, stretch

P = st.lists(st.floats(0, 1), min_size=1, max_size=20).map(np.array)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.4, -1.0), (2.5, 0.7)])
def test_it_is_the_logistic_regression_of_scikit_learn(slope: float, intercept: float) -> None:
    rng = np.random.default_rng(1)
    p = rng.beta(1, 3, 2000)
    churned = (rng.random(2000) < stretch(p, slope, intercept)).astype("int64")
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit(p)[:, None], churned)
    assert fit_calibration(churned, p) == pytest.approx((peer.coef_[0, 0], peer.intercept_[0]), abs=1e-6)
    assert fit_calibration(churned, p) == pytest.approx((slope, intercept), abs=0.25)


@pytest.mark.parametrize("doubt", [0.1, 0.3, 0.5])
def test_a_model_that_is_too_sure_of_itself_is_held_back(doubt: float) -> None:
    rng = np.random.default_rng(3)
    sure = rng.normal(0, 4, 3000)
    churned = (rng.random(3000) < sigmoid(doubt * sure - 1)).astype("int64")
    assert fit_calibration(churned, sigmoid(sure)) == pytest.approx((doubt, -1.0), abs=0.15)


def test_calibrated_probabilities_sum_to_the_number_of_leavers() -> None:
    rng = np.random.default_rng(2)
    p, churned = rng.random(500), rng.integers(0, 2, 500)
    assert stretch(p, *fit_calibration(churned, p)).sum() == pytest.approx(churned.sum())


@given(P)
def test_slope_one_and_intercept_zero_change_nothing(p: np.ndarray) -> None:
    np.testing.assert_allclose(stretch(p, 1, 0), p, atol=1.1e-6)


@given(P, st.floats(0.01, 10), st.floats(-5, 5))
def test_the_order_stays_and_all_are_probabilities(p: np.ndarray, slope: float, intercept: float) -> None:
    stretched = stretch(np.sort(p), slope, intercept)
    assert (np.diff(stretched) >= 0).all()
    assert ((stretched >= 0) & (stretched <= 1)).all()
    if slope <= 2:  # else log-odds of up to 138, where doubles end at 1
        assert ((stretched > 0) & (stretched < 1)).all()


@given(st.floats(1e-5, 1 - 1e-5))
def test_sigmoid_undoes_logit(p: float) -> None:
    assert sigmoid(logit(np.array(p))) == pytest.approx(p)


def test_outcomes_that_p_separates_have_a_finite_slope() -> None:
    slope, intercept = fit_calibration(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9]))
    assert np.isfinite([slope, intercept]).all()
    assert slope > 1


def test_a_constant_p_becomes_the_share_of_leavers() -> None:
    churned = np.array([0, 0, 0, 1])
    assert stretch(np.full(4, 0.9), *fit_calibration(churned, np.full(4, 0.9))) == pytest.approx(0.25, abs=1e-4)
