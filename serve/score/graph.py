"""A release's graph on codes of levels in place of texts: most of its time goes by on comparing texts.

Only the two kinds of nodes that look a text up change: they get numbers for texts, one number for each level. The
probabilities keep every digit.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import pandas as pd
from onnx import TensorProto, helper, numpy_helper

from churn.features import MISSING, add_features, filled, needs
from churn.release import MODEL
from churn.scorer import Scorer
from serve.score.columns import Checked, Levels

LOOKUPS = {"OneHotEncoder": ("cats_strings", "cats_int64s"), "LabelEncoder": ("keys_strings", "keys_int64s")}
UNSEEN = -1
ROWS = 4096  # at once: more of them leave the processor's cache


@dataclass(frozen=True)
class Inputs:
    """What a model reads of n rows, its features too, in its own order."""

    rows: int
    numbers: dict[str, np.ndarray]  # (n,) each, float64
    levels: dict[str, Levels]


class CodedScorer:
    """Scores as `Scorer` does, from levels as codes."""

    def __init__(self, scorer: Scorer):
        levels = scorer.release.card["inputs"]["categories"]
        self.scorer, self.codes = scorer, {name: {level: i for i, level in enumerate(levels[name])} for name in levels}
        graph = onnx.load(scorer.release.folder / MODEL)
        self.is_coded = bool(self.codes) and on_codes(graph, [self.codes[name] for name in scorer.categories])
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = (
            onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
            if self.is_coded
            else scorer.session
        )

    def inputs(self, found: Checked) -> Inputs:
        """What the model reads of the rows, all of which can be scored."""
        read = {name for feature in self.scorer.features for name in needs(feature)}
        texts = {name: found.texts(name) for name in found.levels if name in read}
        added = add_features(found.numbers | texts, self.scorer.features)
        numbers = {name: added[name] for name in self.scorer.numbers}
        levels = {name: found.levels.get(name) or levels_of(added[name]) for name in self.scorer.categories}
        return Inputs(len(found.ids), numbers, levels)

    def probabilities(self, inputs: Inputs) -> np.ndarray:
        """(n,) P(churned = 1)."""
        given = {}
        if inputs.numbers:
            given["numbers"] = side_by_side(inputs.numbers.values(), "float32")
        if inputs.levels and self.is_coded:
            codes = (self._codes(*item) for item in inputs.levels.items())
            given["categories"] = side_by_side(codes, "int64")
        elif inputs.levels:
            texts = [levels.known[levels.place] for levels in inputs.levels.values()]
            given["categories"] = filled(np.column_stack(texts))
        return self._run(given, inputs.rows)

    def _codes(self, name: str, levels: Levels) -> np.ndarray:
        """int64 (n,)"""
        codes = self.codes[name]
        known = [codes.get(MISSING if level is None else level, UNSEEN) for level in levels.known]
        return np.array(known, "int64")[levels.place]

    def _run(self, inputs: Mapping[str, np.ndarray], n: int) -> np.ndarray:
        parts = [
            self.session.run(["churn_probability"], {name: rows[i : i + ROWS] for name, rows in inputs.items()})[0]
            for i in range(0, n, ROWS)
        ]
        p = np.concatenate(parts) if parts else np.empty(0)
        if not ((p >= 0) & (p <= 1)).all():
            raise ArithmeticError(f"release {self.scorer.release.version}: the model's output is no probability")
        return p


def side_by_side(columns: Iterable[np.ndarray], kind: str) -> np.ndarray:
    """(n, k)"""
    return np.stack([column.astype(kind, copy=False) for column in columns], axis=1)


def levels_of(texts: np.ndarray) -> Levels:
    """Of a feature (n,), None where missing."""
    place, known = pd.factorize(texts, use_na_sentinel=False)
    return Levels(np.array([None if level != level else level for level in known], dtype=object), place)


def on_codes(graph: onnx.ModelProto, codes: Sequence[Mapping[str, int]]) -> bool:
    """Change `graph` to read int64 categories (n, m); codes (m,) by level. False: it can't be, and is as it was."""
    constants = {constant.name: constant for constant in graph.graph.initializer}
    column_of = {
        node.output[0]: int(numpy_helper.to_array(constants[node.input[1]]).ravel()[0])
        for node in graph.graph.node
        if node.op_type == "Gather" and node.input[0] == "categories" and node.input[1] in constants
    }
    readers = [node for node in graph.graph.node if set(node.input) & {"categories", *column_of}]
    lookups = [node for node in readers if node.op_type in LOOKUPS and node.input[0] in column_of]
    if len(readers) != len(column_of) + len(lookups):
        return False
    for node in lookups:
        texts, numbers = LOOKUPS[node.op_type]
        known = codes[column_of[node.input[0]]]
        for attribute in [attribute for attribute in node.attribute if attribute.name == texts]:
            # a level that only another encoder knows gets a code that no customer has
            keys = [known.get(level.decode(), UNSEEN - 1 - i) for i, level in enumerate(attribute.strings)]
            node.attribute.remove(attribute)
            node.attribute.append(helper.make_attribute(numbers, keys))
    for given in graph.graph.input:
        if given.name == "categories":
            given.type.tensor_type.elem_type = TensorProto.INT64
    return True
