"""A test of two means that may be looked at every day: its result holds at all looks together, not at each alone.

A plain test at 5 % that is repeated daily until it is significant raises an alarm in three of ten experiments without
any difference. Here the difference D of the means of two independent arms, whose variance is V, is compared with a
mixture of differences from Normal(0, tau^2): the mixture sequential probability ratio test, in information time 1 / V.
Its likelihood ratio

    L = sqrt(V / (V + tau^2)) * exp(D^2 * tau^2 / (2 * V * (V + tau^2)))

is a martingale where there is no difference, so it ever reaches 1 / alpha with a probability of at most alpha (Ville).
p = min(1, 1 / L), and the interval holds the differences that L does not reject. As V is estimated, all this holds in
the limit of many customers, so there is no look before a least number of them.

Measured in tests/churn/test_sequential.py, with 40 customers a day in each arm, 60 daily looks, a deviation of
38 per customer and tau = 2: a difference of 2 is found in 15 % of the experiments, of 4 in 73 %, of 6 in 99 %; without
a difference 1 % raise an alarm, and 29 % by the plain test. tau matters little near the true difference; far below it,
it costs power.

The mixture: Robbins (1970), Statistical methods related to the law of the iterated logarithm, Annals of Mathematical
Statistics 41, 1397-1409. p at any time: Johari, Koomen, Pekelis, Walsh (2017), Peeking at A/B tests, KDD, 1517-1525;
and (2022), Always valid inference: continuous monitoring of A/B tests, Operations Research 70, 1806-1821. With
estimated variances: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (2024), Time-uniform central limit theory and
asymptotic confidence sequences, Annals of Statistics 52, 2613-2640.
"""

from typing import NamedTuple

import numpy as np


class Moments(NamedTuple):
    """Of one arm, as (k,) arrays for k looks: customers, their mean, and their variance (NaN below 2 customers).

    Of customers who count unequally n is the number of equal ones who would tell as much.
    """

    n: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


class Looks(NamedTuple):
    """(k,) each: the difference, the interval around it, and p. Before the first look it is infinite, and p is 1."""

    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray


def moments(n: np.ndarray, total: np.ndarray, squares: np.ndarray) -> Moments:
    """Of n customers, the sum and the sum of squares of their values; (k,) each."""
    return weighted_moments(n, n, total, total, squares)


def weighted_moments(
    weights: np.ndarray, squared: np.ndarray, total: np.ndarray, squared_total: np.ndarray, squares: np.ndarray
) -> Moments:
    """Of customers who count w times: the sums of w, w^2, w * value, w^2 * value and w^2 * value^2; (k,) each.

    variance / n is the variance of the weighted mean, by linearisation.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        n, mean = weights**2 / squared, total / weights
        off = np.maximum(squares - 2 * mean * squared_total + mean**2 * squared, 0)
        variance = off / squared * n / (n - 1)
    return Moments(np.where(weights > 0, n, 0), mean, np.where(n > 1, variance, np.nan))


def running_moments(values: np.ndarray, weights: np.ndarray, look: np.ndarray, k: int) -> Moments:
    """At k looks; values (n,) that count weights (n,) times, look (n,) in 0..k-1 the first that knows a value."""
    middle = values.mean() if len(values) else 0.0  # far from 0 the sum of squares would drown the variance
    off = values - middle
    parts = (weights, weights**2, weights * off, weights**2 * off, weights**2 * off**2)
    n, mean, variance = weighted_moments(*(np.bincount(look, part, minlength=k).cumsum() for part in parts))
    return Moments(n, mean + middle, variance)


def compare(a: Moments, b: Moments, *, tau: float, alpha: float, least: int) -> Looks:
    """Mean of b minus mean of a at each look; tau > 0 in the values' unit, `least` customers in both arms for a look.

    low > 0 or high < 0 exactly where p < alpha. Where no value varies, there is nothing to test with.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = b.mean - a.mean
        v = (a.variance / a.n + b.variance / b.n) / tau**2  # all in units of tau
        log_ratio = (difference / tau) ** 2 / (2 * v * (v + 1)) - np.log1p(1 / v) / 2
        ready = (np.minimum(a.n, b.n) >= max(least, 2)) & (v > 0)
        width = np.where(ready, tau * half_width(v, alpha), np.inf)
        p = np.where(ready, np.exp(-np.maximum(log_ratio, 0)), 1.0)
        return Looks(difference, difference - width, difference + width, p)


def half_width(v: np.ndarray, alpha: float) -> np.ndarray:
    """Of the interval in units of tau, where the difference has the variance v in units of tau^2."""
    return np.sqrt(v * (v + 1) * (np.log1p(1 / v) - 2 * np.log(alpha)))


def variance_to_find(effect: float, *, tau: float, alpha: float) -> float:
    """The variance of the difference at which one as large as `effect` leaves the interval: in half of the runs."""
    exponents = np.linspace(-40, 20, 6001)  # half_width grows with v
    v = np.exp(np.interp(np.log(abs(effect) / tau), np.log(half_width(np.exp(exponents), alpha)), exponents))
    return float(v * tau**2)
