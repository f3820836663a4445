"""Drift by Evidently: how far inputs and probabilities are from the training's, and Evidently's page of charts.

Distances and not p-values: among a million customers any difference is significant. For numbers it is Wasserstein's
distance in standard deviations of the reference, for categories Jensen and Shannon's, from 0 to sqrt(ln 2).
"""

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monitoring.check.findings import Distance, Drift
from monitoring.check.knobs import Limits

PREDICTION = "churn_probability"
METHODS = {"number": "wasserstein", "category": "jensenshannon"}
VALUE_DRIFT = "evidently:metric_v2:ValueDrift"
UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")


def comparable(reference: pd.DataFrame, current: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """The columns with a value on both sides: without one there is no distance."""
    return [name for name in columns if reference[name].notna().any() and current[name].notna().any()]


def compare(
    reference: pd.DataFrame, current: pd.DataFrame, numbers: Sequence[str], categories: Sequence[str], limits: Limits
) -> Any:
    """Evidently's snapshot of the two."""
    from evidently import DataDefinition, Dataset, Report  # 5 s
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(numerical_columns=list(numbers), categorical_columns=list(categories))
    preset = DataDriftPreset(
        columns=[*numbers, *categories],
        num_method=METHODS["number"],
        cat_method=METHODS["category"],
        num_threshold=limits.number_drift,
        cat_threshold=limits.category_drift,
    )
    sides = [
        Dataset.from_pandas(frame[[*numbers, *categories]].reset_index(drop=True), data_definition=definition)
        for frame in (current, reference)
    ]
    with np.errstate(all="ignore"):
        return Report([preset]).run(*sides)


def distances(compared: Any) -> dict[str, float]:
    """Column -> distance; read by the names of metrics, whatever their order."""
    metrics = [metric for metric in compared.dict()["metrics"] if metric["config"]["type"] == VALUE_DRIFT]
    return {metric["config"]["column"]: float(metric["value"]) for metric in metrics}


def charts(compared: Any) -> str:
    """Evidently's page, the same for the same data: its random ids are numbered."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "drift.html")
        compared.save_html(str(path))
        text = path.read_text(encoding="utf-8")
    numbers: dict[str, str] = {}
    return UUID.sub(lambda match: numbers.setdefault(match[0], f"{len(numbers):032x}"), text)


def summary(moved: Mapping[str, float], categories: Sequence[str], limits: Limits) -> Drift:
    """Which inputs drifted, their share, and how far the probabilities moved; `moved` as `distances` has it."""
    inputs = {name: distance for name, distance in moved.items() if name != PREDICTION}
    features = {}
    for name, distance in inputs.items():
        threshold = limits.category_drift if name in categories else limits.number_drift
        features[name] = Distance(distance=distance, threshold=threshold, drifted=bool(distance >= threshold))
    drifted = sorted((name for name, f in features.items() if f.drifted), key=lambda name: -inputs[name])
    share = len(drifted) / max(1, len(features))
    return Drift(share=share, drifted=drifted, prediction=moved[PREDICTION], features=features)
