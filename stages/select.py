"""select: choose the model, its calibration and its threshold on out-of-fold probabilities alone.

Writes models/selected/{members/MODEL.joblib,oof.parquet}, metrics/select.json and the threshold's plot.
"""

import logging
import math
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pyarrow import parquet
from pydantic import Field

from churn.calibration import EDGE, fit_calibration, stretch
from churn.measured import settled
from churn.params import read_knobs, read_params, read_section
from churn.profit import Profit
from churn.schema import TARGET, WEIGHT
from churn.scores import LOSSES, scores, weights_of
from churn.script import InputError, replacing, run, write_json

log = logging.getLogger("select")

ENSEMBLE = "ensemble"
PICKS = 20  # of ensemble selection: weights in steps of a twentieth at the finest
THRESHOLDS = np.arange(1, 200) / 200
Metric = Literal["roc_auc", "average_precision", "brier", "log_loss", "accuracy", "f1", "precision", "recall"]


@dataclass(frozen=True)
class Selection:
    name: str  # of the one model, or "ensemble"
    weights: dict[str, float]  # of the models that make it up
    slope: float  # of the calibration; 1 and 0 where the probabilities stay as they are
    intercept: float
    threshold: float
    out_of_fold: pd.DataFrame  # fold, and p weighted and calibrated by the other folds
    metrics: dict[str, Any]
    by_threshold: pd.DataFrame


def select(
    churned: np.ndarray,
    out_of_fold: Mapping[str, pd.DataFrame],
    profit: Profit,
    worth: np.ndarray,
    counted: np.ndarray | None = None,
    *,
    metric: Metric,
    one_standard_error: bool,
    ensemble: Literal["auto", "always", "never"],
    calibrate: Literal["auto", "always", "never"],
    threshold: Literal["profit", "f1"] | Annotated[float, Field(gt=0, lt=1)],
) -> Selection:
    """The winner among models, simplest first, or an ensemble of them; churned, worth and how often each customer is
    counted (n,), out_of_fold (n, 2)."""
    first = next(iter(out_of_fold.values()))
    known = (first["fold"] >= 0).to_numpy()  # the customers that were cross-validated
    folds = first["fold"].to_numpy()[known]
    y, p = churned[known], {name: oof["p"].to_numpy()[known] for name, oof in out_of_fold.items()}
    w = (np.ones(len(churned)) if counted is None else counted)[known]
    parts = [folds == fold for fold in np.unique(folds)]
    sign = -1 if metric in LOSSES else 1

    def by_fold(q: np.ndarray) -> np.ndarray:
        return np.array([scores(y[part], q[part], weights=w[part])[metric] for part in parts])

    found = {name: by_fold(q) for name, q in p.items()}
    means = {name: float(values.mean()) for name, values in found.items()}
    errors = {name: standard_error(values) for name, values in found.items()}
    single = winner(means, errors, lower_is_better=sign < 0, one_standard_error=one_standard_error)
    name, weights, chosen = single, {single: 1.0}, p[single]
    crossed, several = cross_weighted(y, p, folds, w)
    # by log loss whatever the metric: a gain per customer has a far smaller error than one per fold
    gains = losses(y, p[single]) - losses(y, crossed)
    ensemble_gain, ensemble_error = mean(gains, w), standard_error(gains, w)
    if len(several) > 1 and (ensemble == "always" or (ensemble == "auto" and ensemble_gain > ensemble_error)):
        name, weights, chosen = ENSEMBLE, several, crossed
    calibrated, gain, gain_error = cross_calibrated(y, chosen, folds, w)
    applied = calibrate == "always" or (calibrate == "auto" and gain > gain_error)
    slope, intercept = fit_calibration(y, chosen, w) if applied else (1.0, 0.0)
    decided = calibrated if applied else chosen
    table = by_threshold(y, decided, profit, worth[known], w)
    at = threshold if isinstance(threshold, float) else float(table["threshold"][table[threshold].argmax()])
    flagged = decided >= at
    metrics = {
        "winner": name,
        "metric": metric,
        **{f"{metric}_{model}": mean for model, mean in means.items()},
        f"{metric}_{ENSEMBLE}": float(by_fold(crossed).mean()),
        f"{metric}_standard_error": standard_error(by_fold(chosen)),
        "ensemble_log_loss_gain": ensemble_gain,
        "ensemble_log_loss_gain_error": ensemble_error,
        **{f"weight_{model}": weights.get(model, 0.0) for model in p},
        "calibration_applied": applied,
        "calibration_log_loss_gain": gain,
        "calibration_log_loss_gain_error": gain_error,
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "threshold": at,
        "threshold_by": threshold if isinstance(threshold, str) else "params",
        "flagged_share": mean(flagged, w),
        "profit_per_customer": mean(profit.of(y, flagged, worth[known]), w),
        "f1": scores(y, decided, at, w)["f1"],
    }
    kept = first.copy()
    kept.loc[known, "p"] = decided
    return Selection(name, weights, slope, intercept, at, kept, metrics, table)


def winner(
    means: Mapping[str, float], errors: Mapping[str, float], *, lower_is_better: bool, one_standard_error: bool
) -> str:
    """The best mean; with the rule, the first within one standard error of it (Breiman et al. 1984, CART, 3.4.3)."""
    sign = -1 if lower_is_better else 1
    best = max(means, key=lambda name: sign * means[name])
    if not one_standard_error:
        return best
    return next(name for name in means if sign * means[name] >= sign * means[best] - errors[best])


def mean(values: np.ndarray, counted: np.ndarray) -> float:
    """Of values (n,) of customers who are counted so often (n,)."""
    return float(np.average(values, weights=counted))


def standard_error(values: np.ndarray, counted: np.ndarray | None = None) -> float:
    """Of their mean, by linearisation where some of the values (n,) are counted more often than others."""
    n, counted = len(values), np.ones(len(values)) if counted is None else counted
    off = counted / counted.mean() * (values - mean(values, counted))
    return math.sqrt((off**2).sum() / (n - 1)) / math.sqrt(n)


def cross_weighted(
    churned: np.ndarray, p: Mapping[str, np.ndarray], folds: np.ndarray, counted: np.ndarray
) -> tuple[np.ndarray, dict[str, float]]:
    """(n,) p weighted as the other folds ask for it, so that nobody's outcome chose the weights of their own score;
    and the weights that all folds ask for."""
    crossed = np.empty(len(churned))
    for fold in np.unique(folds):
        held = folds == fold
        weights = weighted(churned[~held], {name: q[~held] for name, q in p.items()}, counted[~held])
        crossed[held] = mean_of({name: q[held] for name, q in p.items()}, weights)
    return crossed, weighted(churned, p, counted)


def weighted(churned: np.ndarray, p: Mapping[str, np.ndarray], counted: np.ndarray) -> dict[str, float]:
    """Greedy ensemble selection (Caruana et al. 2004, "Ensemble Selection from Libraries of Models").

    PICKS times that model is added, again where need be, with which the mean has the lowest log loss; the best mean on
    the way counts. Log loss whatever the metric: it sees every probability, so it is less easily lucky than a ranking.
    """
    total, picks, way = np.zeros(len(churned)), Counter[str](), []
    for n in range(1, PICKS + 1):
        lost = {name: mean(losses(churned, (total + q) / n), counted) for name, q in p.items()}
        best = min(lost, key=lambda name: lost[name])
        total, picks = total + p[best], picks + Counter([best])
        way.append((lost[best], {name: picks[name] / n for name in p if picks[name]}))
    return min(way, key=lambda step: step[0])[1]


def mean_of(p: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """(n,) weighted mean."""
    return np.sum([weight * p[name] for name, weight in weights.items()], axis=0)


def cross_calibrated(
    churned: np.ndarray, p: np.ndarray, folds: np.ndarray, counted: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """(n,) p calibrated on the other folds; the gain in log loss that brings, and the gain's standard error."""
    crossed = np.empty(len(p))
    for fold in np.unique(folds):
        held = folds == fold
        crossed[held] = stretch(p[held], *fit_calibration(churned[~held], p[~held], counted[~held]))
    gains = losses(churned, p) - losses(churned, crossed)
    return crossed, mean(gains, counted), standard_error(gains, counted)


def losses(churned: np.ndarray, p: np.ndarray) -> np.ndarray:
    """(n,) log loss of each customer."""
    p = np.clip(p, EDGE, 1 - EDGE)
    return -np.where(churned == 1, np.log(p), np.log(1 - p))


def by_threshold(
    churned: np.ndarray, p: np.ndarray, profit: Profit, worth: np.ndarray, counted: np.ndarray
) -> pd.DataFrame:
    """Profit per customer, F1, precision and recall at each threshold."""
    rows = []
    for threshold in THRESHOLDS:
        flagged = p >= threshold
        caught, n_flagged, n_churned = (
            float(counted[rows].sum()) for rows in (flagged & (churned == 1), flagged, churned == 1)
        )
        rows.append(
            {
                "threshold": threshold,
                "profit": mean(profit.of(churned, flagged, worth), counted),
                "f1": 2 * caught / (n_flagged + n_churned),
                "precision": caught / n_flagged if n_flagged else 0.0,
                "recall": caught / n_churned,
            }
        )
    return pd.DataFrame(rows)


def main(
    inputs: Path = Path("data/features/train.parquet"),
    candidates: Path = Path("models/candidates"),
    selected: Path = Path("models/selected"),
    metrics: Path = Path("metrics/select.json"),
    plot: Path = Path("metrics/plots/select/threshold.csv"),
) -> None:
    names = list(read_section("train.models"))
    if stray := sorted(folder.name for folder in candidates.iterdir() if folder.is_dir() and folder.name not in names):
        raise InputError(f"{candidates} holds {stray}, which train.models does not name; remove those folders")
    profit, _ = settled(read_knobs("profit", Profit))
    needed = [name for name in (TARGET, WEIGHT) if name in parquet.read_schema(inputs).names]
    frame = pd.read_parquet(inputs, columns=None if isinstance(profit.customer_value, str) else needed)
    churned, worth = frame[TARGET].to_numpy(), profit.worth(frame.select_dtypes("number"), len(frame))
    out_of_fold = {name: pd.read_parquet(candidates / name / "oof.parquet") for name in names}
    choice = select(churned, out_of_fold, profit, worth, weights_of(frame), **read_params("select", select))
    shutil.rmtree(selected / "members", ignore_errors=True)
    for name in choice.weights:
        with replacing(selected / "members" / f"{name}.joblib") as temporary:
            shutil.copy(candidates / name / "model.joblib", temporary)
    with replacing(selected / "oof.parquet") as temporary:
        choice.out_of_fold.to_parquet(temporary, index=False)
    with replacing(plot) as temporary:
        choice.by_threshold.round(6).to_csv(temporary, index=False, lineterminator="\n")
    write_json(metrics, choice.metrics)
    flagged = 100 * choice.metrics["flagged_share"]
    log.info("%s wins; it flags %.1f %% of the customers, from %.3f on", choice.name, flagged, choice.threshold)


if __name__ == "__main__":
    run(main, "select")
