"""Why a customer has the probability it has: sampled Shapley values of the customer's columns, from the scorer alone.

For each background customer and a random order of the columns, the background customer becomes the explained one,
column after column; what the probability changes at a column is that column's share (Strumbelj and Kononenko 2014,
"Explaining prediction models and individual predictions with feature contributions"). Each order is also walked
backwards, which halves the noise or better (Mitchell, Cooper, Frank and Holmes 2022, "Sampling Permutations for Shapley
Value Estimation", antithetic sampling). The steps of a walk add up to the whole way, so the sum over the columns is exact.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import orjson

from churn.scorer import Scorer
from serve.messages import Contribution

REASONS = 3


class Explainer:
    """Explains by the release's golden customers: test customers at even ranks of their probabilities."""

    def __init__(self, scorer: Scorer):
        self.scorer, release = scorer, scorer.release
        ordinary = release.golden()[: release.card["samples"]["golden"]]  # customers at the schema's edges come behind
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
        reasons = [self.in_words(c) for c in contributions[:REASONS] if c["contribution"]]
        return {"base_probability": self.base_probability, "contributions": contributions, "reasons": reasons}

    def shapley(self, customer: Mapping[str, Any], seed: int) -> np.ndarray:
        """(k,) share of each column; their sum is P(customer) - base_probability.

        Each of n background customers walks one random order there and back: 2 * n * (k + 1) rows are scored.
        """
        n, k = self.n, len(self.columns)
        orders = np.argsort(np.random.default_rng(seed).random((n, k)), axis=1)
        ranks = np.argsort(orders, axis=1)  # when each column changes, (n, k)
        ranks = np.concatenate([ranks, k - 1 - ranks])
        # (2n, k + 1, k): after s steps, the columns of rank below s are the customer's
        changed = ranks[:, None, :] < np.arange(k + 1)[None, :, None]
        one = self.scorer.columns([customer])
        mixed = {
            name: np.where(changed[:, :, j], one[name], np.tile(self.background[name], 2)[:, None]).ravel()
            for j, name in enumerate(self.columns)
        }
        p = self.scorer.score(mixed).reshape(2 * n, k + 1)
        steps = np.diff(p, axis=1)
        return np.take_along_axis(steps, ranks, axis=1).mean(axis=0)

    def in_words(self, contribution: Contribution) -> str:
        name, value, points = contribution["feature"], contribution["value"], 100 * contribution["contribution"]
        said = {None: "missing", True: "yes", False: "no"}.get(value) if not isinstance(value, float | str) else value
        unit = f" {self.units[name]}" if self.units[name] and value is not None else ""
        shown = f"{said:g}" if isinstance(said, float) else said
        direction = "raises" if points > 0 else "lowers"
        return f"{name.replace('_', ' ')} is {shown}{unit}: {direction} the probability by {abs(points):.1f} points"


def seed_of(values: Mapping[str, Any]) -> int:
    """A seed made of the customer's values."""
    return int.from_bytes(blake2b(orjson.dumps(values, option=orjson.OPT_SORT_KEYS), digest_size=8).digest())
