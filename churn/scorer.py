"""Scorer: raw customers to probabilities through a release bundle, without pandas, scikit-learn or mlflow."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from churn.dates import days_before, today
from churn.features import add_features, filled
from churn.release import MODEL, Release, ReleaseError, open_release

# before the import: onnxruntime keeps an id of the machine and a thread that reports its use to its makers
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

GOLDEN_TOLERANCE = 1e-6


class Scorer:
    """The model of one release.

    A customer is a mapping of schema names: numbers, booleans, and levels as text; a missing value is None or left out.
    Values are trusted here: what a request may hold is checked against the schema before.
    """

    def __init__(self, release: Release):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # else a warning for every initializer that the label would have needed
        # one thread: a row costs microseconds, and several workers share the cores
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.release = release
        self.session = onnxruntime.InferenceSession(
            (release.folder / MODEL).read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        self.features: list[str] = release.card["features"]
        self.numbers: list[str] = release.card["inputs"]["numbers"]
        self.categories: list[str] = list(release.card["inputs"]["categories"])
        self._is_level = {column.name: column.type == "category" for column in release.schema.columns}
        self._dates, self._moment = release.schema.dates, release.schema.moment
        # scorers with the same recipe make the same inputs
        self.recipe = repr((self._is_level, self._dates, self._moment, self.features, self.numbers, self.categories))

    @classmethod
    def open(cls, folder: Path) -> "Scorer":
        """The scorer of a bundle that is whole and scores its golden customers as recorded, else a ReleaseError."""
        release = open_release(folder)
        try:
            scorer, golden = cls(release), release.golden()
            p = scorer.probabilities([line["customer"] for line in golden])
            gap = np.abs(p - [line["churn_probability"] for line in golden])
        except Exception as error:  # whatever a bundle holds that was sealed by somebody else
            reason = " ".join(str(error).split())[:200]
            raise ReleaseError(f"release {folder} can't be used: {type(error).__name__}: {reason}") from error
        if not (gap <= GOLDEN_TOLERANCE).all():
            worst = int(np.argmax(np.where(np.isnan(gap), np.inf, gap)))
            raise ReleaseError(
                f"release {folder}: golden customer {worst + 1} scores {p[worst]:.7f}, "
                f"recorded is {golden[worst]['churn_probability']:.7f}; deploy it again"
            )
        return scorer

    def probabilities(self, customers: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """(n,) P(churned = 1) as float64, in order."""
        return self.score(self.columns(customers))

    def columns(self, customers: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """Each schema column as (n,): float64 with NaN where missing, levels as object with None where missing.

        A date is the number of days before the customer's day, which is today where a customer names none.
        """
        columns = {
            name: np.array([customer.get(name) for customer in customers], dtype=object if is_level else "float64")
            for name, is_level in self._is_level.items()
            if name not in self._dates
        }
        if self._moment:
            now = today()
            days = [customer.get(self._moment) or now for customer in customers]
            columns |= {name: days_before([customer.get(name) for customer in customers], days) for name in self._dates}
        return columns

    def score(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """(n,) P(churned = 1) of columns as `columns()` gives them."""
        return self.run(self.inputs(columns))

    def inputs(self, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the graph reads: numbers (n, k) as float32 and categories (n, m) as texts, as far as there are any."""
        added = add_features(columns, self.features)
        inputs = {}
        if self.numbers:
            inputs["numbers"] = np.column_stack([added[name] for name in self.numbers]).astype("float32")
        if self.categories:
            inputs["categories"] = filled(np.column_stack([added[name] for name in self.categories]))
        return inputs

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """(n,) P(churned = 1) of `inputs()`."""
        return self.session.run(["churn_probability"], inputs)[0]
