"""deploy: write the release bundle models/release/ and prove that its graph is the model; register it in MLflow."""

import json
import logging
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import joblib
import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper
from pydantic import Field
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.algebra.onnx_ops import (
    OnnxAdd,
    OnnxArgMax,
    OnnxCast,
    OnnxConcat,
    OnnxMatMul,
    OnnxNeg,
    OnnxSigmoid,
)
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
from skl2onnx.common.utils_sklearn import enumerate_model_names
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from churn import release
from churn.calibration import EDGE
from churn.model import AddFeatures, Calibrated, assemble, load_model
from churn.params import read_knobs, read_params, read_section
from churn.profit import Profit
from churn.schema import CUSTOMER, TARGET, Schema, read_schema
from churn.scorer import Scorer
from churn.scores import scores
from churn.script import InputError, run
from churn.tracking import Tracker, track

log = logging.getLogger("deploy")

TOLERANCE = 1e-6  # between the graph and the scikit-learn pipeline, on every row
LIBRARIES = ("numpy", "pandas", "scikit-learn", "xgboost-cpu", "skl2onnx", "onnx", "onnxruntime")


def export(model: Pipeline) -> onnx.ModelProto:
    """The fitted part of `model` as a graph from (n, k) numbers and (n, m) categories to (n,) churn_probability."""
    add_features, fitted = model.named_steps["add_features"], model.named_steps["model"]
    calibrated = isinstance(fitted, Calibrated)
    slope, intercept = (fitted.slope, fitted.intercept) if calibrated else (None, None)
    fitted_alone = fitted.model if calibrated else fitted
    if "xgboost" in sys.modules:  # the model was made of it
        _register_xgboost()
    _register_logistic_regression()
    widths = (len(add_features.numbers_), len(add_features.categories_))
    types = (("numbers", FloatTensorType), ("categories", StringTensorType))
    inputs = [(name, kind([None, width])) for (name, kind), width in zip(types, widths, strict=True) if width]
    # divided as scikit-learn does it, for weights that nearly cancel each other make much of the last digit
    divided = {
        f"{name}__div": "div" for name, part in enumerate_model_names(fitted_alone) if isinstance(part, StandardScaler)
    }
    try:
        converted = convert_sklearn(
            fitted_alone,
            name="churn",
            initial_types=inputs,
            options={"zipmap": False, **divided},
            target_opset={"": 21, "ai.onnx.ml": 3},
        )
    except Exception as error:  # the converters raise whatever they like
        kind, reason = type(fitted_alone[-1]).__name__, " ".join(str(error).split())[:200]
        raise InputError(f"{kind} has no ONNX form, take it out of train.models: {reason}") from error
    graph = converted.graph
    constants, nodes = _churn_probability(slope, intercept)
    graph.initializer.extend(constants)
    graph.node.extend(nodes)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("churn_probability", TensorProto.DOUBLE, [None]))
    # the converter keeps them in a set, whose order changes from process to process
    opsets = sorted(converted.opset_import, key=lambda opset: opset.domain)
    del converted.opset_import[:]
    converted.opset_import.extend(opsets)
    onnx.checker.check_model(converted)
    return converted


def _churn_probability(slope: float | None, intercept: float | None) -> tuple[list[Any], list[Any]]:
    """Constants and nodes from the converter's `probabilities` (n, 2) to (n,) of class 1, calibrated in double."""
    constants = [
        helper.make_tensor("churn_class", TensorProto.INT64, [1], [1]),
        helper.make_tensor("churn_shape", TensorProto.INT64, [1], [-1]),
    ]
    nodes = [
        helper.make_node("Gather", ["probabilities", "churn_class"], ["churn_column"], axis=1),
        helper.make_node("Reshape", ["churn_column", "churn_shape"], ["churn_float"]),
        helper.make_node("Cast", ["churn_float"], ["churn_raw"], to=TensorProto.DOUBLE),
    ]
    if slope is None:
        nodes[-1].output[0] = "churn_probability"
        return constants, nodes
    values = {"low": EDGE, "high": 1 - EDGE, "one": 1.0, "slope": slope, "intercept": intercept}
    constants += [helper.make_tensor(f"churn_{key}", TensorProto.DOUBLE, [], [value]) for key, value in values.items()]
    steps = [
        ("Clip", ["raw", "low", "high"], "clipped"),
        ("Sub", ["one", "clipped"], "other"),
        ("Div", ["clipped", "other"], "odds"),
        ("Log", ["odds"], "logit"),
        ("Mul", ["logit", "slope"], "stretched"),
        ("Add", ["stretched", "intercept"], "shifted"),
        ("Sigmoid", ["shifted"], "probability"),
    ]
    nodes += [helper.make_node(op, [f"churn_{name}" for name in names], [f"churn_{out}"]) for op, names, out in steps]
    return constants, nodes


def _register_xgboost() -> None:
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    from xgboost import XGBClassifier

    options = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    shapes = calculate_linear_classifier_output_shapes
    update_registered_converter(XGBClassifier, "XGBoostXGBClassifier", shapes, convert_xgboost, options=options)


def _register_logistic_regression() -> None:
    """Sums in double, as scikit-learn has it: in float, weights that nearly cancel each other cost 1e-6 and more."""
    update_registered_converter(
        LogisticRegression,
        "SklearnLinearClassifier",
        calculate_linear_classifier_output_shapes,
        _convert_logistic_regression,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )


def _convert_logistic_regression(scope: Any, operator: Any, container: Any) -> None:
    model, (label, probabilities) = operator.raw_operator, operator.outputs
    version, weights = {"op_version": container.target_opset}, model.coef_.astype("float64").T
    x = OnnxCast(operator.inputs[0], to=TensorProto.DOUBLE, **version)
    odds = OnnxAdd(OnnxMatMul(x, weights, **version), model.intercept_.astype("float64"), **version)
    both = OnnxConcat(OnnxSigmoid(OnnxNeg(odds, **version), **version), OnnxSigmoid(odds, **version), axis=1, **version)
    OnnxCast(both, to=TensorProto.FLOAT, output_names=[probabilities.full_name], **version).add_to(scope, container)
    OnnxArgMax(both, axis=1, keepdims=0, output_names=[label.full_name], **version).add_to(scope, container)


def edge_customers(train: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Rows at the ends: each number at its range's ends, each level never seen, and all that may be missing missing.

    Where the schema leaves a range open, ten times the training customers' stands in.
    """
    usual = train.iloc[[0]]
    rows = []
    for column in schema.columns:
        values: list[Any] = []
        if column.type == "number":
            low, high = train[column.name].min(), train[column.name].max()
            values = [low * 10 if column.min is None else column.min, high * 10 if column.max is None else column.max]
        elif column.type == "category":
            values = ["a level never seen"]
        if column.nullable:
            values.append(None)
        rows += [usual.assign(**{column.name: pd.Series([v], usual.index, train[column.name].dtype)}) for v in values]
    for kind, value in (("category", "a level never seen"), ("nullable", None)):
        chosen = [c.name for c in schema.columns if (c.type == kind or (kind == "nullable" and c.nullable))]
        rows.append(usual.assign(**{n: pd.Series([value], usual.index, train[n].dtype) for n in chosen}))
    return pd.concat(rows, ignore_index=True)


def records(customers: pd.DataFrame) -> list[dict[str, Any]]:
    """Customers as requests and golden lines hold them: true or false, null where missing."""
    columns = {name: customers[name].astype(object).where(customers[name].notna(), None).tolist() for name in customers}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def prove(scorer: Scorer, model: Pipeline, customers: Mapping[str, pd.DataFrame]) -> float:
    """The largest gap between the graph and the pipeline over all customers; above 1e-6 it is an InputError."""
    largest = 0.0
    for source, rows in customers.items():
        gaps = np.abs(scorer.probabilities(records(rows)) - model.predict_proba(rows)[:, 1])
        if not (gaps <= TOLERANCE).all():
            worst = int(np.argmax(np.where(np.isnan(gaps), np.inf, gaps)))
            raise InputError(
                f"the ONNX graph differs from the pipeline by {gaps[worst]:.2e} (allowed {TOLERANCE:.0e}) "
                f"in row {worst + 1} of the {source} customers; {(~(gaps <= TOLERANCE)).sum()} of {len(gaps)} differ"
            )
        largest = max(largest, float(gaps.max()))
    return largest


def golden_customers(test: pd.DataFrame, p: np.ndarray, golden: int) -> pd.DataFrame:
    """`golden` test customers spread evenly over the ranks of their probabilities."""
    order = np.argsort(p, kind="stable")
    return test.iloc[np.sort(order[np.linspace(0, len(order) - 1, min(golden, len(order))).astype(int)])]


def card(
    model: Pipeline,
    found: Mapping[str, Any],
    data: Mapping[str, Any],
    parameters: Mapping[str, Any],
    *,
    intended_use: str,
    limits: list[str],
    golden: Annotated[int, Field(ge=100)],
    reference: Annotated[int, Field(ge=100)],
    holdout: Annotated[int, Field(ge=100)],
    seed: Annotated[int, Field(ge=0)],
) -> dict[str, Any]:
    """What a reader of the bundle must know. No date, host or run id: equal inputs give equal bytes."""
    add_features: AddFeatures = model.named_steps["add_features"]
    fitted = model.named_steps["model"]
    encode = (fitted.model if isinstance(fitted, Calibrated) else fitted).named_steps["encode"]
    learned = encode.named_transformers_["categories"].categories_ if add_features.categories_ else []
    levels = {
        name: [str(level) for level in seen] for name, seen in zip(add_features.categories_, learned, strict=True)
    }
    return {
        "model": found["select"]["winner"],
        "parameters": dict(parameters),
        "threshold": {
            "value": found["select"]["threshold"],
            "chosen_by": found["select"]["threshold_by"],
            "profit": asdict(found["profit"]),
        },
        "calibration": {key: found["select"][f"calibration_{key}"] for key in ("slope", "intercept")},
        "cross_validation": dict(found["train"]),
        "test": dict(found["evaluate"]),
        "data": dict(data),
        "features": add_features.names_,
        "inputs": {"numbers": add_features.numbers_, "categories": levels},
        "samples": {"golden": golden, "reference": reference, "holdout": holdout, "seed": seed},
        "libraries": {name: version(name) for name in LIBRARIES},
        "intended_use": intended_use,
        "limits": limits,
    }


def tell(tracker: Tracker, card: Mapping[str, Any], folder: Path, candidates: Path, inputs: Path, train: Path) -> None:
    """Tell MLflow of this reproduction: one run for the release and below it one for each model that was trained.

    It is told here, once, and not by every `train`: importing MLflow takes longer than fitting most of the models.
    """
    version_ = card["model_version"]
    with tracker.run(os.environ.get("DVC_EXP_NAME") or f"release {version_}", model_version=version_) as parent:
        tracker.card(parent, card)
        frame, specs = read_inputs(inputs), read_section("train.models")
        data_set, head = tracker.data_set(frame, inputs), frame.drop(columns=TARGET).head(100)
        out_of_fold = {name: pd.read_parquet(candidates / name / "oof.parquet") for name in specs}
        drawn = figure(frame[TARGET], {name: oof["p"] for name, oof in out_of_fold.items()})
        tracker.client.log_figure(parent.info.run_id, drawn, "models.png", save_kwargs={"dpi": 80})
        for name, oof in out_of_fold.items():
            with tracker.run(name, parent, model=name) as child:
                tracker.values(child, specs[name], by_fold(frame[TARGET].to_numpy(), oof))
                tracker.client.log_inputs(child.info.run_id, [data_set])
                tracker.model(child, name, candidates / name / "model.joblib", head, oof["p"].head(100))
        pipeline = load_model(folder / release.PIPELINE)
        sample = pd.read_parquet(train)[list(pipeline.feature_names_in_)].head(100)
        p = pipeline.predict_proba(sample)[:, 1]
        logged = tracker.model(parent, "release", folder, sample, p, model_version=version_)
        tracker.register(parent, logged, version_)


def by_fold(churned: np.ndarray, oof: pd.DataFrame) -> list[tuple[str, float, int]]:
    """Each score of each fold, and their mean over the folds, as (name, value, fold)."""
    parts = [(oof["fold"] == fold).to_numpy() for fold in sorted(oof["fold"].unique())]
    folds = [scores(churned[part], oof["p"].to_numpy()[part]) for part in parts]
    steps = [(f"fold_{key}", value, fold) for fold, found in enumerate(folds) for key, value in found.items()]
    return steps + [(key, float(np.mean([found[key] for found in folds])), 0) for key in folds[0]]


def figure(churned: pd.Series, p: Mapping[str, pd.Series]) -> Any:
    """ROC curves and calibration of the models' out-of-fold probabilities, side by side."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(12, 5.5))
    roc, calibration = drawn.subplots(1, 2)
    for name, q in p.items():
        fpr, tpr, _ = roc_curve(churned, q)
        observed, predicted = calibration_curve(churned, q, n_bins=10, strategy="quantile")
        roc.plot(fpr, tpr, label=name, linewidth=1)
        calibration.plot(predicted, observed, marker="o", label=name, linewidth=1)
    roc.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC, out-of-fold")
    calibration.set(xlabel="predicted probability", ylabel="observed share", title="calibration, out-of-fold")
    for axes in (roc, calibration):
        axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
        axes.legend()
    return drawn


def read_inputs(path: Path) -> pd.DataFrame:
    """The training customers' outcomes and model inputs."""
    return pd.read_parquet(path).drop(columns=CUSTOMER, errors="ignore")


def sample(customers: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """n of them at random, or all, in their order."""
    return customers.sample(min(n, len(customers)), random_state=seed).sort_index()


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_release(
    building: Path, model: Pipeline, schema: Path, card: Mapping[str, Any], customers: Mapping[str, pd.DataFrame],
    test_churned: pd.Series, reference: pd.DataFrame,
) -> tuple[str, float]:  # fmt: skip
    """Fill the folder `building`, prove what it holds and seal it; the version, and the largest gap that was found."""
    onnx.save(export(model), building / release.MODEL)
    joblib.dump(model, building / release.PIPELINE)
    shutil.copy(schema, building / release.SCHEMA)
    samples = card["samples"]
    sample(reference, samples["reference"], samples["seed"]).to_parquet(building / release.REFERENCE, index=False)
    scorer = Scorer(release.unsealed(building, read_schema(building / release.SCHEMA), card))
    gap = prove(scorer, model, customers)
    p = model.predict_proba(customers["test"])[:, 1]
    golden = records(pd.concat([golden_customers(customers["test"], p, samples["golden"]), customers["edge"]]))
    scored = zip(golden, scorer.probabilities(golden).tolist(), strict=True)
    write_lines(building / release.GOLDEN, [{"customer": customer, "churn_probability": q} for customer, q in scored])
    kept = sample(customers["test"], samples["holdout"], samples["seed"])
    outcomes = zip(records(kept), test_churned[kept.index].astype(bool).tolist(), strict=True)
    write_lines(
        building / release.HOLDOUT, [{"customer": customer, "churned": churned} for customer, churned in outcomes]
    )
    sealed = release.seal(building, card)
    Scorer.open(building)
    return sealed, gap


def main(
    selected: Path = Path("models/selected/candidate.joblib"),
    out_of_fold: Path = Path("models/selected/oof.parquet"),
    candidates: Path = Path("models/candidates"),
    inputs: Path = Path("data/features/train.parquet"),
    train: Path = Path("data/train.parquet"),
    test: Path = Path("data/test.parquet"),
    train_metrics: Path = Path("metrics/train"),
    select_metrics: Path = Path("metrics/select.json"),
    evaluate_metrics: Path = Path("metrics/evaluate.json"),
    folder: Path = Path("models/release"),
) -> None:
    data, choice = read_section("data"), json.loads(select_metrics.read_text())
    schema = read_schema(Path(data["schema"]))
    splits = {"training": pd.read_parquet(train), "test": pd.read_parquet(test)}
    customers = {source: rows[[column.name for column in schema.columns]] for source, rows in splits.items()}
    customers["edge"] = edge_customers(customers["training"], schema)
    features, calibration = read_section("featurize")["features"], ("calibration_slope", "calibration_intercept")
    model = assemble(load_model(selected), customers["training"], features, *(choice[key] for key in calibration))
    found = {
        "train": json.loads((train_metrics / f"{choice['winner']}.json").read_text()),
        "select": choice,
        "evaluate": json.loads(evaluate_metrics.read_text()),
        "profit": read_knobs("profit", Profit),
    }
    facts = {
        "table": Path(data["path"]).name,
        "sha256": release.file_hash(Path(data["path"])),
        "train_customers": len(splits["training"]),
        "test_customers": len(splits["test"]),
        "churn_rate": round(float(splits["training"][TARGET].astype("float64").mean()), 6),
    }
    spec = read_section("train.models")[choice["winner"]]
    described = card(model, found, facts, spec, **read_params("deploy", card))
    reference = read_inputs(inputs).assign(churn_probability=pd.read_parquet(out_of_fold)["p"])
    building = folder.with_name(f".{folder.name}.{os.getpid()}")
    building.mkdir(parents=True)
    try:
        churned = splits["test"][TARGET]
        sealed, gap = write_release(building, model, Path(data["schema"]), described, customers, churned, reference)
        shutil.rmtree(folder, ignore_errors=True)
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    rows = sum(map(len, customers.values()))
    log.info("wrote %s: version %s, the graph equals the pipeline within %.1e on %d rows", folder, sealed, gap, rows)
    whole = release.open_release(folder).card
    track(f"release {sealed}", lambda tracker: tell(tracker, whole, folder, candidates, inputs, train))


if __name__ == "__main__":
    run(main, "deploy")
