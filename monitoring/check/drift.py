"""Drift by Evidently: how far the inputs and the probabilities are from those of the training, and its page of charts.

Distances and not p-values: of a million customers any difference is significant. Numbers: Wasserstein's distance in
standard deviations of the reference; categories: Jensen and Shannon's, from 0 to sqrt(ln 2).
"""

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PREDICTION = "churn_probability"
METHODS = {"number": "wasserstein", "category": "jensenshannon"}
MOVED = "evidently:metric_v2:ValueDrift"
UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")


def comparable(reference: pd.DataFrame, current: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Those columns that hold something on both sides: of nothing there is no distance."""
    return [name for name in columns if reference[name].notna().any() and current[name].notna().any()]


def compare(
    reference: pd.DataFrame, current: pd.DataFrame, numbers: Sequence[str], categories: Sequence[str],
    thresholds: Mapping[str, float],
) -> Any:  # fmt: skip
    """Evidently's snapshot of the two; `thresholds` of a number and of a category."""
    from evidently import DataDefinition, Dataset, Report  # 5 s
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(numerical_columns=list(numbers), categorical_columns=list(categories))
    preset = DataDriftPreset(
        columns=[*numbers, *categories],
        num_method=METHODS["number"],
        cat_method=METHODS["category"],
        num_threshold=thresholds["number"],
        cat_threshold=thresholds["category"],
    )
    sides = [
        Dataset.from_pandas(frame[[*numbers, *categories]].reset_index(drop=True), data_definition=definition)
        for frame in (current, reference)
    ]
    with np.errstate(all="ignore"):
        return Report([preset]).run(*sides)


def distances(compared: Any) -> dict[str, float]:
    """Column -> distance; read by the names of metrics, whatever their order."""
    found = [metric for metric in compared.dict()["metrics"] if metric["config"]["type"] == MOVED]
    return {metric["config"]["column"]: float(metric["value"]) for metric in found}


def page(compared: Any) -> str:
    """Evidently's page, the same for the same data: its random ids are numbered."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "drift.html")
        compared.save_html(str(path))
        text = path.read_text(encoding="utf-8")
    numbers: dict[str, str] = {}
    return UUID.sub(lambda found: numbers.setdefault(found[0], f"{len(numbers):032x}"), text)


def judged(moved: Mapping[str, float], categories: Sequence[str], thresholds: Mapping[str, float]) -> dict[str, Any]:
    """Which of the inputs moved too far, their share, and how far the probabilities did."""
    inputs = {name: distance for name, distance in moved.items() if name != PREDICTION}
    features = {}
    for name, distance in inputs.items():
        threshold = thresholds["category" if name in categories else "number"]
        features[name] = {"distance": distance, "threshold": threshold, "drifted": bool(distance >= threshold)}
    drifted = sorted((name for name, f in features.items() if f["drifted"]), key=lambda name: -inputs[name])
    return {
        "share": len(drifted) / max(1, len(features)),
        "drifted": drifted,
        "prediction": moved[PREDICTION],
        "features": features,
    }
