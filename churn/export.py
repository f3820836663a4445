"""From a fitted pipeline to its ONNX graph: the other half of churn/scorer.py, which runs the graph.

The graph repeats what scikit-learn and XGBoost do operation by operation, in the same precision: float32 where they
have float32, double where they have double. Every probability is double, since a calibration makes much of the last
digits of one near 0 or 1. Other estimators than those below are converted by skl2onnx, whose sums are float32.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from churn.calibration import EDGE
from churn.model import Calibrated, Ensemble, LevelRates, as_double
from churn.script import InputError
from churn.trees import Trees, boosted_trees, forest_trees, histogram_trees, xgboost_trees

OPSETS = {"": 21, "ai.onnx.ml": 5}
ML = "ai.onnx.ml"


def export(model: Pipeline) -> onnx.ModelProto:
    """The fitted part of `model` as a graph from (n, k) numbers and (n, m) categories to (n,) churn_probability."""
    add_features, fitted = model.named_steps["add_features"], model.named_steps["model"]
    graph = Graph()
    p = graph.probability(fitted.model if isinstance(fitted, Calibrated) else fitted)
    if isinstance(fitted, Calibrated):
        p = graph.calibrated(p, fitted.slope, fitted.intercept)
    graph.add("Identity", p, output="churn_probability")
    inputs = [
        helper.make_tensor_value_info(name, kind, [None, len(columns)])
        for name, kind, columns in (
            ("numbers", TensorProto.FLOAT, add_features.numbers_),
            ("categories", TensorProto.STRING, add_features.categories_),
        )
        if columns
    ]
    output = helper.make_tensor_value_info("churn_probability", TensorProto.DOUBLE, [None])
    made = helper.make_model(
        helper.make_graph(graph.nodes, "churn", inputs, [output], graph.constants),
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in OPSETS.items()],
        ir_version=10,
        producer_name="churn",
    )
    onnx.checker.check_model(made)
    return made


class Graph:
    """Nodes and constants of a graph under construction; its methods add some and return the name of their output."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._names: dict[tuple[str, bytes, tuple[int, ...]], str] = {}

    def add(self, op: str, *inputs: str, domain: str = "", output: str = "", **attributes: Any) -> str:
        output = output or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], domain=domain, **attributes))
        return output

    def constant(self, value: Any, dtype: str) -> str:
        array = np.asarray(value, dtype)
        key = (dtype, array.tobytes(), array.shape)
        if key not in self._names:
            self._names[key] = f"constant_{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(array, self._names[key]))
        return self._names[key]

    def double(self, name: str) -> str:
        return self.add("Cast", name, to=TensorProto.DOUBLE)

    def single(self, name: str) -> str:
        """As scikit-learn's trees and XGBoost read whatever they are given, scaled numbers too."""
        return self.add("Cast", name, to=TensorProto.FLOAT)

    # from the inputs to probabilities

    def probability(self, model: Any) -> str:
        """(n,) double of class 1."""
        if isinstance(model, Ensemble):
            parts = [
                self.add("Mul", self.probability(model.members[name]), self.constant(weight, "float64"))
                for name, weight in model.weights.items()
            ]
            return self.add("Sum", *parts)
        x, is_double = self.encoded(model.named_steps["encode"])
        classifier = model.named_steps["classify"]
        of = next((of for kind, of in CLASSIFIERS.items() if isinstance(classifier, kind)), None)
        if type(classifier).__name__ == "XGBoost":  # whose class is not imported for its name alone
            of = xgboost
        p = of(self, x, classifier) if of else self.converted(x, is_double, classifier)
        return self.add("Reshape", p, self.constant([-1], "int64"))

    def calibrated(self, p: str, slope: float, intercept: float) -> str:
        """As churn/calibration.py does it."""
        low, high, one, slope_, intercept_ = (
            self.constant(value, "float64") for value in (EDGE, 1 - EDGE, 1.0, slope, intercept)
        )
        p = self.add("Clip", p, low, high)
        log_odds = self.add("Log", self.add("Div", p, self.add("Sub", one, p)))
        return self.add("Sigmoid", self.add("Add", self.add("Mul", log_odds, slope_), intercept_))

    # encoding

    def encoded(self, encode: ColumnTransformer) -> tuple[str, bool]:
        """(n, width) what the classifier reads, and whether it is double, else float32."""
        parts = []
        n_numbers = sum(len(columns) for name, _, columns in encode.transformers_ if name == "numbers")
        for name, step, columns in encode.transformers_:
            if not len(columns) or name == "remainder":
                continue
            source, first = ("numbers", 0) if name == "numbers" else ("categories", n_numbers)
            parts.append(self.transformed(source, [column - first for column in columns], step))
        is_double = any(double for _, double in parts)
        names = [self.double(part) if is_double and not double else part for part, double in parts]
        return (self.add("Concat", *names, axis=1) if len(names) > 1 else names[0]), is_double

    def transformed(self, x: str, columns: list[int], step: Any) -> tuple[str, bool]:
        is_double = False
        for part in step.named_steps.values() if isinstance(step, Pipeline) else [step]:
            dtype = "float64" if is_double else "float32"
            match part:
                case OneHotEncoder():
                    x, is_double = self.one_hot(x, columns, part), part.dtype == "float64"
                    x = self.double(x) if is_double else x
                case LevelRates():
                    x = self.rates(x, columns, part)
                case SimpleImputer():
                    x = self.add("Where", self.add("IsNaN", x), self.constant(part.statistics_, dtype), x)
                case StandardScaler():
                    centred = self.add("Sub", x, self.constant(part.mean_, dtype))
                    x = self.add("Div", centred, self.constant(part.scale_, dtype))
                case FunctionTransformer(func=func) if func is as_double:
                    x, is_double = self.double(x), True
                case FunctionTransformer(func=None):
                    pass
                case _:
                    raise InputError(f"{type(part).__name__} has no ONNX form in churn/export.py")
        return x, is_double

    def one_hot(self, x: str, columns: list[int], encoder: OneHotEncoder) -> str:
        """Rare levels share the last column of their category, as unseen ones do there."""
        parts = []
        for i, column in enumerate(columns):
            rare = encoder.infrequent_categories_[i] if hasattr(encoder, "infrequent_categories_") else None
            levels = [str(level) for level in encoder.categories_[i] if rare is None or level not in rare]
            texts = self.add("Gather", x, self.constant(column, "int64"), axis=1)
            if levels:
                parts.append(self.add("OneHotEncoder", texts, domain=ML, cats_strings=levels, zeros=1))
            if rare is not None:
                frequent = self.add("ReduceSum", parts[-1], self.constant([1], "int64"), keepdims=1)
                parts.append(self.add("Sub", self.constant(1, "float32"), frequent))
        return self.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]

    def rates(self, x: str, columns: list[int], encoder: LevelRates) -> str:
        parts = []
        for column, levels, rates in zip(columns, encoder.categories_, encoder.encodings_, strict=True):
            texts = self.add("Gather", x, self.constant([column], "int64"), axis=1)
            parts.append(
                self.add(
                    "LabelEncoder",
                    texts,
                    domain=ML,
                    keys_strings=[str(level) for level in levels],
                    values_floats=np.asarray(rates, "float32").tolist(),
                    default_float=float(np.float32(encoder.target_mean_)),
                )
            )
        return self.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]

    # classifiers

    def trees(self, x: str, trees: Trees) -> str:
        """(n, 1) the sum over the trees, in the type of their values; x must have it."""
        nodes = trees.nodes
        return self.add(
            "TreeEnsemble",
            x,
            domain=ML,
            aggregate_function=1,  # sum
            post_transform=0,
            n_targets=1,
            tree_roots=trees.roots,
            nodes_featureids=nodes["feature"].tolist(),
            nodes_modes=helper.make_tensor("modes", TensorProto.UINT8, [len(nodes)], [trees.mode] * len(nodes)),
            nodes_splits=numpy_helper.from_array(nodes["threshold"].astype(trees.dtype), "splits"),
            nodes_missing_value_tracks_true=nodes["missing_left"].astype("int64").tolist(),
            nodes_truenodeids=nodes["left"].tolist(),
            nodes_trueleafs=nodes["left_is_leaf"].astype("int64").tolist(),
            nodes_falsenodeids=nodes["right"].tolist(),
            nodes_falseleafs=nodes["right_is_leaf"].astype("int64").tolist(),
            leaf_weights=numpy_helper.from_array(trees.leaves.astype(trees.dtype), "weights"),
            leaf_targetids=[0] * len(trees.leaves),
        )

    def converted(self, x: str, is_double: bool, classifier: Any) -> str:
        """Any other classifier, by skl2onnx."""
        from skl2onnx import convert_sklearn  # half a second
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

        kind = DoubleTensorType if is_double else FloatTensorType
        try:
            inner = convert_sklearn(
                classifier,
                initial_types=[("x", kind([None, classifier.n_features_in_]))],
                options={"zipmap": False},
                target_opset={"": 21, ML: 3},
            ).graph
        except Exception as error:  # the converters raise whatever they like
            reason = " ".join(str(error).split())[:200]
            words = f"{type(classifier).__name__} has no ONNX form, take it out of train.models: {reason}"
            raise InputError(words) from error
        prefix = f"{type(classifier).__name__}_{len(self.nodes)}_"
        own = {name: x if name == "x" else prefix + name for node in inner.node for name in (*node.input, *node.output)}
        own[""] = ""
        for constant in inner.initializer:
            constant.name = own[constant.name]
            self.constants.append(constant)
        for node in inner.node:
            node.name = prefix + node.name
            for names in (node.input, node.output):
                names[:] = [own[name] for name in names]
            self.nodes.append(node)
        churned = self.add("Gather", own["probabilities"], self.constant(1, "int64"), axis=1)
        return self.double(churned)


def logistic_regression(graph: Graph, x: str, classifier: LogisticRegression) -> str:
    odds = graph.add("MatMul", x, graph.constant(classifier.coef_.T, "float64"))
    return graph.add("Sigmoid", graph.add("Add", odds, graph.constant(classifier.intercept_, "float64")))


def forest(graph: Graph, x: str, classifier: Any) -> str:
    return graph.trees(graph.double(graph.single(x)), forest_trees(classifier))


def boosting(graph: Graph, x: str, classifier: Any, trees_of: Callable[[Any], tuple[Trees, float]]) -> str:
    trees, base = trees_of(classifier)
    return graph.add("Sigmoid", graph.add("Add", graph.trees(graph.double(x), trees), graph.constant(base, "float64")))


def gradient_boosting(graph: Graph, x: str, classifier: Any) -> str:
    return boosting(graph, graph.single(x), classifier, boosted_trees)


def hist_gradient_boosting(graph: Graph, x: str, classifier: Any) -> str:
    return boosting(graph, x, classifier, histogram_trees)


def xgboost(graph: Graph, x: str, classifier: Any) -> str:
    return graph.add("Sigmoid", graph.double(graph.trees(graph.single(x), xgboost_trees(classifier))))


CLASSIFIERS: dict[type, Callable[[Graph, str, Any], str]] = {
    LogisticRegression: logistic_regression,
    RandomForestClassifier: forest,
    ExtraTreesClassifier: forest,
    DecisionTreeClassifier: forest,
    GradientBoostingClassifier: gradient_boosting,
    HistGradientBoostingClassifier: hist_gradient_boosting,
}
