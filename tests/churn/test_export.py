"""The graph gives what the pipeline gives, to the last digits, whatever was fitted, and however it is calibrated."""

from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from churn.calibration import sigmoid
from churn.export import export
from churn.model import Ensemble, assemble
from stages.train import estimator, pipeline

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
N, FITTED = 2500, 1500
EXACT = 1e-12  # 1e-6 is allowed: what is left is the order of double sums
CALIBRATIONS = [(1.0, 0.0), (0.4, 0.3), (3.0, -1.0)]  # below 1 it makes much of the last digits near 0 and 1

LOGISTIC = {"estimator": "sklearn.linear_model.LogisticRegression", "scale": True, "C": 100.0}
XGBOOST = {"estimator": "xgboost.XGBClassifier", "n_estimators": 500, "max_depth": 6, "learning_rate": 0.05}
HISTOGRAM = {"estimator": "sklearn.ensemble.HistGradientBoostingClassifier", "min_samples_leaf": 2}
SPECS: dict[str, dict[str, Any]] = {
    "logistic regression": LOGISTIC,
    "500 deep trees of XGBoost": XGBOOST,
    "XGBoost, stopped early": XGBOOST | {"early_stopping_rounds": 10},
    "histogram boosting": HISTOGRAM | {"max_iter": 300},
    "histogram boosting, stopped early": HISTOGRAM | {"early_stopping": True},
    "gradient boosting": {"estimator": "sklearn.ensemble.GradientBoostingClassifier", "n_estimators": 30},
    "gradient boosting of the exponential loss, from nothing": {
        "estimator": "sklearn.ensemble.GradientBoostingClassifier", "n_estimators": 30, "loss": "exponential",
        "init": "zero",
    },
    "random forest": {"estimator": "sklearn.ensemble.RandomForestClassifier", "n_estimators": 60},
    "random forest of scaled numbers": {"estimator": "sklearn.ensemble.RandomForestClassifier", "scale": True},
    "gradient boosting of scaled numbers": {"estimator": "sklearn.ensemble.GradientBoostingClassifier", "scale": True},
    "XGBoost of scaled numbers": XGBOOST | {"scale": True},
    "extra trees": {"estimator": "sklearn.ensemble.ExtraTreesClassifier", "n_estimators": 30},
    "a tree": {"estimator": "sklearn.tree.DecisionTreeClassifier"},
    "a tree of one leaf": {"estimator": "sklearn.tree.DecisionTreeClassifier", "min_samples_leaf": FITTED},
    "by skl2onnx": {"estimator": "sklearn.neural_network.MLPClassifier", "scale": True, "max_iter": 5},
}  # fmt: skip


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Inputs with missing and equal numbers, and with a category of more levels than are told apart.

    The outcome follows from them almost without a doubt, so that probabilities lie near 0 and 1.
    """
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, 3)).astype("float32")
    city = rng.choice(200, N, p=(w := 1 / np.arange(1, 201)) / w.sum())
    odds = 6 * (z[:, 0] > 0) * (z[:, 1] > 0.2) + 3 * z[:, 2] + city % 3 - 4
    made = pd.DataFrame(
        {
            "exact": z[:, 0],
            "missing": np.where(rng.random(N) < 0.1, np.nan, z[:, 1]).astype("float32"),
            "whole": np.round(z[:, 2] * 3),
            "empty": np.where(rng.random(N) < 0.01, 1, np.nan).astype("float32"),
            "city": pd.Series([f"city {i}" for i in city], dtype="str"),
            "plan": pd.Series(rng.choice(["a", "b", "missing"], N), dtype="str"),
        }
    )
    made.attrs["churned"] = (rng.random(N) < sigmoid(3 * odds)).astype(int)
    made.attrs["max_levels"] = {"city": 20}
    return made


def fitted(spec: dict[str, Any], frame: pd.DataFrame) -> Pipeline:
    churned = frame.attrs["churned"]
    return pipeline(frame, estimator(spec, 1), spec.get("scale", False)).fit(frame[:FITTED], churned[:FITTED])


def session_of(model: Pipeline) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # as the scorer has it: more would add up a tree ensemble in parts
    return onnxruntime.InferenceSession(export(model).SerializeToString(), options)


def largest_gap(candidate: Any, frame: pd.DataFrame, calibration: tuple[float, float] = (1, 0)) -> float:
    """Between graph and pipeline, on whole tables and customer by customer; new levels among them."""
    customers = frame.assign(city=frame["city"].where(np.arange(N) % 50 > 0, "never seen"))
    model = assemble(candidate, customers, [], *calibration)
    session = session_of(model)
    x = model.named_steps["add_features"].transform(customers)
    inputs = {"numbers": x.select_dtypes("number").to_numpy(), "categories": x[["city", "plan"]].to_numpy(object)}
    inputs = {one.name: inputs[one.name] for one in session.get_inputs()}
    p = model.predict_proba(customers)[:, 1]
    alone = [session.run(None, {k: v[[i]] for k, v in inputs.items()})[0][0] for i in range(0, N, 25)]
    gaps = np.r_[p - session.run(None, inputs)[0], p[::25] - alone]
    assert ((p >= 0) & (p <= 1)).all()
    return float(np.abs(gaps).max())


@pytest.mark.parametrize("name", SPECS)
def test_the_graph_repeats_the_pipeline_s_digits(name: str, frame: pd.DataFrame) -> None:
    candidate = fitted(SPECS[name], frame)
    assert max(largest_gap(candidate, frame, calibration) for calibration in CALIBRATIONS) < EXACT


@pytest.mark.parametrize("calibration", CALIBRATIONS)
def test_members_are_merged_into_one_graph(calibration: tuple[float, float], frame: pd.DataFrame) -> None:
    specs = {"linear": LOGISTIC, "deep": HISTOGRAM, "other": SPECS["by skl2onnx"], "again": SPECS["by skl2onnx"]}
    weights = {"linear": 0.5, "deep": 0.25, "other": 0.15, "again": 0.1}
    ensemble = Ensemble({name: fitted(spec, frame) for name, spec in specs.items()}, weights)
    assert largest_gap(ensemble, frame, calibration) < EXACT


def test_a_level_too_rare_to_be_told_apart_counts_as_the_other_rare_ones(frame: pd.DataFrame) -> None:
    encode = fitted(LOGISTIC, frame).named_steps["encode"]
    rare = [f"city {i}" for i in (150, 199)]
    rows = frame.iloc[[0, 0, 0]].assign(city=[*rare, "never seen"])
    one_hot = encode.named_transformers_["levels_20"].transform(rows[["city"]])
    assert one_hot.shape == (3, 20)
    assert (one_hot[0] == one_hot[1]).all()
    assert (one_hot[0] == one_hot[2]).all()


@pytest.mark.parametrize("spec", [LOGISTIC, HISTOGRAM], ids=["double", "float32"])
@pytest.mark.parametrize("columns", [["exact", "missing"], ["city", "plan"], ["plan"], ["exact", "plan"]], ids=" ".join)
def test_any_kinds_of_inputs_make_a_graph(columns: list[str], spec: dict[str, Any], frame: pd.DataFrame) -> None:
    part = frame[columns]
    candidate = fitted(spec, part)
    model = assemble(candidate, part, [], 1, 0)
    session = session_of(model)
    numbers = [name for name in columns if name in ("exact", "missing")]
    inputs = {"numbers": part[numbers].to_numpy(), "categories": part.drop(columns=numbers).to_numpy(object)}
    inputs = {name: values for name, values in inputs.items() if values.shape[1]}
    np.testing.assert_allclose(session.run(None, inputs)[0], model.predict_proba(part)[:, 1], atol=EXACT, rtol=0)
