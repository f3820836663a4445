"""Intervals of 95 % for one look: of shares by Wilson, of scores by the bootstrap, however many customers there are."""

from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from churn.scores import Weights, resamples

Z = NormalDist().inv_cdf(0.975)
MOST = 10_000  # customers that are resampled: more cost time and show nothing new about the spread
Measure = Callable[[Weights], dict[str, np.ndarray]]


class Interval(NamedTuple):
    """A value with its interval; NaN where there is none."""

    value: float
    low: float
    high: float

    def named(self, key: str) -> dict[str, float]:
        """The value as `key`, its ends as `key`_low and `key`_high, as metrics files and reports have them."""
        return {key: self.value, f"{key}_low": self.low, f"{key}_high": self.high}


def wilson(k: int, n: int, z: float = Z) -> tuple[float, float]:
    """Of a share k / n, as far as z standard errors (Wilson 1927); all of 0 to 1 where n is 0."""
    if not n:
        return 0.0, 1.0
    level = 2 * NormalDist().cdf(z) - 1
    interval = binomtest(k, n).proportion_ci(0.95 if z == Z else level, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap(
    measure_of: Callable[[np.ndarray], Measure], n: int, b: int, seed: int | list[int]
) -> dict[str, np.ndarray]:
    """(1 + b,) each: the value of the n customers, then those of b resamples; `measure_of` takes positions of them.

    Of more than MOST customers a random part is resampled, and the spread is shrunk by the root of its share: the m out
    of n bootstrap (Bickel, Goetze, van Zwet 1997, Statistica Sinica 7, 1-31).
    """
    rng = np.random.default_rng(seed)
    whole = measure_of(np.arange(n))(np.ones((1, n)))
    part = np.arange(n) if n <= MOST else rng.choice(n, MOST, replace=False)
    measure, m = measure_of(part), len(part)
    middle = measure(np.ones((1, m)))
    blocks = [measure(weights) for weights in resamples(m, b, rng)]
    drawn = {key: np.concatenate([block[key] for block in blocks]) for key in whole}
    return {key: np.r_[value, value + (drawn[key] - middle[key]) * np.sqrt(m / n)] for key, value in whole.items()}


def intervals(drawn: Mapping[str, np.ndarray]) -> dict[str, Interval]:
    """Each value of `bootstrap` with its interval; NaN where the customers have no such score."""
    result = {}
    for key, values in drawn.items():
        rest = values[1:][~np.isnan(values[1:])]  # a resample without both outcomes has no ranking
        low, high = np.quantile(rest, [0.025, 0.975]) if len(rest) else (np.nan, np.nan)
        result[key] = Interval(float(values[0]), float(low), float(high))
    return result


def with_intervals(drawn: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The same, flat: key, key_low and key_high."""
    return {name: x for key, interval in intervals(drawn).items() for name, x in interval.named(key).items()}
