"""The figures made page by page are those of all customers at once, as numpy and SciPy have them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from churn import intervals
from serve.releases.agreement import BINS, Agreement, Comparison, Side, wilson
from tests.factories import guessed

A, B = Side("a", "the first"), Side("b", "the second")
NEAR = 1 / BINS


def compared(p: np.ndarray, threshold: float, pages: int) -> Agreement:
    comparison = Comparison(A, B)
    for page in np.array_split(p, pages):
        comparison.add(page, page >= threshold)
    return comparison.agreement()


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=60), st.integers(1, 5))
def test_pages_add_up_to_the_whole(pairs: list[tuple[float, float]], pages: int) -> None:
    p = np.array(pairs)
    found, (a, b) = compared(p, 0.4, pages), p.T
    distance = np.abs(b - a)
    assert found.customers == len(p) == sum(found.decisions.values())
    assert found.decisions["only_b"] == ((a < 0.4) & (b >= 0.4)).sum()
    assert found.changed == ((a >= 0.4) != (b >= 0.4)).mean()
    assert found.mean_difference == pytest.approx((b - a).mean(), abs=1e-12)
    assert found.difference_max == distance.max()
    for share in (50, 90, 99):
        exact = np.quantile(distance, share / 100, method="inverted_cdf")
        assert getattr(found, f"difference_{share}") == pytest.approx(exact, abs=NEAR)
    for values, side in ((a, "a"), (b, "b")):
        exact = np.quantile(values, 0.5, method="inverted_cdf")
        assert found.probabilities[side]["quantile_50"] == pytest.approx(exact, abs=NEAR)
        assert found.probabilities[side]["mean"] == pytest.approx(values.mean(), abs=1e-12)


def test_the_drift_is_that_of_the_check() -> None:
    """Wasserstein's distance in standard deviations of the first side, as Evidently has it."""
    a = np.random.default_rng(1).beta(0.7, 2.5, 5000)
    b = guessed(a, 0.5, seed=2) ** 1.3
    found = compared(np.column_stack([a, b]), 0.33, 7)
    assert found.drift == pytest.approx(wasserstein_distance(a, b) / a.std(), abs=2 * NEAR / a.std())


def test_a_release_agrees_with_itself() -> None:
    p = np.tile(np.random.default_rng(1).random((100, 1)), 2)
    found = compared(p, 0.5, 3)
    assert (found.changed, found.changed_low, found.drift, found.difference_99, found.difference_max) == (0, 0, 0, 0, 0)


def test_without_customers_nothing_is_known() -> None:
    comparison = Comparison(A, B)
    comparison.add(np.empty((0, 2)), np.empty((0, 2), dtype=bool))
    found = comparison.agreement()
    assert (found.customers, found.changed_low, found.changed_high) == (0, 0, 1)
    assert all(map(math.isnan, (found.changed, found.drift, found.difference_max, found.mean_difference)))


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_the_interval_is_wilson_s(k: int, n: int) -> None:
    k = min(k, n)
    assert wilson(k, n) == pytest.approx(intervals.wilson(k, n), abs=1e-9)
