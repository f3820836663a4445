"""Opening what training pickled. The imports are the point: they are the classes inside, and so visible to DVC."""

from pathlib import Path
from typing import Any

import joblib

from churn.add_features import AddFeatures
from churn.calibrated import Calibrated

__all__ = ["AddFeatures", "Calibrated", "load_model"]


def load_model(path: Path) -> Any:
    """A pipeline on frames of schema names (models/selected, a release) or a candidate on frames of model inputs."""
    return joblib.load(path)
