"""Reasons for one customer's probability: sampled Shapley values of the customer's columns, from the scorer alone.

For each background customer and a random order of the columns, the background customer becomes the explained one,
column after column; what the probability changes at a column is that column's share (Strumbelj and Kononenko 2014,
"Explaining prediction models and individual predictions with feature contributions"). Each order is also walked
backwards, which halves the noise or better (Mitchell, Cooper, Frank and Holmes 2022, "Sampling Permutations for Shapley
Value Estimation", antithetic sampling). The steps of a walk add up to the whole way, so the sum over the columns is
exact.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from churn.scorer import Scorer

if TYPE_CHECKING:  # files are explained without the service's payloads, which bring the log's database
    from serve.payloads import Contribution

MAX_BACKGROUND = 200  # customers; time and memory of an explanation grow with them
MAX_REASONS = 3
MIN_CONTRIBUTION = 0.0005  # of a reason; less would read "by 0.0 points"


class Explainer:
    """Explains by the release's golden customers: test customers at even ranks of their probabilities."""

    def __init__(self, scorer: Scorer):
        self.scorer, release = scorer, scorer.release
        n_ordinary = min(release.card["samples"]["golden"], release.card["data"]["test_customers"])
        ordinary = release.golden()[: n_ordinary : -(-n_ordinary // MAX_BACKGROUND)]  # edge cases come last
        self.background = scorer.columns([line["customer"] for line in ordinary])
        self.n = len(ordinary)
        self.columns = list(self.background)
        self.units = {column.name: column.unit for column in release.schema.columns}
        self.base_probability = float(scorer.score(self.background).mean())

    def explain(self, customer: Mapping[str, Any]) -> dict[str, Any]:
        """base_probability, contributions (the largest first) and reasons; equal customers get equal answers."""
        values = {name: customer[name] for name in self.columns}
        shares = self.shapley(customer, seed_of(values))
        order = np.argsort(-np.abs(shares), kind="stable")
        contributions: list[Contribution] = [
            {"feature": name, "value": values[name], "contribution": float(shares[i])}
            for i in order
            for name in [self.columns[i]]
        ]
        reasons = [self.in_words(c) for c in contributions[:MAX_REASONS] if abs(c["contribution"]) >= MIN_CONTRIBUTION]
        return {"base_probability": self.base_probability, "contributions": contributions, "reasons": reasons}

    def shapley(self, customer: Mapping[str, Any], seed: int) -> np.ndarray:
        """(k,) share of each column: one random order for each background customer, there and back."""
        orders = np.argsort(np.random.default_rng(seed).random((self.n, len(self.columns))), axis=1)
        return self.walked(customer, np.concatenate([orders, orders[:, ::-1]]))

    def walked(self, customer: Mapping[str, Any], orders: np.ndarray) -> np.ndarray:
        """(k,) mean share of each column in walks; row i of orders (m, k) is walked by background customer i modulo n.

        A step between equal values changes nothing and is not scored; that is about every second one.
        """
        m, k = orders.shape
        ranks = np.argsort(orders, axis=1)  # when each column changes
        one, walkers = self.scorer.columns([customer]), np.arange(m) % self.n
        differs = np.column_stack([self.background[name] != one[name] for name in self.columns])[walkers]
        scored = np.ones((m, k + 1), dtype=bool)  # the start, and each step that changes a value
        scored[:, 1:] = np.take_along_axis(differs, orders, axis=1)
        walk, step = np.nonzero(scored)
        mixed = {
            name: np.where(ranks[walk, j] < step, one[name], self.background[name][walkers[walk]])
            for j, name in enumerate(self.columns)
        }
        p = self.scorer.score(mixed)[np.cumsum(scored) - 1].reshape(m, k + 1)
        return np.take_along_axis(np.diff(p, axis=1), ranks, axis=1).mean(axis=0)

    def in_words(self, contribution: "Contribution") -> str:
        name, points = contribution["feature"].replace("_", " "), 100 * contribution["contribution"]
        direction = "raises" if points > 0 else "lowers"
        return f"{name} is {self._shown(contribution)}: {direction} the probability by {abs(points):.1f} points"

    def _shown(self, contribution: "Contribution") -> str:
        match contribution["value"]:
            case None:
                return "missing"
            case bool(yes):
                return "yes" if yes else "no"
            case str(level):
                return level
            case number:
                return f"{number:.10g} {self.units[contribution['feature']]}".rstrip()


def seed_of(values: Mapping[str, Any]) -> int:
    """Return a seed derived from the customer's values."""
    return int.from_bytes(blake2b(orjson.dumps(values, option=orjson.OPT_SORT_KEYS), digest_size=8).digest())
