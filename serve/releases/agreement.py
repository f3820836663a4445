"""How far two releases agree on the same customers: the figures and words of a replay, the gate and the shadow report.

Figures are made page by page from counts, so that memory does not grow with the customers: a quantile or a distance is
off by 1 / BINS at most.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

BINS = 10_000  # of [0, 1]
LEAST_DEVIATION = 0.001  # of probabilities, in units of which a distance is told; as Evidently has it
QUANTILES = (0.1, 0.5, 0.9)
DISTANCES = (0.5, 0.9, 0.99)


class Side(NamedTuple):
    """One of the two: its name among keys, and in sentences."""

    key: str
    words: str


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The fields are keys of JSON; NaN where there is no customer."""

    customers: int
    changed: float  # share of the customers with another decision, and its 95 % interval
    changed_low: float
    changed_high: float
    decisions: dict[str, int]
    mean_difference: float  # of probabilities, the second side's minus the first one's
    difference_50: float  # quantiles of its size
    difference_90: float
    difference_99: float
    difference_max: float
    drift: float  # Wasserstein's distance of the probabilities in standard deviations of the first side's
    probabilities: dict[str, dict[str, float]]  # side -> mean and quantiles


class Comparison:
    """Probabilities and decisions of two sides, added as they come."""

    def __init__(self, before: Side, after: Side):
        self.sides = before, after
        self.counts = np.zeros((2, 2), dtype="int64")  # decisions before, after
        self.histograms = np.zeros((2, BINS + 1), dtype="int64")
        self.distances = np.zeros(BINS + 1, dtype="int64")
        self.sums, self.squares, self.largest = np.zeros(2), 0.0, 0.0

    def add(self, p: np.ndarray, flagged: np.ndarray) -> None:
        """Probabilities and decisions (n, 2) of n customers, before and after."""
        if not len(p):
            return
        np.add.at(self.counts, (flagged[:, 0].astype(int), flagged[:, 1].astype(int)), 1)
        distance = np.abs(p[:, 1] - p[:, 0])
        for histogram, values in ((self.histograms[0], p[:, 0]), (self.histograms[1], p[:, 1])):
            histogram += counted(values)
        self.distances += counted(distance)
        self.sums += p.sum(axis=0)
        self.squares += float((p[:, 0] ** 2).sum())
        self.largest = max(self.largest, float(distance.max()))

    def agreement(self) -> Agreement:
        n = int(self.counts.sum())
        found = decisions(self.counts, *self.sides)
        changed = int(self.counts[0, 1] + self.counts[1, 0])
        low, high = wilson(changed, n)
        means = self.sums / n if n else np.full(2, math.nan)
        sizes = [min(quantile(self.distances, q), self.largest) for q in DISTANCES] if n else [math.nan] * 3
        return Agreement(
            customers=n,
            changed=changed / n if n else math.nan,
            changed_low=low,
            changed_high=high,
            decisions=found,
            mean_difference=float(means[1] - means[0]),
            difference_50=sizes[0],
            difference_90=sizes[1],
            difference_99=sizes[2],
            difference_max=self.largest if n else math.nan,
            drift=self._drift(n, float(means[0])),
            probabilities={
                side.key: {"mean": float(mean)} | {f"quantile_{q * 100:.0f}": quantile(counts, q) for q in QUANTILES}
                for side, mean, counts in zip(self.sides, means, self.histograms, strict=True)
            },
        )

    def _drift(self, n: int, mean: float) -> float:
        if not n:
            return math.nan
        shares = np.cumsum(self.histograms, axis=1) / n
        deviation = math.sqrt(max(self.squares / n - mean**2, 0.0))
        return float(np.abs(shares[1] - shares[0]).sum() / BINS / max(deviation, LEAST_DEVIATION))


def counted(values: np.ndarray) -> np.ndarray:
    """(BINS + 1,) how many lie in each bin, which its upper end belongs to; the first one is of zeros alone."""
    return np.bincount(np.ceil(values * BINS).astype(int), minlength=BINS + 1)


def quantile(counts: np.ndarray, share: float) -> float:
    """The upper end of the bin with that quantile; NaN where there are none."""
    upto = np.cumsum(counts)
    return float(np.searchsorted(upto, share * upto[-1]) / BINS) if upto[-1] else math.nan


def wilson(k: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share k / n (Wilson 1927), as churn.intervals has it with SciPy; 0 to 1 where n is 0."""
    if not n:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.975)
    middle, spread = (k + z**2 / 2) / (n + z**2), z / (n + z**2) * math.sqrt(k * (n - k) / n + z**2 / 4)
    return (max(middle - spread, 0.0) if k else 0.0), (min(middle + spread, 1.0) if k < n else 1.0)


def decisions(counts: np.ndarray, before: Side, after: Side) -> dict[str, int]:
    """How many of the customers each side flags; counts (2, 2) by the decisions before and after."""
    return {
        "neither": int(counts[0, 0]),
        "both": int(counts[1, 1]),
        f"only_{before.key}": int(counts[1, 0]),
        f"only_{after.key}": int(counts[0, 1]),
    }


def decision_words(changed: str, decisions: Mapping[str, int], before: Side, after: Side) -> str:
    return (
        f"decisions that differ {changed}: flagged by {after.words} alone {decisions[f'only_{after.key}']:,}, by "
        f"{before.words} alone {decisions[f'only_{before.key}']:,}, by both {decisions['both']:,}, by neither "
        f"{decisions['neither']:,}"
    )


def difference_words(mean: float, sizes: Sequence[float], before: Side, after: Side) -> str:
    """`sizes` are the quantiles 50, 90, 99 and 100 of the difference's size."""
    half, most, nearly_all, largest = sizes
    return (
        f"{after.words.removeprefix('the ')}'s probability minus {before.words}'s: mean {mean:+.4f}; distance: half "
        f"below {half:.4f}, 90 % below {most:.4f}, 99 % below {nearly_all:.4f}, at most {largest:.4f}"
    )
