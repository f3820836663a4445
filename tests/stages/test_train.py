"""train: any model of params.yaml, cross-validated without a leak, the same bytes however many work on it."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from churn.model import load_model
from churn.schema import CUSTOMER, MAX_LEVELS, TARGET, WEIGHT
from churn.scores import SCORES
from churn.script import InputError
from stages.train import Trained, estimator, main, pipeline, summary, train
from tests.conftest import ROOT

MODELS: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "params.yaml").read_text())["train"]["models"]
LOGISTIC = {"estimator": "sklearn.linear_model.LogisticRegression", "scale": True, "max_iter": 1000}


@pytest.fixture(scope="module")
def frame(project: Path) -> pd.DataFrame:
    return pd.read_parquet(project / "data/features/train.parquet")


@pytest.fixture(scope="module")
def models(project: Path) -> dict[str, Any]:
    small: dict[str, Any] = yaml.safe_load((project / "params.yaml").read_text())["train"]["models"]
    return small


def trained(frame: pd.DataFrame, spec: dict[str, Any], jobs: int = 1) -> Trained:
    inputs, churned = frame.drop(columns=TARGET), frame[TARGET].to_numpy()
    return train(inputs, churned, "mine", jobs, models={"mine": spec}, folds=3, sample=100_000, seed=1)


@pytest.fixture(scope="module")
def logistic(frame: pd.DataFrame) -> Trained:
    return trained(frame, LOGISTIC)


def pickled(found: Trained) -> bytes:
    buffer = io.BytesIO()
    joblib.dump((found.model, found.out_of_fold, found.folds, found.gaps), buffer)
    return buffer.getvalue()


# the same for everybody


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_number_of_workers_changes_no_byte(name: str, frame: pd.DataFrame, models: dict[str, Any]) -> None:
    assert pickled(trained(frame, models[name], jobs=1)) == pickled(trained(frame, models[name], jobs=2))


@pytest.mark.slow
def test_the_number_of_blas_threads_changes_no_byte(frame: pd.DataFrame) -> None:
    many = pd.concat([frame] * 20, ignore_index=True)  # few rows BLAS does not share out
    with threadpool_limits(1):
        one = pickled(trained(many, LOGISTIC))
    with threadpool_limits(2):
        assert pickled(trained(many, LOGISTIC)) == one


@pytest.mark.parametrize("name", ["logistic_regression", "random_forest", "gradient_boosting"])
def test_weights_of_1_change_no_byte_and_others_do(name: str, frame: pd.DataFrame, models: dict[str, Any]) -> None:
    plain = pickled(trained(frame, models[name]))
    assert pickled(trained(frame.assign(**{WEIGHT: 1.0}), models[name])) == plain
    assert pickled(trained(frame.assign(**{WEIGHT: np.where(frame["tenure"] < 9, 9.0, 1.0)}), models[name])) != plain


def test_a_weight_of_2_is_a_row_that_stands_twice(frame: pd.DataFrame) -> None:
    """But for the scale and the medians of the inputs, which are of rows and move the penalty alone."""
    spec = LOGISTIC | {"tol": 1e-9, "max_iter": 10_000}
    twice = np.arange(len(frame)) % 3 == 0
    doubled = pd.concat([frame, frame[twice]], ignore_index=True)
    inputs = frame.drop(columns=TARGET)
    plain, weighted, stacked = (
        trained(made, spec).model.predict_proba(inputs)[:, 1]
        for made in (frame, frame.assign(**{WEIGHT: np.where(twice, 2.0, 1.0)}), doubled)
    )
    assert np.abs(weighted - stacked).max() < 0.002 < np.abs(plain - stacked).max() / 10


def test_a_model_that_takes_no_weights_is_refused_in_one_line(frame: pd.DataFrame) -> None:
    weighted = frame.assign(**{WEIGHT: np.arange(len(frame)) + 1.0})
    spec = {"estimator": "sklearn.discriminant_analysis.LinearDiscriminantAnalysis"}
    with pytest.raises(InputError, match=r"^is a LinearDiscriminantAnalysis, which takes no weights; leave it out"):
        trained(weighted, spec)


def test_the_seed_reaches_folds_and_estimator(frame: pd.DataFrame, models: dict[str, Any]) -> None:
    inputs, churned = frame.drop(columns=TARGET), frame[TARGET].to_numpy()
    one, two = (
        train(inputs, churned, "random_forest", models=models, folds=3, sample=100_000, seed=seed) for seed in (1, 2)
    )
    assert one.model.named_steps["classify"].random_state == 1
    assert (one.out_of_fold["fold"] != two.out_of_fold["fold"]).any()


# no leak


def test_every_customer_is_held_out_once(frame: pd.DataFrame, logistic: Trained) -> None:
    oof = logistic.out_of_fold
    assert list(oof) == ["fold", "p"]
    assert oof.index.equals(frame.index)
    assert set(oof["fold"]) == {0, 1, 2}
    assert oof["fold"].value_counts().max() - oof["fold"].value_counts().min() <= 1
    assert oof["p"].between(0, 1, inclusive="neither").all()


def test_a_held_out_customer_was_not_learned_from(frame: pd.DataFrame, logistic: Trained) -> None:
    held = (logistic.out_of_fold["fold"] == 1).to_numpy()
    inputs = frame.drop(columns=TARGET)
    alone = pipeline(inputs, estimator(LOGISTIC, 1), scale=True).fit(inputs[~held], frame[TARGET][~held])
    np.testing.assert_allclose(logistic.out_of_fold["p"][held], alone.predict_proba(inputs[held])[:, 1], atol=1e-6)


def test_a_limit_that_no_category_reaches_changes_no_probability(frame: pd.DataFrame) -> None:
    inputs, churned = frame.drop(columns=TARGET), frame[TARGET].to_numpy()
    model = pipeline(inputs, estimator(LOGISTIC, 1), scale=True)
    assert model.get_params()["encode__levels__max_categories"] is None
    limited = clone(model).set_params(encode__levels__max_categories=MAX_LEVELS)
    rows = pd.concat([inputs, inputs.head(9).assign(contract="never seen")])
    p, p_limited = (one.fit(inputs, churned).predict_proba(rows) for one in (model, limited))
    assert (p == p_limited).all()


def test_a_category_that_reaches_its_limit_is_encoded_within_it(frame: pd.DataFrame) -> None:
    inputs, churned = frame.drop(columns=TARGET), frame[TARGET].to_numpy()
    inputs.attrs["max_levels"] = {"contract": inputs["contract"].nunique()}
    encode = pipeline(inputs, estimator(LOGISTIC, 1), scale=True).fit(inputs, churned).named_steps["encode"]
    assert encode.named_transformers_["levels_3"].max_categories == inputs["contract"].nunique() == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic_regression", "random_forest", "gradient_boosting"])
def test_a_shuffled_target_scores_like_a_coin(name: str, frame: pd.DataFrame, models: dict[str, Any]) -> None:
    shuffled = frame.assign(**{TARGET: np.random.default_rng(3).permutation(frame[TARGET])})
    assert summary(trained(shuffled, models[name]))["roc_auc"] == pytest.approx(0.5, abs=0.1)
    assert summary(trained(frame, models[name]))["roc_auc"] > 0.75


def test_rows_of_one_customer_stay_in_one_fold(frame: pd.DataFrame) -> None:
    customer = np.arange(len(frame)) // 4
    several = frame.copy()
    several.insert(1, CUSTOMER, customer)
    found = trained(several, LOGISTIC)
    assert found.out_of_fold.groupby(customer)["fold"].nunique().eq(1).all()
    assert CUSTOMER not in found.model.feature_names_in_


# models


@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_the_params_is_built_with_their_knobs(name: str) -> None:
    spec = dict(MODELS[name])
    made = estimator(spec, seed=7)
    spec.pop("scale", None)
    names = [f"{kind.__module__}.{kind.__name__}" for kind in type(made).__mro__]
    assert spec.pop("estimator").rpartition(".")[2] in {name.rpartition(".")[2] for name in names}
    assert made.get_params() | spec == made.get_params()
    assert made.get_params()["random_state"] == 7


def test_a_seed_of_one_s_own_counts() -> None:
    assert estimator({**MODELS["random_forest"], "random_state": 5}, seed=7).random_state == 5


@pytest.mark.parametrize(
    "name", ["ensemble.ExtraTreesClassifier", "naive_bayes.GaussianNB", "tree.DecisionTreeClassifier"]
)
def test_a_model_that_nobody_proved_is_taken_where_its_fit_has_a_graph(name: str) -> None:
    assert type(estimator({"estimator": f"sklearn.{name}"}, seed=1)).__name__ == name.split(".")[1]


def test_a_missing_number_and_a_new_level_still_have_a_probability(frame: pd.DataFrame, logistic: Trained) -> None:
    row = frame.drop(columns=TARGET).head(1)
    p = logistic.model.predict_proba(row.assign(tenure=np.float32("nan"), contract="never seen"))[0, 1]
    assert 0 < p < 1


def test_a_number_that_is_always_missing_stays_an_input(frame: pd.DataFrame) -> None:
    empty = frame.assign(total_charges=np.float32("nan"))
    found: Pipeline = trained(empty, LOGISTIC).model
    assert found.n_features_in_ == frame.shape[1] - 1


# scores


def test_the_summary_is_mean_deviation_and_gap_of_each_score() -> None:
    folds = [{"roc_auc": 0.7, "f1": 0.5}, {"roc_auc": 0.9, "f1": 0.5}]
    gaps = [{"roc_auc": 0.1, "f1": 0.0}, {"roc_auc": 0.3, "f1": -0.2}]
    found = summary(Trained(Pipeline([("x", None)]), pd.DataFrame(), folds, gaps))
    assert list(found) == ["roc_auc", "roc_auc_std", "roc_auc_gap", "f1", "f1_std", "f1_gap"]
    assert list(found.values()) == pytest.approx([0.8, 0.02**0.5, 0.2, 0.5, 0.0, -0.1])


def test_a_tree_without_bounds_has_the_gap_of_one_that_knows_its_rows(frame: pd.DataFrame) -> None:
    found = trained(frame, {"estimator": "sklearn.tree.DecisionTreeClassifier"})
    for fold, gap in zip(found.folds, found.gaps, strict=True):
        assert fold["roc_auc"] + gap["roc_auc"] == pytest.approx(1.0)
        assert gap["log_loss"] < 0


# the command


@pytest.fixture
def run_main(project: Path, elsewhere: Callable[..., Path]) -> Callable[..., Path]:
    """Run main() of a model on the project's inputs, with some knobs changed; the folder it writes into."""

    def run(name: str, knobs: dict[str, Any] | None = None) -> Path:
        here = elsewhere(knobs)
        main(name, project / "data/features/train.parquet")
        return here

    return run


def test_one_more_entry_in_the_params_is_one_more_model(run_main: Callable[..., Path]) -> None:
    spec = {"estimator": "sklearn.tree.DecisionTreeClassifier", "max_depth": 3}
    here = run_main("tree", {"train.models.tree": spec})
    assert load_model(here / "models/candidates/tree/model.joblib")[-1].max_depth == 3
    assert len(pd.read_parquet(here / "models/candidates/tree/oof.parquet")) > 400
    metrics = json.loads((here / "metrics/train/tree.json").read_text())
    assert list(metrics) == [f"{score}{end}" for score in SCORES for end in ("", "_std", "_gap")]


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "knob": (LOGISTIC | {"max_itr": 5}, "has no knob 'max_itr' (did you mean 'max_iter'?); LogisticRegression has ["),
    "value": (LOGISTIC | {"C": -1.0}, "The 'C' parameter of LogisticRegression must be a float in the range (0.0"),
    "module": ({"estimator": "sklearn.linear.LogisticRegression"}, "estimator is 'sklearn.linear.LogisticRegression';"),
    "name": ({"estimator": "sklearn.svm.SVCC"}, "estimator is 'sklearn.svm.SVCC'; expected an import path like"),
    "no path": ({"estimator": "xgboost"}, "estimator is 'xgboost'; expected an import path like"),
    "none": ({"C": 1.0}, "estimator is 'None'; expected an import path like"),
    "no probabilities": ({"estimator": "sklearn.svm.LinearSVC"}, "estimator is 'sklearn.svm.LinearSVC', which has no"),
    "no graph": (
        {"estimator": "sklearn.semi_supervised.LabelSpreading"},
        "estimator is 'sklearn.semi_supervised.LabelSpreading', which has no ONNX form, and the service",
    ),
    "no graph as a part": (
        {"estimator": "sklearn.ensemble.AdaBoostClassifier"},
        "estimator is 'sklearn.ensemble.AdaBoostClassifier', which has no ONNX form, and the service",
    ),
    "booster": ({"estimator": "xgboost.XGBClassifier", "booster": "dart"}, "booster is 'dart', and the service runs"),
    "objective": (
        {"estimator": "xgboost.XGBClassifier", "objective": "binary:hinge"},
        "objective is 'binary:hinge', and the service runs binary:logistic alone",
    ),
    "missing": ({"estimator": "xgboost.XGBClassifier", "missing": 0.0}, "missing is 0.0, and the service runs nan"),
    "no trees": ({"estimator": "xgboost.XGBClassifier", "n_estimators": 0}, "n_estimators is 0; a model needs a tree"),
    "not an estimator": ({"estimator": "pathlib.Path"}, "estimator is 'pathlib.Path'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_model_is_one_line_that_names_it(case: str, run_main: Callable[..., Path], tmp_path: Path) -> None:
    spec, reason = BROKEN[case]
    with pytest.raises(Exception) as error:
        run_main("mine", {"train.models.mine": spec})
    assert isinstance(error.value, InputError)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"params.yaml: train.models.mine {reason}")
    assert not (tmp_path / "models").exists()


def test_a_model_that_is_not_there_is_named_with_the_one_that_was_meant(run_main: Callable[..., Path]) -> None:
    with pytest.raises(InputError) as error:
        run_main("random_forrest")
    assert str(error.value) == (
        f"params.yaml: train.models has no 'random_forrest' (did you mean 'random_forest'?); it has {list(MODELS)}"
    )


@pytest.mark.parametrize(("knob", "value"), [("folds", 1), ("seed", -1), ("models", [])])
def test_a_knob_out_of_range_is_named(knob: str, value: Any, run_main: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=rf"params.yaml: train.{knob} is "):
        run_main("random_forest", {f"train.{knob}": value})


def test_more_folds_than_leavers_are_one_line(run_main: Callable[..., Path], frame: pd.DataFrame) -> None:
    with pytest.raises(InputError) as error:
        run_main("random_forest", {"train.folds": 400})
    assert str(error.value).endswith(
        f"train.parquet has {frame[TARGET].sum()} customers of one outcome, fewer than train.folds 400"
    )
