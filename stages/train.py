"""train: cross-validate one model of params `train.models`, fit it on all training customers, keep both.

Writes models/candidates/MODEL/{model.joblib,oof.parquet} and metrics/train/MODEL.json.
"""

import argparse
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from pydantic import Field
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter
from threadpoolctl import threadpool_limits

from churn.model import LevelRates, as_double, dump_model
from churn.params import PARAMS, closest, read_params
from churn.schema import CUSTOMER, MAX_LEVELS, TARGET, WEIGHT
from churn.scores import scores, weights_of
from churn.script import InputError, replacing, run, write_json

log = logging.getLogger("train")

EXPORTED = {  # their ONNX form is churn/export.py's own; others are tried before the training
    "sklearn.ensemble.ExtraTreesClassifier",
    "sklearn.ensemble.GradientBoostingClassifier",
    "sklearn.ensemble.HistGradientBoostingClassifier",
    "sklearn.ensemble.RandomForestClassifier",
    "sklearn.linear_model.LogisticRegression",
    "sklearn.tree.DecisionTreeClassifier",
    "xgboost.XGBClassifier",
}
RATED = 10  # levels above which a category's levels are encoded by their churn rates, too


@dataclass(frozen=True)
class Trained:
    """What one model's training leaves behind; n training customers, k folds."""

    model: Pipeline  # fitted on all n
    out_of_fold: (
        pd.DataFrame
    )  # (n, 2): p = P(churned = 1) by the model that did not see the customer, and the fold; -1: in none
    folds: list[dict[str, float]]  # k times the scores on the held-out part
    gaps: list[dict[str, float]]  # k times the scores on the fitted part minus those on the held-out part


def train(
    inputs: pd.DataFrame,
    churned: np.ndarray,
    name: str,
    jobs: int = -1,
    *,
    models: dict[str, dict[str, Any]],
    folds: Annotated[int, Field(ge=2)],
    sample: Annotated[int, Field(ge=1000)],
    seed: Annotated[int, Field(ge=0)],
) -> Trained:
    """Cross-validate and fit model `name`; inputs (n, k), churned (n,) in {0, 1}. The same for any number of jobs.

    Rows of one customer, by the column CUSTOMER where there is one, stay in one fold. Of more than `sample` rows that
    many are cross-validated, at random; the model is fitted on all. They count as often as the column WEIGHT says,
    where there is one: for the classifier and the scores, while what encodes the inputs is of rows.
    """
    customer, weights = inputs.get(CUSTOMER), weights_of(inputs)
    inputs = inputs.drop(columns=[CUSTOMER, WEIGHT], errors="ignore")
    model = pipeline(inputs, estimator(models[name], seed), models[name].get("scale", False))
    chosen = np.arange(len(inputs))
    if len(inputs) > sample:
        chosen = np.sort(np.random.default_rng(seed).choice(len(inputs), sample, replace=False))
    in_fold = np.full(len(inputs), -1, "int8")
    in_fold[chosen] = folds_of(churned[chosen], None if customer is None else customer.to_numpy()[chosen], folds, seed)
    parts = [(np.flatnonzero((in_fold >= 0) & (in_fold != k)), np.flatnonzero(in_fold == k)) for k in range(folds)]
    # threads, not processes: tree building releases the GIL, and a process would import scikit-learn once more;
    # one BLAS thread, because the number of them changes the last digits
    with threadpool_limits(1):
        *of_folds, final = Parallel(n_jobs=jobs, prefer="threads")(
            [
                *(delayed(_cross)(clone(model), inputs, churned, weights, *part) for part in parts),
                delayed(_fit)(clone(model), inputs, churned, weights),
            ]
        )
    out_of_fold = pd.DataFrame({"fold": in_fold, "p": np.full(len(inputs), np.nan)})
    held_out, gaps = [], []
    for (fitted, held), (p_fitted, p_held) in zip(parts, of_folds, strict=True):
        out_of_fold.loc[held, "p"] = p_held
        seen, unseen = (scores(churned[i], p, weights=weights[i]) for i, p in ((fitted, p_fitted), (held, p_held)))
        held_out.append(unseen)
        gaps.append({key: seen[key] - unseen[key] for key in unseen})
    return Trained(final, out_of_fold, held_out, gaps)


def folds_of(churned: np.ndarray, customer: np.ndarray | None, folds: int, seed: int) -> np.ndarray:
    """(n,) the fold of each row, stratified; rows of one customer (n,) follow the first one's."""
    _, firsts, place = (
        (None, np.arange(len(churned)), np.arange(len(churned)))
        if customer is None
        else np.unique(customer, return_index=True, return_inverse=True)
    )
    found = np.empty(len(firsts), "int8")
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, held) in enumerate(splitter.split(firsts, churned[firsts])):
        found[held] = fold
    return found[place]


def pipeline(inputs: pd.DataFrame, classifier: ClassifierMixin, scale: bool = False) -> Pipeline:
    """All that is fitted, for model inputs as featurize writes them: encode, then the classifier.

    Numbers are imputed, and scaled with `scale`, except for classifiers that take missing ones themselves: those read
    float32, all others double. Categories are one-hot, their rare levels as one; those with many levels are
    encoded by churn rates as well.
    """
    numbers = inputs.select_dtypes("number").columns
    # by position: the exported graph reads two tensors, one of numbers and one of categories, and no names
    first, last = list(range(len(numbers))), range(len(numbers), inputs.shape[1])
    takes_missing = get_tags(classifier).input_tags.allow_nan and not scale
    imputer = ("impute", SimpleImputer(strategy="median", keep_empty_features=True))
    double = [("double", FunctionTransformer(as_double)), *([("scale", StandardScaler())] if scale else [])]
    levels = {column: inputs.iloc[:, column].nunique() for column in last}
    most = {column: inputs.attrs.get("max_levels", {}).get(inputs.columns[column], MAX_LEVELS) for column in last}
    # with a limit the encoder counts the levels, which takes as long as a logistic regression
    limits = {column: most[column] if levels[column] >= most[column] else None for column in last}
    one_hot = [
        (
            f"levels_{limit}" if limit else "levels",
            OneHotEncoder(
                max_categories=limit,
                handle_unknown="infrequent_if_exist",
                sparse_output=False,
                dtype="float32" if takes_missing else "float64",
            ),
            [column for column in last if limits[column] == limit],
        )
        for limit in sorted(set(limits.values()), key=lambda limit: limit or 0)
    ]
    many = [column for column in last if levels[column] > RATED]
    rates = ("rates", LevelRates(target_type="binary", cv=StratifiedKFold(5, shuffle=True, random_state=0)))
    encode = ColumnTransformer(
        [
            ("numbers", "passthrough" if takes_missing else Pipeline([imputer, *double]), first),
            *one_hot,
            ("rates", Pipeline([rates] if takes_missing else [rates, *double]), many),
        ]
    )
    return Pipeline([("encode", encode), ("classify", classifier)])


def estimator(spec: Mapping[str, Any], seed: int) -> ClassifierMixin:
    """The classifier of an entry of train.models: an import path and its parameters."""
    knobs = {knob: value for knob, value in spec.items() if knob != "scale"}
    path = str(knobs.pop("estimator", None))
    try:
        module, _, attribute = path.rpartition(".")
        cls = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError):
        raise InputError(f"estimator is {path!r}; expected an import path like sklearn.svm.SVC") from None
    if not (isinstance(cls, type) and issubclass(cls, BaseEstimator) and hasattr(cls, "predict_proba")):
        raise InputError(f"estimator is {path!r}, which has no predict_proba; expected a scikit-learn classifier")
    if path == "xgboost.XGBClassifier":
        from churn.boosting import XGBoost as cls
    known = cls().get_params()
    for knob in knobs:
        if knob not in known:
            raise InputError(f"has no knob '{knob}'{closest(knob, list(known))}; {cls.__name__} has {sorted(known)}")
    # one thread inside a fit, which is scikit-learn's own default: folds run side by side
    fixed = {"random_state": seed} | ({} if path.startswith("sklearn.") else {"n_jobs": 1})
    made = cls(**{knob: value for knob, value in fixed.items() if knob in known} | knobs)
    if path not in EXPORTED:
        check_exportable(made, path)
    return made


def check_exportable(classifier: ClassifierMixin, path: str) -> None:
    """Refuse now what deploy would refuse after the training: a classifier whose fit has no ONNX form."""
    from onnx import checker, helper
    from skl2onnx import convert_sklearn  # half a second
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import make_classification

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the training warns
        try:
            fitted = clone(classifier).fit(*make_classification(200, n_features=4, random_state=0))
        except Exception:  # the training says better what is wrong with the parameters
            return
    try:
        kinds, options = [("x", FloatTensorType([None, 4]))], {"zipmap": False}
        made = convert_sklearn(fitted, initial_types=kinds, options=options, target_opset={"": 21, "ai.onnx.ml": 3})
        # as a part of the release's graph, where some nodes of skl2onnx are not known
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 5)]
        checker.check_model(helper.make_model(made.graph, opset_imports=opsets))
    except Exception as error:  # the converters raise whatever they like
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"estimator is {path!r}, which has no ONNX form, and the service runs no other: {reason}"
        ) from None


def summary(trained: Trained) -> dict[str, float]:
    """Each score's mean over the folds, its standard deviation (k - 1), and the mean gap of fitted to held-out part."""
    folds, gaps = pd.DataFrame(trained.folds), pd.DataFrame(trained.gaps)
    return {
        key: float(value)
        for name in folds
        for key, value in {
            name: folds[name].mean(),
            f"{name}_std": folds[name].std(),
            f"{name}_gap": gaps[name].mean(),
        }.items()
    }


def main(
    name: str,
    inputs: Path = Path("data/features/train.parquet"),
    candidates: Path = Path("models/candidates"),
    metrics: Path = Path("metrics/train"),
) -> None:
    knobs = read_params("train", train)
    if name not in knobs["models"]:
        there = list(knobs["models"])
        raise InputError(f"{PARAMS}: train.models has no '{name}'{closest(name, there)}; it has {there}")
    frame = pd.read_parquet(inputs)
    rarest = int(frame[TARGET].value_counts().min())
    if rarest < knobs["folds"]:
        raise InputError(f"{inputs} has {rarest} customers of one outcome, fewer than train.folds {knobs['folds']}")
    try:
        trained = train(frame.drop(columns=TARGET), frame[TARGET].to_numpy(), name, **knobs)
    except (InputError, ValueError, TypeError, AttributeError) as error:
        # scikit-learn names the parameter and the values it takes
        raise InputError(f"{PARAMS}: train.models.{name} {' '.join(str(error).split())}") from error
    mean = summary(trained)
    with replacing(candidates / name / "model.joblib") as temporary:
        dump_model(trained.model, temporary)
    with replacing(candidates / name / "oof.parquet") as temporary:
        trained.out_of_fold.to_parquet(temporary, index=False)
    write_json(metrics / f"{name}.json", mean)
    log.info("%s: ROC AUC %.4f +- %.4f over %d folds", name, mean["roc_auc"], mean["roc_auc_std"], len(trained.folds))


def _fit(model: Pipeline, inputs: pd.DataFrame, churned: np.ndarray, weights: np.ndarray) -> Pipeline:
    counted = {"classify__sample_weight": weights} if (weights != 1).any() else {}
    if counted and not has_fit_parameter(model[-1], "sample_weight"):
        raise InputError(f"is a {type(model[-1]).__name__}, which takes no weights; leave it out, or data.weight")
    # OpenMP's limit is each thread's own
    with threadpool_limits(1, user_api="openmp"):
        return model.fit(inputs, churned, **counted)


def _cross(
    model: Pipeline,
    inputs: pd.DataFrame,
    churned: np.ndarray,
    weights: np.ndarray,
    fitted: np.ndarray,
    held: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """P(churned = 1) of the customers that were fitted, and of those held out."""
    _fit(model, inputs.iloc[fitted], churned[fitted], weights[fitted])
    of_fitted, of_held = (model.predict_proba(inputs.iloc[rows])[:, 1].astype("float64") for rows in (fitted, held))
    return of_fitted, of_held


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a key of train.models in params.yaml")
    arguments = parser.parse_args()
    run(lambda: main(arguments.model), "train")
