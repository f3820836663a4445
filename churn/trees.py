"""The trees inside fitted models in one form, from which churn/export.py writes them into a graph."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

AT_MOST, BELOW = 0, 1  # a customer goes left where the input is at most the threshold, or below it (ONNX's numbers)
NODE = np.dtype(
    [
        ("feature", "i8"),
        ("threshold", "f8"),
        ("missing_left", "?"),
        ("left", "i8"),
        ("left_is_leaf", "?"),
        ("right", "i8"),
        ("right_is_leaf", "?"),
    ]
)


@dataclass(frozen=True)
class Trees:
    """Trees whose leaves are added up."""

    nodes: np.ndarray  # (splits,) of NODE; left and right are positions among the nodes or the leaves
    leaves: np.ndarray  # (leaves,) values
    roots: list[int]  # the first node of each tree
    mode: int  # AT_MOST or BELOW
    dtype: str  # of inputs, thresholds, values and their sum


@dataclass(frozen=True)
class _Tree:
    """One tree, its root at 0; a leaf has no feature below 0 and `value`, a split the rest. All (nodes,)."""

    feature: np.ndarray  # below 0: a leaf
    threshold: np.ndarray
    missing_left: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray


def _joined(trees: Iterable[_Tree], mode: int, dtype: str) -> Trees:
    nodes, leaves, roots = [], [], []
    n_nodes = n_leaves = 0
    for tree in trees:
        is_leaf = tree.feature < 0
        if is_leaf[0]:  # a tree without a split: the graph's form has none, so both sides end in the same leaf
            none, one = np.zeros(2, "?"), np.array([1, 0])
            tree = _Tree(np.array([0, -1]), np.zeros(2), none, one, one, np.array([0, tree.value[0]]))
            is_leaf = tree.feature < 0
        place = np.where(is_leaf, np.cumsum(is_leaf) - 1 + n_leaves, np.cumsum(~is_leaf) - 1 + n_nodes)
        inner = np.zeros(int((~is_leaf).sum()), NODE)
        split = ~is_leaf
        inner["feature"], inner["threshold"] = tree.feature[split], tree.threshold[split]
        inner["missing_left"] = tree.missing_left[split]
        for side in ("left", "right"):
            child = getattr(tree, side)[split]
            inner[side], inner[f"{side}_is_leaf"] = place[child], is_leaf[child]
        nodes.append(inner)
        leaves.append(tree.value[is_leaf])
        roots.append(n_nodes)
        n_nodes, n_leaves = n_nodes + len(inner), n_leaves + int(is_leaf.sum())
    return Trees(np.concatenate(nodes), np.concatenate(leaves), roots, mode, dtype)


def forest_trees(model: Any) -> Trees:
    """Of scikit-learn's forests and single trees: each leaf's share of class 1, divided by the number of trees."""
    trees = [tree.tree_ for tree in getattr(model, "estimators_", [model])]
    return _joined((_of_sklearn(tree, tree.value[:, 0, 1] / len(trees)) for tree in trees), AT_MOST, "float64")


def boosted_trees(model: Any) -> tuple[Trees, float]:
    """Of scikit-learn's GradientBoostingClassifier, and the log-odds it starts from."""
    trees = [tree.tree_ for tree in model.estimators_[:, 0]]
    scale = 2 if model.loss == "exponential" else 1  # which learns half the log-odds
    made = (_of_sklearn(tree, scale * model.learning_rate * tree.value[:, 0, 0]) for tree in trees)
    base = model._raw_predict_init(np.zeros((1, model.n_features_in_), "float32"))
    return _joined(made, AT_MOST, "float64"), scale * float(base[0, 0])


def _of_sklearn(tree: Any, value: np.ndarray) -> _Tree:
    return _Tree(
        tree.feature,
        tree.threshold,
        tree.missing_go_to_left.astype("?"),
        tree.children_left,
        tree.children_right,
        value,
    )


def histogram_trees(model: Any) -> tuple[Trees, float]:
    """Of scikit-learn's HistGradientBoostingClassifier, and the log-odds it starts from."""
    trees = [predictor.nodes for (predictor,) in model._predictors]
    made = (
        _Tree(
            np.where(nodes["is_leaf"], -1, nodes["feature_idx"].astype("i8")),
            nodes["num_threshold"],
            nodes["missing_go_to_left"].astype("?"),
            nodes["left"].astype("i8"),
            nodes["right"].astype("i8"),
            nodes["value"],
        )
        for nodes in trees
    )
    return _joined(made, AT_MOST, "float64"), float(np.ravel(model._baseline_prediction)[0])


def xgboost_trees(model: Any) -> Trees:
    """Of XGBClassifier, in float32, the log-odds it starts from inside the first tree.

    XGBoost adds tree after tree to those log-odds in float32. The graph adds in the same order and precision, so that
    hundreds of trees give the same digits.
    """
    import xgboost  # half a second, and only where a model is made of it

    booster = model.get_booster()
    if hasattr(booster, "best_iteration"):
        booster = booster[: model.best_iteration + 1]
    learner = json.loads(booster.save_raw("json"))["learner"]
    share = str(learner["learner_model_param"]["base_score"]).strip("[]")
    # asked of XGBoost, whose float32 logarithm is not numpy's
    nothing = xgboost.DMatrix(np.zeros((1, 1)))
    alone = xgboost.train({"objective": "binary:logistic", "base_score": share}, nothing, 0)
    base = alone.predict(nothing, output_margin=True)[0]
    trees = [_of_xgboost(tree) for tree in learner["gradient_booster"]["model"]["trees"]]
    first = trees[0]
    is_leaf = first.feature < 0
    first.value[is_leaf] = base + first.value[is_leaf].astype("float32")
    return _joined(trees, BELOW, "float32")


def _of_xgboost(tree: dict[str, Any]) -> _Tree:
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    conditions = np.array(tree["split_conditions"], "float32")  # of a leaf: its value
    feature = np.where(left < 0, -1, np.array(tree["split_indices"]))
    return _Tree(feature, conditions, np.array(tree["default_left"]).astype("?"), left, right, conditions.copy())
