"""Performance without outcomes, from the probabilities alone: confidence-based performance estimation.

Where p is calibrated, p = P(churned = 1), a flagged customer is a hit with probability p and a false alarm with 1 - p.
Summed over the customers this is the expected confusion matrix, and from it come ROC AUC, recall or profit. NannyML
calls the method CBPE (nannyml.readthedocs.io, "How it works: performance estimation"); Guillory et al. 2021 (ICCV,
1134-1144) and Garg et al. 2022 (ICLR, "Leveraging unlabeled data to predict out-of-distribution performance") study
such estimates. The estimate shows what a change of inputs does to a model. It is blind to a change in why customers
leave, for p is all that it knows; monitoring.check.realised looks for that.
"""

from typing import NamedTuple

import numpy as np

from churn.calibration import fit_calibration, logit, sigmoid
from churn.intervals import MOST, Measure, bootstrap
from churn.profit import Profit
from churn.scores import Weights, roc_auc, starts_of_ties, total

ESTIMATES = ("roc_auc", "churn_rate", "recall", "precision", "brier", "profit_per_customer")
MAX_CELLS = 2_000_000  # of a matrix at a time


class Calibration(NamedTuple):
    """q = sigmoid(slope * logit(p) + intercept), and the uncertainty of slope and intercept."""

    slope: float
    intercept: float
    covariance: np.ndarray  # (2, 2)

    def __call__(self, p: np.ndarray) -> np.ndarray:
        return sigmoid(self.slope * logit(p) + self.intercept)

    def drawn(self, p: np.ndarray, b: int, seed: list[int]) -> np.ndarray:
        """(b, n) probabilities by b calibrations drawn from their distribution."""
        draws = np.random.default_rng(seed).multivariate_normal([self.slope, self.intercept], self.covariance, b)
        return sigmoid(draws[:, :1] * logit(p) + draws[:, 1:])


def calibrate(churned: np.ndarray, p: np.ndarray, weights: np.ndarray | float = 1.0) -> Calibration:
    """The calibration of p (n,) that fits the outcomes churned (n,), both of which must occur.

    The covariance is the inverse of the curvature of the log likelihood, as in any logistic regression, times
    `design_effect`.
    """
    slope, intercept = fit_calibration(churned, p, weights)
    x = logit(p)
    q = sigmoid(slope * x + intercept)
    covariance = np.linalg.inv(curvature(x, weights * q * (1 - q)) + 1e-6 * np.eye(2))
    return Calibration(slope, intercept, covariance * design_effect(x, q, weights))


def curvature(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(2, 2) of the log likelihood of slope and intercept at log-odds x (n,)."""
    return np.array([[(w * x * x).sum(), (w * x).sum()], [(w * x).sum(), w.sum()]])


def design_effect(x: np.ndarray, q: np.ndarray, weights: np.ndarray | float) -> float:
    """How many times unequal weights multiply the variance of a calibration and its likelihood ratio; 1 for equal ones.

    The mean of the generalised design effects: Rao, Scott 1984, Annals of Statistics 12, 46-60.
    """
    if np.ptp(weights) == 0:
        return 1.0
    w, ridge = weights * q * (1 - q), 1e-6 * np.eye(2)
    return float(np.trace(np.linalg.solve(curvature(x, w) + ridge, curvature(x, weights * w))) / 2)


class Expected:
    """The expected scores of customers with probabilities p and decisions flagged, both (n,)."""

    def __init__(self, p: np.ndarray, flagged: np.ndarray, profit: Profit):
        self.order = np.argsort(-p, kind="stable")
        self.p, self.flagged, self.profit = p[self.order], flagged[self.order].astype("float64"), profit
        self.starts = starts_of_ties(self.p)

    def scores(self, q: np.ndarray, w: Weights) -> dict[str, np.ndarray]:
        """(b,) each of ESTIMATES; customers leave with probability q, (n,) or (b, n), and weigh w, (b, n) or (1, n)."""
        q, w = q[..., self.order], w[:, self.order]
        left = w * q
        positive = np.add.reduceat(left, self.starts, axis=1)
        negative = np.add.reduceat(w - left, self.starts, axis=1)
        n_positive, n_negative = positive.sum(axis=1), negative.sum(axis=1)
        n, hits, alarms = n_positive + n_negative, total(left, self.flagged), total(w, self.flagged)
        earned = self.profit.of(q, self.flagged)  # linear in churned: expected profit from expected churn
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "roc_auc": roc_auc(positive, negative),
                "churn_rate": n_positive / n,
                "recall": hits / n_positive,
                "precision": hits / alarms,
                "brier": (w * ((self.p - q) ** 2 + q * (1 - q))).sum(axis=1) / n,
                "profit_per_customer": (w * earned).sum(axis=1) / n,
            }


def estimate(
    p: np.ndarray, flagged: np.ndarray, calibration: Calibration, profit: Profit, b: int, seed: int
) -> dict[str, np.ndarray]:
    """(1 + b,) for each of ESTIMATES of the n customers: the value, then b draws that show its uncertainty.

    It has two sources: which customers came (they are resampled), and the calibration (it is drawn).
    """
    q = calibration(p)

    def measure_of(rows: np.ndarray) -> Measure:
        expected, here = Expected(p[rows], flagged[rows], profit), q[rows]
        return lambda w: expected.scores(here, w)

    drawn = bootstrap(measure_of, len(p), b, [seed, 0])
    off = calibration_error(p, flagged, np.ones(len(p)), calibration, profit, b, seed)
    return {key: np.r_[values[:1], values[1:] + off[key]] for key, values in drawn.items()}


def calibration_error(
    p: np.ndarray,
    flagged: np.ndarray,
    weights: np.ndarray,
    calibration: Calibration,
    profit: Profit,
    b: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """(b,) each: estimates under b drawn calibrations minus those under the fitted one; weights (n,) of customers."""
    rng = np.random.default_rng([seed, 1])
    part = np.arange(len(p)) if len(p) <= MOST else rng.choice(len(p), MOST, replace=False)
    p, flagged, w = p[part], flagged[part], weights[None, part]
    expected = Expected(p, flagged, profit)
    middle = expected.scores(calibration(p), w)
    step = max(1, MAX_CELLS // len(p))
    starts = range(0, b, step)
    blocks = [expected.scores(calibration.drawn(p, min(step, b - at), [seed, 2, at]), w) for at in starts]
    return {key: np.concatenate([block[key] for block in blocks]) - middle[key] for key in middle}
