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

import joblib
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from pydantic import Field
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification
from sklearn.impute import SimpleImputer
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from churn.params import PARAMS, closest, read_params
from churn.schema import CUSTOMER, TARGET
from churn.scores import scores
from churn.script import InputError, replacing, run, write_json

log = logging.getLogger("train")

EXPORTED = {  # their ONNX form is proved by tests; others are tried before the training
    "sklearn.ensemble.GradientBoostingClassifier",
    "sklearn.ensemble.RandomForestClassifier",
    "sklearn.linear_model.LogisticRegression",
    "xgboost.XGBClassifier",
}


@dataclass(frozen=True)
class Trained:
    """What one model's training leaves behind; n training customers, k folds."""

    model: Pipeline  # fitted on all n
    out_of_fold: pd.DataFrame  # (n, 2): fold, and p = P(churned = 1) by the model that did not see the customer
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
    seed: Annotated[int, Field(ge=0)],
) -> Trained:
    """Cross-validate and fit model `name`; inputs (n, k), churned (n,) in {0, 1}. The same for any number of jobs.

    Rows of one customer, by the column CUSTOMER where there is one, stay in one fold.
    """
    customer, inputs = inputs.get(CUSTOMER), inputs.drop(columns=CUSTOMER, errors="ignore")
    model = pipeline(inputs, estimator(models[name], seed))
    splitter = StratifiedKFold if customer is None else StratifiedGroupKFold
    parts = list(splitter(folds, shuffle=True, random_state=seed).split(inputs, churned, customer))
    everyone = np.arange(len(inputs))
    # threads, not processes: tree building releases the GIL, and a process would import scikit-learn once more;
    # one BLAS thread, because the number of them changes the last digits
    with threadpool_limits(1):
        *of_folds, (final, _) = Parallel(n_jobs=jobs, prefer="threads")(
            delayed(_fit)(clone(model), inputs, churned, fitted) for fitted in [*(part[0] for part in parts), everyone]
        )
    out_of_fold = pd.DataFrame({"fold": np.zeros(len(inputs), "int8"), "p": np.zeros(len(inputs))})
    held_out, gaps = [], []
    for fold, ((fitted, held), (_, p)) in enumerate(zip(parts, of_folds, strict=True)):
        out_of_fold.loc[held, "fold"] = fold
        out_of_fold.loc[held, "p"] = p[held]
        seen, unseen = scores(churned[fitted], p[fitted]), scores(churned[held], p[held])
        held_out.append(unseen)
        gaps.append({key: seen[key] - unseen[key] for key in unseen})
    return Trained(final, out_of_fold, held_out, gaps)


def pipeline(inputs: pd.DataFrame, classifier: ClassifierMixin) -> Pipeline:
    """All that is fitted, for model inputs as featurize writes them: impute, encode, then the classifier."""
    numbers = inputs.select_dtypes("number").columns
    # by position: the exported graph reads two tensors, one of numbers and one of categories, and no names
    first, last = list(range(len(numbers))), list(range(len(numbers), inputs.shape[1]))
    encode = ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy="median", keep_empty_features=True), first),
            ("categories", OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype="float32"), last),
        ]
    )
    return Pipeline([("encode", encode), ("classify", classifier)])


def estimator(spec: Mapping[str, Any], seed: int) -> ClassifierMixin:
    """The classifier of an entry of train.models: `members` make a blend, else an import path and its parameters."""
    knobs = dict(spec)
    if members := knobs.pop("members", None):
        # flatten_transform: the converter to ONNX knows the unflattened average alone
        blended = [(name, estimator(member, seed)) for name, member in members.items()]
        from sklearn.ensemble import VotingClassifier

        return VotingClassifier(blended, voting="soft", flatten_transform=False, **knobs)
    path, scale = str(knobs.pop("estimator", None)), knobs.pop("scale", False)
    try:
        module, _, attribute = path.rpartition(".")
        cls = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError):
        raise InputError(f"estimator is {path!r}; expected an import path like sklearn.svm.SVC, or members") from None
    if not (isinstance(cls, type) and issubclass(cls, BaseEstimator) and hasattr(cls, "predict_proba")):
        raise InputError(f"estimator is {path!r}, which has no predict_proba; expected a scikit-learn classifier")
    known = cls().get_params()
    for knob in knobs:
        if knob not in known:
            raise InputError(f"has no knob '{knob}'{closest(knob, list(known))}; {cls.__name__} has {sorted(known)}")
    # one thread inside a fit, which is scikit-learn's own default: folds run side by side
    fixed = {"random_state": seed} | ({} if path.startswith("sklearn.") else {"n_jobs": 1})
    made = cls(**{knob: value for knob, value in fixed.items() if knob in known} | knobs)
    if path not in EXPORTED:
        check_exportable(made, path)
    return make_pipeline(StandardScaler(), made) if scale else made


def check_exportable(classifier: ClassifierMixin, path: str) -> None:
    """Refuse now what deploy would refuse after the training: a classifier whose fit has no ONNX form."""
    from skl2onnx import convert_sklearn  # half a second
    from skl2onnx.common.data_types import FloatTensorType

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the training warns
        try:
            fitted = clone(classifier).fit(*make_classification(200, n_features=4, random_state=0))
        except Exception:  # the training says better what is wrong with the parameters
            return
    try:
        convert_sklearn(fitted, initial_types=[("x", FloatTensorType([None, 4]))], options={"zipmap": False})
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
        joblib.dump(trained.model, temporary)
    with replacing(candidates / name / "oof.parquet") as temporary:
        trained.out_of_fold.to_parquet(temporary, index=False)
    write_json(metrics / f"{name}.json", mean)
    log.info("%s: ROC AUC %.4f +- %.4f over %d folds", name, mean["roc_auc"], mean["roc_auc_std"], len(trained.folds))


def _fit(model: Pipeline, inputs: pd.DataFrame, churned: np.ndarray, fitted: np.ndarray) -> tuple[Pipeline, np.ndarray]:
    model.fit(inputs.iloc[fitted], churned[fitted])
    return model, model.predict_proba(inputs)[:, 1].astype("float64")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a key of train.models in params.yaml")
    arguments = parser.parse_args()
    run(lambda: main(arguments.model), "train")
