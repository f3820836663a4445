"""XGBoost as the pipeline trains it. Apart from churn/model.py, since importing XGBoost takes half a second."""

from typing import Any, Self

import numpy as np
from sklearn.model_selection import train_test_split
from xgboost import XGBClassifier

from churn.calibration import sigmoid

HELD_ASIDE = 0.1  # of the customers, where training stops early
MANY = 50_000  # customers of which a tenth is not missed
LEAST = 10  # customers held aside of either outcome; with fewer, all trees are grown
SERVED = {"booster": "gbtree", "objective": "binary:logistic", "missing": "nan"}  # what churn/trees.py can read


class XGBoost(XGBClassifier):
    """XGBClassifier that holds customers aside itself where `early_stopping_rounds` is set, then learns from them too.

    Its probabilities are double: in float32 those near 1 keep no digits for a calibration to work on.
    """

    def fit(self, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> Self:
        knobs = self.get_params()
        for knob, only in SERVED.items():
            if knobs[knob] is not None and str(knobs[knob]) != only:
                raise ValueError(f"{knob} is {knobs[knob]!r}, and the service runs {only} alone")
        if knobs["n_estimators"] == 0:
            raise ValueError("n_estimators is 0; a model needs a tree")
        rounds, most = knobs["early_stopping_rounds"], knobs["n_estimators"]
        if not rounds or min(y.sum(), (1 - y).sum()) * HELD_ASIDE < LEAST:
            self.early_stopping_rounds = None
            super().fit(X, y, sample_weight=sample_weight)
            self.early_stopping_rounds = rounds
            return self
        rows = np.arange(len(y))
        fitted, held = train_test_split(rows, test_size=HELD_ASIDE, stratify=y, random_state=self.random_state)
        of_fitted, of_held = (None, None) if sample_weight is None else (sample_weight[fitted], [sample_weight[held]])
        super().fit(
            X[fitted],
            y[fitted],
            sample_weight=of_fitted,
            eval_set=[(X[held], y[held])],
            sample_weight_eval_set=of_held,
            verbose=False,
        )
        if len(y) < MANY:
            self.n_estimators, self.early_stopping_rounds = self.best_iteration + 1, None
            super().fit(X, y, sample_weight=sample_weight)
            self.n_estimators, self.early_stopping_rounds = most, rounds
        return self

    def predict_proba(self, X: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
        p = sigmoid(self.predict(X, output_margin=True).astype("float64"))
        return np.column_stack([1 - p, p])
