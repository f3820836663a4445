"""Performance without outcomes, from the probabilities alone: confidence-based performance estimation.

Where p is what it says, P(churned = 1), a customer who is flagged is a hit with p and a false alarm with 1 - p: the
sums over the customers are the expected confusion matrix, and with it ROC AUC, recall or profit. NannyML calls it CBPE
(nannyml.readthedocs.io, "How it works: performance estimation"); Guillory et al. 2021 (ICCV, 1134-1144) and Garg et al.
2022 (ICLR, "Leveraging unlabeled data to predict out-of-distribution performance") study such estimates. It sees what
a change of inputs does to a model; it is blind to a change of who leaves, for p is all that it knows
(monitoring.realised looks for that).
"""

from typing import NamedTuple

import numpy as np

from churn.calibration import fit_calibration, logit, sigmoid
from churn.intervals import MOST, Measure, bootstrap
from churn.profit import Profit
from churn.scores import Weights, total

ESTIMATES = ("roc_auc", "churn_rate", "recall", "precision", "brier", "profit_per_customer")
BLOCK = 2_000_000  # numbers of a matrix at a time


class Calibration(NamedTuple):
    """q = sigmoid(slope * logit(p) + intercept), and how sure that is."""

    slope: float
    intercept: float
    covariance: np.ndarray  # (2, 2)

    def __call__(self, p: np.ndarray) -> np.ndarray:
        return sigmoid(self.slope * logit(p) + self.intercept)

    def drawn(self, p: np.ndarray, b: int, seed: list[int]) -> np.ndarray:
        """(b, n) probabilities by b calibrations that might as well be the true one."""
        draws = np.random.default_rng(seed).multivariate_normal([self.slope, self.intercept], self.covariance, b)
        return sigmoid(draws[:, :1] * logit(p) + draws[:, 1:])


def calibrate(churned: np.ndarray, p: np.ndarray) -> Calibration:
    """What the probabilities of customers with known outcomes, both there, have to become to be true of them.

    The covariance is the inverse of the curvature of the log likelihood, as in any logistic regression.
    """
    slope, intercept = fit_calibration(churned, p)
    x = logit(p)
    q = sigmoid(slope * x + intercept)
    w = q * (1 - q)
    curvature = np.array([[(w * x * x).sum(), (w * x).sum()], [(w * x).sum(), w.sum()]])
    return Calibration(slope, intercept, np.linalg.inv(curvature + 1e-6 * np.eye(2)))


class Expected:
    """The expected scores of customers with probabilities p and decisions flagged, both (n,)."""

    def __init__(self, p: np.ndarray, flagged: np.ndarray, profit: Profit):
        self.order = np.argsort(-p, kind="stable")
        self.p, self.flagged, self.profit = p[self.order], flagged[self.order].astype("float64"), profit
        self.starts = np.flatnonzero(np.r_[True, np.diff(self.p) != 0])

    def scores(self, q: np.ndarray, w: Weights) -> dict[str, np.ndarray]:
        """(b,) each of ESTIMATES, where customers leave with q, (n,) or (b, n), and count w, (b, n) or (1, n)."""
        q, w = q[..., self.order], w[:, self.order]
        left = w * q
        positive = np.add.reduceat(left, self.starts, axis=1)
        negative = np.add.reduceat(w - left, self.starts, axis=1)
        n_positive, n_negative = positive.sum(axis=1), negative.sum(axis=1)
        lower = n_negative[:, None] - negative.cumsum(axis=1) + negative / 2  # ties count half
        n, hits, alarms = n_positive + n_negative, total(left, self.flagged), total(w, self.flagged)
        earned = self.profit.of(q, self.flagged)  # linear in churned: what is expected goes in and comes out
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "roc_auc": (lower * positive).sum(axis=1) / (n_positive * n_negative),
                "churn_rate": n_positive / n,
                "recall": hits / n_positive,
                "precision": hits / alarms,
                "brier": (w * ((self.p - q) ** 2 + q * (1 - q))).sum(axis=1) / n,
                "profit_per_customer": (w * earned).sum(axis=1) / n,
            }


def estimate(
    p: np.ndarray, flagged: np.ndarray, calibration: Calibration, profit: Profit, b: int, seed: int
) -> dict[str, np.ndarray]:
    """(1 + b,) for each of ESTIMATES of the n customers: the value, then draws that show how far it may be off.

    What may be off is which customers came (resampled) and how well the probabilities are known to be calibrated.
    """
    q = calibration(p)

    def measure_of(rows: np.ndarray) -> Measure:
        expected, here = Expected(p[rows], flagged[rows], profit), q[rows]
        return lambda w: expected.scores(here, w)

    found = bootstrap(measure_of, len(p), b, [seed, 0])
    off = calibration_error(p, flagged, calibration, profit, b, seed)
    return {key: np.r_[values[:1], values[1:] + off[key]] for key, values in found.items()}


def calibration_error(
    p: np.ndarray, flagged: np.ndarray, calibration: Calibration, profit: Profit, b: int, seed: int
) -> dict[str, np.ndarray]:
    """(b,) each: by how much the estimates would be others under other calibrations that might be the true one."""
    rng = np.random.default_rng([seed, 1])
    part = np.arange(len(p)) if len(p) <= MOST else rng.choice(len(p), MOST, replace=False)
    p, flagged = p[part], flagged[part]
    expected, once = Expected(p, flagged, profit), np.ones((1, len(p)))
    middle = expected.scores(calibration(p), once)
    step = max(1, BLOCK // len(p))
    blocks = [
        expected.scores(calibration.drawn(p, min(step, b - start), [seed, 2, start]), once)
        for start in range(0, b, step)
    ]
    return {key: np.concatenate([block[key] for block in blocks]) - middle[key] for key in middle}
