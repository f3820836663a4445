"""The sequential test: seldom wrong however often one looks, finds what is there, and the laws of its interval."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from churn.sequential import Looks, Moments, compare, moments, running_moments, variance_to_find

EARNED = np.array([0.0, -40.0, 80.0])  # nothing offered, offered to one who stays, offered to one who leaves
USUAL = np.array([0.65, 0.15, 0.20])  # of the customers: mean 10, deviation 38
RARE = np.array([0.97, 0.02, 0.01])  # one in a hundred earns anything
EXPERIMENTS, DAYS = 1000, 60


def simulated(shares: np.ndarray, other: np.ndarray, per_day: tuple[int, int], days: int = DAYS) -> list[Moments]:
    """Of both arms, (EXPERIMENTS, days) each: what is known at the end of each day."""
    rng = np.random.default_rng(7)
    arms = []
    for p, k in zip((shares, other), per_day, strict=True):
        seen = rng.multinomial(k, p, size=(EXPERIMENTS, days)).cumsum(axis=1)
        arms.append(moments(seen.sum(axis=-1), seen @ EARNED, seen @ EARNED**2))
    return arms


def share_found(a: Moments, b: Moments, tau: float) -> float:
    """In how many experiments p is below 5 % on any day."""
    return float((compare(a, b, tau=tau, alpha=0.05, least=100).p < 0.05).any(axis=1).mean())


@pytest.mark.parametrize("tau", [1.0, 2.0, 10.0])
@pytest.mark.parametrize("per_day", [(40, 40), (180, 20)])
@pytest.mark.parametrize("shares", [USUAL, RARE], ids=["usual", "rare"])
def test_experiments_without_a_difference_seldom_raise_an_alarm_on_any_day(
    shares: np.ndarray, per_day: tuple[int, int], tau: float
) -> None:
    assert share_found(*simulated(shares, shares, per_day), tau) <= 0.05


def test_a_plain_test_every_day_raises_many() -> None:
    a, b = simulated(USUAL, USUAL, (40, 40))
    ready = np.minimum(a.n, b.n) >= 100
    z = np.abs(b.mean - a.mean)[ready] / np.sqrt(a.variance / a.n + b.variance / b.n)[ready]
    assert (z.reshape(EXPERIMENTS, -1) > 1.96).any(axis=1).mean() > 0.2


@pytest.mark.parametrize(("more", "least", "most"), [(2, 0.10, 0.25), (4, 0.68, 0.80), (6, 0.97, 1.0)])
def test_of_real_differences_it_finds_as_many_as_its_docstring_says(more: float, least: float, most: float) -> None:
    better = USUAL + np.array([-1, 0, 1]) * more / 80
    a, b = simulated(USUAL, better, (40, 40))
    assert least <= share_found(a, b, tau=2.0) <= most


def test_the_variance_to_find_an_effect_is_where_half_of_the_runs_found_it() -> None:
    better = USUAL + np.array([-1, 0, 1]) * 4 / 80
    variance = sum(float(p @ EARNED**2 - (p @ EARNED) ** 2) for p in (USUAL, better))
    needed = variance / variance_to_find(4.0, tau=4.0, alpha=0.05)
    a, b = simulated(USUAL, better, (round(needed / DAYS), round(needed / DAYS)))
    low = compare(a, b, tau=4.0, alpha=0.05, least=100).low[:, -1]
    assert (low > 0).mean() == pytest.approx(0.5, abs=0.06)


@st.composite
def arms(draw: st.DrawFn) -> tuple[Moments, Moments]:
    one = st.tuples(st.integers(2, 10**6), st.floats(-100, 100), st.floats(0.01, 1e4))
    a, b = draw(one), draw(one)
    return tuple(Moments(*(np.array([value]) for value in arm)) for arm in (a, b))  # type: ignore[return-value]


TAUS, ALPHAS = st.floats(0.01, 100), st.floats(0.001, 0.5)


@given(arms(), TAUS, ALPHAS)
def test_the_interval_holds_the_difference_and_excludes_0_where_p_is_small(
    both: tuple[Moments, Moments], tau: float, alpha: float
) -> None:
    looks = compare(*both, tau=tau, alpha=alpha, least=2)
    assert looks.low < looks.difference < looks.high
    assert 0 <= looks.p <= 1
    assume(abs(looks.p[0] - alpha) > 1e-9)
    assert ((looks.low > 0) | (looks.high < 0)) == (looks.p < alpha)


@given(arms(), st.floats(0.1, 10), ALPHAS, st.sampled_from([0.99, 1.01]), st.sampled_from([-1, 1]))
def test_p_passes_alpha_where_the_interval_passes_0(
    both: tuple[Moments, Moments], tau: float, alpha: float, just: float, sign: int
) -> None:
    a, b = both
    looks = compare(a, b, tau=tau, alpha=alpha, least=2)
    width = looks.high - looks.difference
    b = b._replace(mean=a.mean + sign * just * width)
    assert (compare(a, b, tau=tau, alpha=alpha, least=2).p < alpha) == (just > 1)


@pytest.mark.parametrize("difference", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("tau", [0.5, 2.0])
def test_p_is_one_over_the_mean_likelihood_ratio_of_the_mixture(difference: float, tau: float) -> None:
    a, b = (Moments(np.array([50]), np.array([mean]), np.array([20.0])) for mean in (1.0, 1.0 + difference))
    v, other = 0.8, np.linspace(-40, 40, 80_001)
    ratio = np.exp((difference**2 - (difference - other) ** 2) / (2 * v))
    mixture = np.exp(-(other**2) / (2 * tau**2)) / np.sqrt(2 * np.pi * tau**2)
    mean = np.trapezoid(ratio * mixture, other)
    assert compare(a, b, tau=tau, alpha=0.05, least=2).p[0] == pytest.approx(min(1, 1 / mean))


@given(arms(), TAUS, ALPHAS)
def test_swapped_arms_flip_the_sign(both: tuple[Moments, Moments], tau: float, alpha: float) -> None:
    a, b = both
    there, back = compare(a, b, tau=tau, alpha=alpha, least=2), compare(b, a, tau=tau, alpha=alpha, least=2)
    assert same(back, Looks(-there.difference, -there.high, -there.low, there.p))


@given(arms(), TAUS, ALPHAS, st.floats(0.01, 100))
def test_in_cents_it_says_the_same(both: tuple[Moments, Moments], tau: float, alpha: float, unit: float) -> None:
    looks = compare(*both, tau=tau, alpha=alpha, least=2)
    scaled = [Moments(arm.n, arm.mean * unit, arm.variance * unit**2) for arm in both]
    again = compare(scaled[0], scaled[1], tau=tau * unit, alpha=alpha, least=2)
    assert same(again, Looks(*(side * unit for side in looks[:3]), looks.p))


def same(a: Looks, b: Looks) -> bool:
    return all(np.allclose(x, y, rtol=1e-6, atol=1e-9) for x, y in zip(a, b, strict=True))


@given(st.lists(st.tuples(st.floats(-100, 100), st.integers(0, 4)), max_size=30))
def test_running_moments_are_those_of_all_that_is_known_by_then(rows: list[tuple[float, int]]) -> None:
    values, look = np.array([v for v, _ in rows]), np.array([i for _, i in rows], dtype="int64")
    running = running_moments(values, np.ones(len(values)), look, 5)
    for i in range(5):
        known = values[look <= i]
        assert running.n[i] == len(known)
        assert len(known) < 1 or running.mean[i] == pytest.approx(known.mean(), abs=1e-9)
        assert len(known) < 2 or running.variance[i] == pytest.approx(known.var(ddof=1), abs=1e-6)


@pytest.mark.parametrize("arm", [(99, 5.0, 1.0), (0, np.nan, np.nan), (500, 5.0, 0.0)])
def test_before_the_least_number_and_where_nothing_varies_it_says_nothing(arm: tuple[float, ...]) -> None:
    few = Moments(*(np.array([value]) for value in arm))
    other = Moments(np.array([500]), np.array([0.0]), np.array([0.0 if arm[0] == 500 else 1.0]))
    for a, b in ((few, other), (other, few)):
        looks = compare(a, b, tau=1.0, alpha=0.05, least=100)
        assert (looks.p[0], looks.low[0] > 0, looks.high[0] < 0) == (1, False, False)


def test_a_smaller_effect_needs_a_smaller_variance() -> None:
    needed = [variance_to_find(effect, tau=2.0, alpha=0.05) for effect in (0.5, 1.0, 2.0, 4.0)]
    assert all(small < large for small, large in pairwise(needed))


@given(st.lists(st.tuples(st.floats(-100, 100), st.integers(0, 4)), min_size=2, max_size=30), st.floats(0.1, 20))
def test_customers_who_all_count_alike_tell_the_same_however_often(
    rows: list[tuple[float, int]], weight: float
) -> None:
    values, look = np.array([v for v, _ in rows]), np.array([i for _, i in rows], dtype="int64")
    once, often = (running_moments(values, np.full(len(values), w), look, 5) for w in (1.0, weight))
    for a, b in zip(once, often, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-6)


def test_the_variance_of_a_weighted_mean_is_that_of_its_resamples() -> None:
    rng = np.random.default_rng(1)
    values, weights = rng.normal(5, 3, 2_000), rng.choice([1.0, 10.0], 2_000, p=[0.9, 0.1])
    arm = running_moments(values, weights, np.zeros(2_000, dtype="int64"), 1)
    draws = rng.integers(0, 2_000, (2_000, 2_000))
    means = (weights[draws] * values[draws]).sum(axis=1) / weights[draws].sum(axis=1)
    assert arm.mean[0] == pytest.approx(np.average(values, weights=weights))
    assert arm.variance[0] / arm.n[0] == pytest.approx(means.var(), rel=0.1)
