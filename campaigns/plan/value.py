"""What a customer who stays is worth: one number for all, a column, or the months to come times a month's margin."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from campaigns.plan.tables import as_numbers
from churn.schema import ID
from churn.script import InputError
from churn.text import quoted


@dataclass(frozen=True)
class Value:
    number: float = 0.0  # of every customer, where there is no column
    column: str = ""  # of the value; with `months`, of a month's margin
    months: int = 0  # at most, that a customer stays
    discount: float = 0.0  # a month's

    def of(self, customers: pa.Table, p: np.ndarray) -> np.ndarray:
        """(n,) of each customer; p (n,) = P(churned = 1)."""
        if not self.column:
            return np.broadcast_to(self.number, len(p))
        column = finite(customers, self.column)
        return remaining_value(column, p, months=self.months, discount=self.discount) if self.months else column

    def as_json(self) -> dict[str, Any]:
        if not self.column:
            return {"number": self.number}
        if not self.months:
            return {"column": self.column}
        return {"margin": self.column, "months": self.months, "discount": self.discount}


def remaining_value(margin: np.ndarray, p: np.ndarray, *, months: int, discount: float) -> np.ndarray:
    """(n,) margins of the months to come, discounted: this month's, and each further one's while the customer stays.

    margin (n,) is a month's, p (n,) = P(churned = 1) is taken as the chance to leave in a month, the same in each of at
    most `months`; `discount` is a month's. Without the end this is margin · (1 + d) / (1 + d - r) with retention
    r = 1 - p (Gupta and Lehmann 2003, "Customers as Assets"; the month to come counts in full), and without the
    discount 1 / p months.
    """
    kept = (1 - p) / (1 + discount)
    with np.errstate(invalid="ignore", divide="ignore"):
        return margin * np.where(kept == 1, months, -np.expm1(months * np.log(kept)) / (1 - kept))


def finite(customers: pa.Table, name: str) -> np.ndarray:
    """float64 (n,) of a column of numbers."""
    column = as_numbers(customers[name], name)
    wrong = ~np.isfinite(column)
    if n := int(wrong.sum()):
        first = quoted(customers[ID][int(np.argmax(wrong))].as_py())
        raise InputError(
            f"column {quoted(name)} has no finite number for {n} of {len(column)} customers, the first is {first}; "
            f"fill it in, or leave out those without one by --where '{name} is not None'"
        )
    return column
