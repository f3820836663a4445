"""Which customers with an outcome count, and whether they can stand for the others: the rule of churn.offers."""

import pandas as pd

from churn.offers import uncovered, weights


def counting(customers: pd.DataFrame) -> pd.DataFrame:
    """Those of `read_outcomes` whose outcome no offer reached, and how often each counts: weight."""
    known = customers.dropna(subset=["churned"])
    weight = weights(known["offered"].to_numpy(), known["spared"].to_numpy())
    return known.assign(weight=weight)[weight > 0]


def not_covered(customers: pd.DataFrame, p: str = "p") -> float:
    """Share of those with an outcome whom offers reached, and nobody like them was held back; p names the column."""
    known = customers.dropna(subset=["churned"])
    return uncovered(*(known[name].to_numpy() for name in (p, "offered", "spared")))
