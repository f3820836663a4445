"""The classes inside a pickled model, and opening one: importing this module imports all that the pickle needs."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import joblib
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import TargetEncoder
from sklearn.utils.validation import check_is_fitted, validate_data

from churn.calibration import stretch
from churn.features import FEATURES
from churn.model_inputs import input_names, model_inputs


def load_model(path: Path) -> Any:
    """A candidate, on frames of model inputs, or a release's pipeline, on frames of schema names."""
    return joblib.load(path)


def load_selected(members: Path, choice: Mapping[str, Any]) -> Any:
    """What `select` chose: one candidate, or an ensemble; `choice` is metrics/select.json."""
    weights = {path.stem: choice[f"weight_{path.stem}"] for path in sorted(members.glob("*.joblib"))}
    models = {name: load_model(members / f"{name}.joblib") for name in weights}
    return Ensemble(models, weights) if len(models) > 1 else next(iter(models.values()))


def dump_model(model: Any, path: Path) -> None:
    """The same bytes for the same model: scikit-learn leaves chance in the padding of the trees that it unpickles."""
    # and pickle writes a text that is one object with an attribute's name once, which hangs on what was loaded before
    joblib.dump(model, buffer := io.BytesIO())
    buffer.seek(0)
    model = joblib.load(buffer)
    for member in members_of(
        model.named_steps["model"] if "model" in getattr(model, "named_steps", ()) else model
    ).values():
        classifier = member[-1]
        for tree in np.ravel(getattr(classifier, "estimators_", [classifier])):
            if hasattr(tree, "tree_"):
                nodes = tree.tree_.__getstate__()["nodes"]  # a view
                used = max(offset + dtype.itemsize for dtype, offset in nodes.dtype.fields.values())
                nodes.view("u1").reshape(len(nodes), -1)[:, used:] = 0
    joblib.dump(model, path)


def assemble(
    candidate: Any, customers: pd.DataFrame, features: Sequence[str], slope: float, intercept: float
) -> Pipeline:
    """The pipeline from customers under schema names to probabilities; of `customers` only columns and types count."""
    calibrated = Calibrated(candidate, slope, intercept) if (slope, intercept) != (1, 0) else candidate
    return Pipeline([("add_features", AddFeatures(features).fit(customers)), ("model", calibrated)])


class AddFeatures(TransformerMixin, BaseEstimator):
    """From a frame of schema names to what models read: numbers as float32 first, then categories as text.

    Booleans become 0 and 1, a missing number NaN, a missing category the level "missing". An array without column
    names passes through as float32: no feature can find its columns there.

    Parameters
    ----------
    names : sequence of str, default=None
        Features to add (keys of `churn.features.FEATURES`), all when None; one whose columns are absent is skipped.

    Attributes
    ----------
    names_ : list of str
        The features that are added.
    numbers_, categories_ : list of str
        The output's columns, in order; k numbers, m categories, output shape (n, k + m).
    """

    def __init__(self, names: Sequence[str] | None = None):
        self.names = names

    def fit(self, X: Any, y: Any = None) -> Self:
        if isinstance(X, pd.DataFrame):
            validate_data(self, X, skip_check_array=True)
            names = FEATURES if self.names is None else self.names
            self.names_, self.numbers_, self.categories_ = input_names(X, names)
        else:
            k = validate_data(self, X, dtype="float32", ensure_all_finite="allow-nan").shape[1]
            self.names_, self.numbers_, self.categories_ = [], [f"x{i}" for i in range(k)], []
        return self

    def transform(self, X: Any) -> Any:
        check_is_fitted(self)
        if not isinstance(X, pd.DataFrame):
            return validate_data(self, X, dtype="float32", ensure_all_finite="allow-nan", reset=False)
        validate_data(self, X, skip_check_array=True, reset=False)
        return model_inputs(X, self.names_, self.numbers_, self.categories_)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        check_is_fitted(self)
        return np.array([*self.numbers_, *self.categories_], dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


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

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def classes_(self) -> np.ndarray:
        return self.model.classes_

    def predict_proba(self, X: Any) -> np.ndarray:
        p = stretch(self.model.predict_proba(X)[:, 1].astype("float64"), self.slope, self.intercept)
        return np.column_stack([1 - p, p])

    def predict(self, X: Any) -> np.ndarray:
        return self.classes_[(self.predict_proba(X)[:, 1] >= 0.5).astype(int)]


class LevelRates(TargetEncoder):
    """TargetEncoder in float32, as the graph has it: the shrunken churn rate of each level (Micci-Barreca 2001).

    `fit_transform` gives each row the rates of the other folds, so that no row learns from its own outcome.
    """

    def fit_transform(self, X: Any, y: Any, **params: Any) -> np.ndarray:
        return super().fit_transform(X, y, **params).astype("float32")

    def transform(self, X: Any) -> np.ndarray:
        return super().transform(X).astype("float32")


class Ensemble(ClassifierMixin, BaseEstimator):
    """The weighted mean of the probabilities of classifiers that were fitted before.

    Parameters
    ----------
    members : dict of str to fitted classifier with predict_proba, classes 0 and 1
    weights : dict of str to float
        Of each member, above 0, together 1.
    """

    def __init__(self, members: Mapping[str, Any], weights: Mapping[str, float]):
        self.members = members
        self.weights = weights

    def fit(self, X: Any, y: Any = None) -> Self:
        """Nothing is left to fit; scikit-learn asks for the method."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def classes_(self) -> np.ndarray:
        return np.array([0, 1])

    def predict_proba(self, X: Any) -> np.ndarray:
        p = sum(weight * self.members[name].predict_proba(X)[:, 1] for name, weight in self.weights.items())
        return np.column_stack([1 - p, p])

    def predict(self, X: Any) -> np.ndarray:
        return (self.predict_proba(X)[:, 1] >= 0.5).astype(int)


def as_double(X: Any) -> np.ndarray:
    """For models that add up products: in float32 the order of a sum would change its digits."""
    return np.asarray(X, dtype="float64")


def members_of(model: Any) -> dict[str, Pipeline]:
    """The pipelines of encoding and classifier inside a candidate, calibrated or not; alone it is called ""."""
    model = model.model if isinstance(model, Calibrated) else model
    return dict(model.members) if isinstance(model, Ensemble) else {"": model}
