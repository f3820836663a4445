"""From a fitted pipeline to its ONNX graph: the other half of churn/scorer.py, which runs the graph."""

import sys
from typing import Any

import onnx
from onnx import TensorProto, helper
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
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from churn.calibration import EDGE
from churn.model import Calibrated
from churn.script import InputError


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
