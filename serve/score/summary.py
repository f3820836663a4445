"""What a check needs to know of scored customers, without their rows: counts, histograms and sums, which add up."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from serve.score.columns import Levels
from serve.score.graph import Inputs

BINS = 1000  # of the probabilities, of equal width


class Numbers:
    """A number column: a histogram between `edges` (k,), below and above them, and its first two moments."""

    def __init__(self, edges: np.ndarray):
        self.edges, self.counts = edges, np.zeros(len(edges) + 1, "int64")
        self.missing, self.sum, self.sum_of_squares = 0, 0.0, 0.0
        self.min, self.max = np.inf, -np.inf

    def add(self, values: np.ndarray) -> None:
        there = values[~np.isnan(values)]
        self.missing += len(values) - len(there)
        self.counts += np.bincount(np.searchsorted(self.edges, there, "right"), minlength=len(self.counts))
        self.sum += float(there.sum())
        self.sum_of_squares += float(np.square(there).sum())
        self.min, self.max = min(self.min, there.min(initial=np.inf)), max(self.max, there.max(initial=-np.inf))

    def as_json(self) -> dict[str, Any]:
        n = int(self.counts.sum())
        found = {"missing": self.missing, "sum": self.sum, "sum_of_squares": self.sum_of_squares}
        ends = {"min": float(self.min), "max": float(self.max)} if n else {"min": None, "max": None}
        return found | ends | {"counts": self.counts.tolist()}


class LevelCounts:
    """A category: how often each level that training saw, all others together, and none."""

    def __init__(self, known: frozenset[str]):
        self.known, self.counts = known, Counter[str]()
        self.missing, self.unseen = 0, 0

    def add(self, levels: Levels) -> None:
        for level, n in zip(levels.known, np.bincount(levels.place, minlength=len(levels.known)), strict=True):
            if level is None:
                self.missing += n
            elif level in self.known:
                self.counts[level] += n
            else:
                self.unseen += n

    def as_json(self) -> dict[str, Any]:
        return {
            "missing": int(self.missing),
            "unseen": int(self.unseen),
            "counts": {level: int(n) for level, n in sorted(self.counts.items())},
        }


class Summary:
    """Of the customers whom one model answered."""

    def __init__(self, edges: Mapping[str, np.ndarray], levels: Mapping[str, Collection[str]]):
        self.rows, self.flagged, self.sum, self.counts = 0, 0, 0.0, np.zeros(BINS, "int64")
        self.numbers = {name: Numbers(between) for name, between in edges.items()}
        self.levels = {name: LevelCounts(frozenset(known)) for name, known in levels.items()}

    def add(self, inputs: Inputs, p: np.ndarray, flagged: np.ndarray) -> None:
        """n more customers, as the model reads them, and their answers."""
        self.rows += len(p)
        self.flagged += int(flagged.sum())
        self.sum += float(p.sum())
        self.counts += np.bincount(np.minimum((p * BINS).astype("int64"), BINS - 1), minlength=BINS)
        for name, numbers in self.numbers.items():
            numbers.add(inputs.numbers[name])
        for name, levels in self.levels.items():
            levels.add(inputs.levels[name])

    def as_json(self) -> dict[str, Any]:
        probability = {"sum": self.sum, "counts": self.counts.tolist()}
        inputs = {name: counted.as_json() for name, counted in (self.numbers | self.levels).items()}
        return {"rows": self.rows, "flagged": self.flagged, "churn_probability": probability, "inputs": inputs}
