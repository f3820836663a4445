"""Performance by outcomes, and whether it is what the probabilities promised: calibration drift and concept drift.

The customers are a cohort: all whose prediction is old enough that its outcome must be known by now. Of younger ones
the early leavers alone are known, and whoever counted them would see churn, and a bad model, where there is none.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2

from churn.calibration import log_likelihood, logit
from churn.intervals import Measure, Z, bootstrap, with_intervals
from churn.profit import Profit
from churn.scores import ResampledScores, Weights, total
from monitoring.check.estimate import Calibration, Expected, calibrate, calibration_error

REALISED = ("roc_auc", "brier", "churn_rate", "profit_per_customer")


def selection(p: np.ndarray, is_known: np.ndarray) -> float:
    """By how many standard deviations the probabilities of customers with a known outcome differ from everybody's.

    Where only leavers are reported, or only those who were offered something, it is far from 0.
    """
    if not is_known.any() or np.ptp(p) == 0:
        return 0.0
    return float((p[is_known].mean() - p.mean()) / p.std())


def realised(labelled: pd.DataFrame, calibration: Calibration, profit: Profit, b: int, seed: int) -> dict[str, Any]:
    """Scores of customers with outcomes (p, flagged, churned, both outcomes there) and how far they are from expected.

    roc_auc, brier, ... with intervals; slope and intercept of the calibration, 1 and 0 where it is as promised;
    roc_auc_gap: ROC AUC minus the one estimated for the same customers, as the draws of the same customers have it.
    """
    p, flagged, churned = (labelled[name].to_numpy("float64") for name in ("p", "flagged", "churned"))
    q = calibration(p)

    def measure_of(rows: np.ndarray) -> Measure:
        ranks, earned = ResampledScores(churned[rows], p[rows]), profit.of(churned[rows], flagged[rows])
        expected, promised = Expected(p[rows], flagged[rows], profit), q[rows]

        def measure(w: Weights) -> dict[str, np.ndarray]:
            ranking, hoped = ranks.ranking(w), expected.scores(promised, w)
            found = {
                "roc_auc": ranking["roc_auc"],
                "brier": ranking["brier"],
                "churn_rate": total(w, churned[rows]) / w.sum(axis=1),
                "profit_per_customer": total(w, earned) / w.sum(axis=1),
            }
            return found | {f"{key}_gap": found[key] - hoped[key] for key in REALISED}

        return measure

    drawn = bootstrap(measure_of, len(p), b, [seed, 3])
    off = calibration_error(p, flagged, calibration, profit, b, seed)
    for key in REALISED:
        drawn[f"{key}_gap"][1:] -= off[key]
    return {"labelled": len(p), **with_intervals(drawn), **recalibration(churned, q)}


def recalibration(churned: np.ndarray, q: np.ndarray) -> dict[str, float]:
    """Slope and intercept that would make q true of these customers, with intervals, and whether they need it.

    miscalibration: how far q would move on average (the integrated calibration index: Austin, Steyerberg 2019,
    Statistics in Medicine 38, 4051-4065, here by a logistic curve). p_calibrated: of the likelihood-ratio test that
    the slope is 1 and the intercept 0 (Cox 1958, Biometrika 45, 562-565), two degrees of freedom.
    """
    curve = calibrate(churned, q)
    x = logit(q)
    gained = log_likelihood(churned, curve.slope * x + curve.intercept) - log_likelihood(churned, x)
    errors = np.sqrt(np.diag(curve.covariance))
    found: dict[str, float] = {}
    for key, value, error in (("slope", curve.slope, errors[0]), ("intercept", curve.intercept, errors[1])):
        found |= {key: value, f"{key}_low": float(value - Z * error), f"{key}_high": float(value + Z * error)}
    found["miscalibration"] = float(np.abs(curve(q) - q).mean())
    return found | {"p_calibrated": float(chi2.sf(max(0.0, 2 * gained), 2))}


def concept_drift(found: Mapping[str, Any], *, gap: float, alpha: float, miscalibration: float) -> dict[str, Any]:
    """Whether customers leave for other reasons than the model knows: `found` as `realised` gives it.

    Two ways to see it. The ROC AUC is below the estimated one by more than `gap`, even by the interval's upper end: the
    order is wrong. Or q is off by more than `miscalibration` and not by chance: the rates are.
    """
    ranks_worse = not math.isnan(found["roc_auc_gap_high"]) and found["roc_auc_gap_high"] < -gap
    rates_off = found["miscalibration"] > miscalibration and found["p_calibrated"] < alpha
    return {"found": ranks_worse or rates_off, "ranks_worse": ranks_worse, "rates_off": rates_off}
