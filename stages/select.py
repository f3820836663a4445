"""select: choose the model, its calibration and its threshold on out-of-fold probabilities alone.

Writes models/selected/{candidate.joblib,oof.parquet}, metrics/select.json and the threshold's plot.
"""

import logging
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from churn.calibration import EDGE, fit_calibration, stretch
from churn.params import read_knobs, read_params, read_section
from churn.profit import Profit
from churn.schema import TARGET
from churn.scores import LOSSES, scores
from churn.script import InputError, replacing, run, write_json

log = logging.getLogger("select")

THRESHOLDS = np.arange(1, 200) / 200
Metric = Literal["roc_auc", "average_precision", "brier", "log_loss", "accuracy", "f1", "precision", "recall"]


@dataclass(frozen=True)
class Selection:
    name: str
    slope: float  # of the calibration; 1 and 0 where the probabilities stay as they are
    intercept: float
    threshold: float
    out_of_fold: pd.DataFrame  # fold, and p calibrated by the other folds
    metrics: dict[str, Any]
    by_threshold: pd.DataFrame


def select(
    churned: np.ndarray,
    out_of_fold: Mapping[str, pd.DataFrame],
    profit: Profit,
    *,
    metric: Metric,
    one_standard_error: bool,
    calibrate: Literal["auto", "always", "never"],
    threshold: Literal["profit", "f1"] | Annotated[float, Field(gt=0, lt=1)],
) -> Selection:
    """The winner among models, simplest first; churned (n,), each out_of_fold (n, 2) with fold and p."""
    means, errors = {}, {}
    for name, oof in out_of_fold.items():
        parts = [(oof["fold"] == fold).to_numpy() for fold in folds_of(oof)]
        by_fold = [scores(churned[part], oof["p"].to_numpy()[part])[metric] for part in parts]
        means[name] = float(np.mean(by_fold))
        errors[name] = float(np.std(by_fold, ddof=1) / math.sqrt(len(by_fold)))
    name = winner(means, errors, lower_is_better=metric in LOSSES, one_standard_error=one_standard_error)
    oof = out_of_fold[name]
    crossed, gain, gain_error = cross_calibrated(churned, oof)
    applied = calibrate == "always" or (calibrate == "auto" and gain > gain_error)
    p = crossed if applied else oof["p"].to_numpy()
    slope, intercept = fit_calibration(churned, oof["p"].to_numpy()) if applied else (1.0, 0.0)
    table = by_threshold(churned, p, profit)
    chosen = threshold if isinstance(threshold, float) else float(table["threshold"][table[threshold].argmax()])
    flagged = p >= chosen
    metrics = {
        "winner": name,
        "metric": metric,
        **{f"{metric}_{model}": mean for model, mean in means.items()},
        f"{metric}_standard_error": errors[name],
        "calibration_applied": applied,
        "calibration_log_loss_gain": gain,
        "calibration_log_loss_gain_error": gain_error,
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "threshold": chosen,
        "threshold_by": threshold if isinstance(threshold, str) else "params",
        "flagged_share": float(flagged.mean()),
        "profit_per_customer": float(profit.of(churned, flagged).mean()),
        "f1": scores(churned, p, chosen)["f1"],
    }
    return Selection(name, slope, intercept, chosen, oof.assign(p=p), metrics, table)


def winner(
    means: Mapping[str, float], errors: Mapping[str, float], *, lower_is_better: bool, one_standard_error: bool
) -> str:
    """The best mean; with the rule, the first within one standard error of it (Breiman et al. 1984, CART, 3.4.3)."""
    sign = -1 if lower_is_better else 1
    best = max(means, key=lambda name: sign * means[name])
    if not one_standard_error:
        return best
    return next(name for name in means if sign * means[name] >= sign * means[best] - errors[best])


def cross_calibrated(churned: np.ndarray, oof: pd.DataFrame) -> tuple[np.ndarray, float, float]:
    """(n,) p calibrated on the other folds; the gain in log loss that brings, and the gain's standard error."""
    p, crossed = oof["p"].to_numpy(), np.empty(len(oof))
    for fold in folds_of(oof):
        held = (oof["fold"] == fold).to_numpy()
        crossed[held] = stretch(p[held], *fit_calibration(churned[~held], p[~held]))
    gains = losses(churned, p) - losses(churned, crossed)
    return crossed, float(gains.mean()), float(gains.std(ddof=1) / math.sqrt(len(gains)))


def losses(churned: np.ndarray, p: np.ndarray) -> np.ndarray:
    """(n,) log loss of each customer."""
    p = np.clip(p, EDGE, 1 - EDGE)
    return -np.where(churned == 1, np.log(p), np.log(1 - p))


def by_threshold(churned: np.ndarray, p: np.ndarray, profit: Profit) -> pd.DataFrame:
    """Profit per customer, F1, precision and recall at each threshold."""
    rows = []
    for threshold in THRESHOLDS:
        flagged = p >= threshold
        caught, n_flagged, n_churned = (flagged & (churned == 1)).sum(), flagged.sum(), churned.sum()
        rows.append(
            {
                "threshold": threshold,
                "profit": profit.of(churned, flagged).mean(),
                "f1": 2 * caught / (n_flagged + n_churned),
                "precision": caught / n_flagged if n_flagged else 0.0,
                "recall": caught / n_churned,
            }
        )
    return pd.DataFrame(rows)


def folds_of(oof: pd.DataFrame) -> np.ndarray:
    return np.unique(oof["fold"])


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
    churned = pd.read_parquet(inputs, columns=[TARGET])[TARGET].to_numpy()
    out_of_fold = {name: pd.read_parquet(candidates / name / "oof.parquet") for name in names}
    choice = select(churned, out_of_fold, read_knobs("profit", Profit), **read_params("select", select))
    with replacing(selected / "candidate.joblib") as temporary:
        shutil.copy(candidates / choice.name / "model.joblib", temporary)
    with replacing(selected / "oof.parquet") as temporary:
        choice.out_of_fold.to_parquet(temporary, index=False)
    with replacing(plot) as temporary:
        choice.by_threshold.round(6).to_csv(temporary, index=False, lineterminator="\n")
    write_json(metrics, choice.metrics)
    flagged = 100 * choice.metrics["flagged_share"]
    log.info("%s wins; it flags %.1f %% of the customers, from %.3f on", choice.name, flagged, choice.threshold)


if __name__ == "__main__":
    run(main, "select")
