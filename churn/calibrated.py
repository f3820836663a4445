"""Calibrated: a fitted classifier whose log-odds are stretched and shifted."""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

EDGE = 1e-6  # probabilities are kept this far from 0 and 1, where log-odds end


def stretch(p: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """sigmoid(slope * logit(p) + intercept), the logistic calibration of Platt (1999) on log-odds; p (n,) in [0, 1]."""
    p = np.clip(p, EDGE, 1 - EDGE)
    return 1 / (1 + np.exp(-(slope * np.log(p / (1 - p)) + intercept)))


class Calibrated(ClassifierMixin, BaseEstimator):
    """A classifier that was fitted before, its probabilities calibrated.

    Parameters
    ----------
    model : fitted classifier with predict_proba, classes 0 and 1
    slope, intercept : float
        Of the log-odds. 1 and 0 change nothing.
    """

    def __init__(self, model: Any, slope: float = 1.0, intercept: float = 0.0):
        self.model = model
        self.slope = slope
        self.intercept = intercept

    def fit(self, X: Any, y: Any = None) -> Self:
        """Nothing is left to fit; scikit-learn asks for the method."""
        return self

    @property
    def classes_(self) -> np.ndarray:
        return self.model.classes_

    def predict_proba(self, X: Any) -> np.ndarray:
        p = stretch(self.model.predict_proba(X)[:, 1].astype("float64"), self.slope, self.intercept)
        return np.column_stack([1 - p, p])

    def predict(self, X: Any) -> np.ndarray:
        return self.classes_[(self.predict_proba(X)[:, 1] >= 0.5).astype(int)]
