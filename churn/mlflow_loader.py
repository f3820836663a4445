"""How `mlflow.pyfunc.load_model` opens what the pipeline logs: a release bundle or one model of the training."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from churn.model import load_model
from churn.release import PIPELINE


class _Probabilities:
    def __init__(self, model: Any):
        self.model = model

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> np.ndarray:
        """(n,) P(churned = 1)."""
        return self.model.predict_proba(model_input)[:, 1]


def _load_pyfunc(data_path: str) -> _Probabilities:
    path = Path(data_path)
    return _Probabilities(load_model(path / PIPELINE if path.is_dir() else path))
