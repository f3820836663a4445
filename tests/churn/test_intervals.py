"""Intervals for one look: of shares as Wilson's paper has them, of scores right for few and for many customers."""

import numpy as np
import pytest

from churn.intervals import MOST, Measure, bootstrap, wilson, with_intervals
from churn.scores import Weights, total


def test_the_interval_of_a_share_is_wilson_s() -> None:
    # Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 3
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_of_nobody_any_share_may_be() -> None:
    assert wilson(0, 0) == (0, 1)


@pytest.mark.parametrize("n", [200, 4 * MOST])
def test_the_bootstrap_of_a_mean_is_as_wide_as_theory_says(n: int) -> None:
    values = np.random.default_rng(0).exponential(size=n)

    def measure_of(rows: np.ndarray) -> Measure:
        def measure(w: Weights) -> dict[str, np.ndarray]:
            return {"mean": total(w, values[rows]) / w.sum(axis=1)}

        return measure

    found = with_intervals(bootstrap(measure_of, n, 400, [1]))
    assert found["mean"] == pytest.approx(values.mean())
    assert found["mean_low"] < found["mean"] < found["mean_high"]
    theory = 2 * 1.96 * values.std() / np.sqrt(n)
    assert found["mean_high"] - found["mean_low"] == pytest.approx(theory, rel=0.15)


def test_a_score_that_no_resample_has_is_nan() -> None:
    found = with_intervals({"roc_auc": np.full(5, np.nan)})
    assert np.isnan(list(found.values())).all()
