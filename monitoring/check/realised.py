"""Performance by outcomes, and whether it is what the probabilities promised: calibration drift and concept drift.

The customers are a cohort: all whose prediction is old enough for its outcome to be known. Of younger predictions only
the early leavers are known; scoring those would show churn, and a bad model, where there is none.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import chi2

from churn.calibration import log_likelihood, logit
from churn.intervals import Interval, Measure, Z, bootstrap, intervals
from churn.profit import Profit
from churn.scores import Scored, Weights
from monitoring.check.estimate import Calibration, Expected, calibrate, calibration_error, design_effect
from monitoring.check.findings import Concept, Realised
from monitoring.check.knobs import Limits

REALISED = ("roc_auc", "brier", "churn_rate", "profit_per_customer")


def selection(p: np.ndarray, is_known: np.ndarray) -> float:
    """By how many standard deviations the probabilities of customers with a known outcome differ from everybody's.

    It is far from 0 where only leavers are reported, or only customers who got an offer.
    """
    if not is_known.any() or np.ptp(p) == 0:
        return 0.0
    return float((p[is_known].mean() - p.mean()) / p.std())


def realised(labelled: pd.DataFrame, calibration: Calibration, profit: Profit, b: int, seed: int) -> Realised:
    """Scores of customers with outcomes (p, flagged, churned, weight; both outcomes occur), and gaps to the estimates.

    The intervals of the gaps come from the same resamples of both sides.
    """
    p, flagged, churned, weight = (labelled[name].to_numpy("float64") for name in ("p", "flagged", "churned", "weight"))
    q = calibration(p)

    def measure_of(rows: np.ndarray) -> Measure:
        scored = Scored(churned[rows], p[rows], profit.of(churned[rows], flagged[rows]))
        expected, promised, once = Expected(p[rows], flagged[rows], profit), q[rows], weight[rows]

        def measure(drawn: Weights) -> dict[str, np.ndarray]:
            w = drawn * once
            measured, estimated = scored.measures(w), expected.scores(promised, w)
            gaps = {f"{key}_gap": measured[key] - estimated[key] for key in REALISED}
            return {key: measured[key] for key in REALISED} | gaps

        return measure

    drawn = bootstrap(measure_of, len(p), b, [seed, 3])
    off = calibration_error(p, flagged, weight, calibration, profit, b, seed)
    for key in REALISED:
        drawn[f"{key}_gap"][1:] -= off[key]
    parts: dict[str, Any] = intervals(drawn) | recalibration(churned, q, weight)._asdict()
    return Realised(labelled=len(p), **parts)


class Recalibration(NamedTuple):
    """The logistic curve that would make probabilities true of their customers, and whether they need it."""

    slope: Interval
    intercept: Interval
    miscalibration: float
    p_calibrated: float


def recalibration(churned: np.ndarray, q: np.ndarray, weights: np.ndarray) -> Recalibration:
    """The curve for probabilities q (n,) of customers with outcomes churned (n,), who count `weights` (n,) times.

    miscalibration: by how much it would move q on average (the integrated calibration index: Austin, Steyerberg 2019,
    Statistics in Medicine 38, 4051-4065, here by a logistic curve). p_calibrated: of the likelihood-ratio test that
    the slope is 1 and the intercept 0 (Cox 1958, Biometrika 45, 562-565), two degrees of freedom; the ratio is divided
    by the design effect of unequal weights.
    """
    curve = calibrate(churned, q, weights)
    x = logit(q)
    best, now = (log_likelihood(churned, odds, weights) for odds in (curve.slope * x + curve.intercept, x))
    gained = (best - now) / design_effect(x, q, weights)
    errors = Z * np.sqrt(np.diag(curve.covariance))
    slope, intercept = (
        Interval(value, float(value - error), float(value + error))
        for value, error in zip((curve.slope, curve.intercept), errors, strict=True)
    )
    moved = float(np.average(np.abs(curve(q) - q), weights=weights))
    return Recalibration(slope, intercept, moved, float(chi2.sf(max(0.0, 2 * gained), 2)))


def concept_drift(scores: Realised, limits: Limits) -> Concept:
    """Whether customers leave for other reasons than in training.

    There are two signs. The order is wrong: the ROC AUC is below the estimated one by more than `concept_gap`, even by
    the interval's upper end. The rates are wrong: the probabilities are off by more than `concept_calibration`, and not
    by chance.
    """
    gap = scores.roc_auc_gap.high
    ranks_worse = not math.isnan(gap) and gap < -limits.concept_gap
    rates_off = scores.miscalibration > limits.concept_calibration and scores.p_calibrated < limits.alpha
    return Concept(
        found=ranks_worse or rates_off,
        ranks_worse=ranks_worse,
        rates_off=rates_off,
        p=scores.p_calibrated,
        alpha=limits.alpha,
    )
