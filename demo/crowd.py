"""A month's customers, and how the service answered them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from churn.schema import Schema
from demo.offers import churned_if_offered, leaving_if_offered
from demo.story import Side
from demo.world import World, as_texts, month, sent
from stages.simulate import leaving


@dataclass
class Crowd:
    """A month's customers, and what came of them."""

    table: pd.DataFrame  # as the operator has them, without what became of them
    customers: list[dict[str, Any]]  # as they are sent
    chance: np.ndarray
    churned: np.ndarray
    chance_if_offered: np.ndarray
    churned_if_offered: np.ndarray
    answered: list[dict[str, Any]]
    offered: np.ndarray  # in {0, 1}

    @classmethod
    def draw(cls, seed: int, customers: int, world: World, schema: Schema) -> "Crowd":
        drawn = month(seed, customers, *world)
        named = [
            {"customer_id": name, **customer}
            for name, customer in zip(drawn["customer_id"], sent(schema, drawn), strict=True)
        ]
        return cls(
            as_texts(drawn.drop(columns="churned")),
            named,
            leaving(drawn, world.concept),
            (drawn["churned"] == "Yes").to_numpy("int64"),
            leaving_if_offered(drawn, world.concept),
            churned_if_offered(drawn, seed, world.concept).astype("int64"),
            [],
            np.zeros(customers, dtype="int64"),
        )

    @property
    def became(self) -> np.ndarray:
        """(n,) in {0, 1}: who churned after the offers that were made."""
        return np.where(self.offered, self.churned_if_offered, self.churned)


def side(answers: list[dict[str, Any]]) -> Side:
    told = pd.DataFrame(answers, columns=["churn_probability", "prediction"])
    return Side(told["churn_probability"].to_numpy(), (told["prediction"] == "churn").to_numpy("float64"))
