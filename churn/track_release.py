"""A release in MLflow: one run for it and below it one for each model that was trained."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from churn import release
from churn.model import load_model
from churn.params import read_section
from churn.schema import CUSTOMER, TARGET, WEIGHT
from churn.scores import BINS, scores, weights_of
from churn.tracking import Tracker


def track_release(
    tracker: Tracker, card: Mapping[str, Any], folder: Path, candidates: Path, inputs: Path, train: Path
) -> None:
    """Log this reproduction once, not in every `train`: importing MLflow takes longer than fitting most models."""
    version_ = card["model_version"]
    with tracker.run(os.environ.get("DVC_EXP_NAME") or f"release {version_}", model_version=version_) as parent:
        tracker.card(parent, card)
        (frame, counted), specs = read_inputs(inputs), read_section("train.models")
        data_set, head = tracker.data_set(frame, inputs), frame.drop(columns=TARGET).head(100)
        out_of_fold = {name: pd.read_parquet(candidates / name / "oof.parquet") for name in specs}
        known = next(iter(out_of_fold.values()))["fold"] >= 0  # the others were fitted, not cross-validated
        churned, counted = frame.loc[known, TARGET].to_numpy(), counted[known]
        out_of_fold = {name: oof[known] for name, oof in out_of_fold.items()}
        drawn = figure(churned, {name: oof["p"].to_numpy() for name, oof in out_of_fold.items()}, counted)
        tracker.client.log_figure(parent.info.run_id, drawn, "models.png", save_kwargs={"dpi": 80})
        for name, oof in out_of_fold.items():
            with tracker.run(name, parent, model=name) as child:
                tracker.values(child, specs[name], by_fold(churned, oof, counted))
                tracker.client.log_inputs(child.info.run_id, [data_set])
                tracker.model(child, name, candidates / name / "model.joblib", head, oof["p"].head(100))
        pipeline = load_model(folder / release.PIPELINE)
        sample = pd.read_parquet(train)[list(pipeline.feature_names_in_)].head(100)
        p = pipeline.predict_proba(sample)[:, 1]
        logged = tracker.model(parent, "release", folder, sample, p, model_version=version_)
        tracker.register(parent, logged, version_)


def by_fold(churned: np.ndarray, oof: pd.DataFrame, counted: np.ndarray) -> list[tuple[str, float, int]]:
    """Each score of each fold, and their mean over the folds, as (name, value, fold)."""
    parts = [(oof["fold"] == fold).to_numpy() for fold in sorted(oof["fold"].unique())]
    folds = [scores(churned[part], oof["p"].to_numpy()[part], weights=counted[part]) for part in parts]
    steps = [(f"fold_{key}", value, fold) for fold, found in enumerate(folds) for key, value in found.items()]
    return steps + [(key, float(np.mean([found[key] for found in folds])), 0) for key in folds[0]]


def figure(churned: np.ndarray, p: Mapping[str, np.ndarray], counted: np.ndarray) -> Any:
    """ROC curves and calibration of the models' out-of-fold probabilities, side by side."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(12, 5.5))
    roc, calibration = drawn.subplots(1, 2)
    for name, q in p.items():
        fpr, tpr, _ = roc_curve(churned, q, sample_weight=counted)
        bins = np.array_split(np.argsort(q, kind="stable"), BINS)
        means = [np.average([q[part], churned[part]], axis=1, weights=counted[part]) for part in bins]
        predicted, observed = zip(*means, strict=True)
        roc.plot(fpr, tpr, label=name, linewidth=1)
        calibration.plot(predicted, observed, marker="o", label=name, linewidth=1)
    roc.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC, out-of-fold")
    calibration.set(xlabel="predicted probability", ylabel="observed share", title="calibration, out-of-fold")
    for axes in (roc, calibration):
        axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
        axes.legend()
    return drawn


def read_inputs(path: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """The training customers' outcomes and model inputs, and how often each counts, (n,)."""
    frame = pd.read_parquet(path)
    return frame.drop(columns=[CUSTOMER, WEIGHT], errors="ignore"), weights_of(frame)
