"""What acting on a prediction earns: a retention offer to every flagged customer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from churn.script import InputError

MEAN_VALUE = "mean_customer_value"  # of the training customers, in a release's card
MEASURED = "measured"  # by past campaigns: churn/measured.py


def _above_zero(value: float | str) -> float | str:
    if not isinstance(value, str) and not value > 0:
        raise PydanticCustomError("greater_than", "Input should be greater than 0")
    return value


def _a_share(value: float | str) -> float | str:
    if isinstance(value, str):
        if value != MEASURED:
            raise PydanticCustomError("share", "Input should be a number or 'measured'")
    elif not 0 < value <= 1:
        bound = "greater than 0" if not value > 0 else "less than or equal to 1"
        raise PydanticCustomError("share", f"Input should be {bound}")
    return value


@dataclass(frozen=True, kw_only=True)
class Profit:
    """The section `profit` of params.yaml, in the currency of the charges."""

    # of a customer who stays, after the offer's discount; or the number column that tells it for each customer.
    # a whole number stays one: it is written into the release's card as params.yaml has it
    customer_value: Annotated[int | float | str, AfterValidator(_above_zero)]
    offer_cost: Annotated[int | float, Field(ge=0)]  # of one offer, taken or not
    # share of leaving customers that the offer keeps; or measured, which churn/measured.py makes a number
    offer_success: Annotated[int | float | str, AfterValidator(_a_share)]
    measured: str = ""  # the file of what campaigns measured
    offer_prior: Annotated[float | None, Field(gt=0, lt=1)] = None  # the success expected without it
    offer_prior_deviation: Annotated[float | None, Field(gt=0, le=1)] = None  # its standard deviation

    def of(self, churned: np.ndarray, flagged: np.ndarray, worth: np.ndarray | None = None) -> np.ndarray:
        """(n,) expected money per customer, against doing nothing; churned (n,) and flagged (n,) in {0, 1}.

        Every flagged customer costs the offer; one who would have left stays with probability `offer_success` and is
        then worth `customer_value`, or as much as `worth` (n,) says. Offers pay above
        P(churned = 1) = offer_cost / (offer_success * customer_value).
        """
        value: Any = self.customer_value if worth is None else worth
        return flagged * (churned * float(self.offer_success) * value - self.offer_cost)

    def worth(self, columns: Mapping[str, Any], n: int) -> np.ndarray:
        """(n,) what each customer is worth; `columns` hold (n,) numbers. A missing value is the mean of the others."""
        if not isinstance(self.customer_value, str):
            return np.full(n, float(self.customer_value))
        try:
            value = np.asarray(columns[self.customer_value], "float64")
        except (KeyError, ValueError):
            numbers = [name for name in columns if np.asarray(columns[name]).dtype.kind in "fiu"]
            raise InputError(
                f"params.yaml: profit.customer_value is {self.customer_value!r}, no number column of the schema; "
                f"it has {numbers}"
            ) from None
        return np.where(np.isnan(value), np.nanmean(value), value)

    def in_card(self, worth: np.ndarray, counted: np.ndarray | None = None) -> dict[str, Any]:
        """As a release's card has it, with the mean worth (n,) of customers who are counted so often (n,), where it
        differs from customer to customer."""
        own = isinstance(self.customer_value, str)
        mean = {MEAN_VALUE: round(float(np.average(worth, weights=counted)), 6)} if own else {}
        stated = {name: getattr(self, name) for name in ("customer_value", "offer_cost", "offer_success")}
        return stated | mean

    def as_trained(self, card: Callable[[], Mapping[str, Any]]) -> "Profit":
        """With the success that was measured when the release was trained, if it is not a number."""
        if self.offer_success != MEASURED:
            return self
        return replace(self, offer_success=card()["threshold"]["profit"]["offer_success"])

    def on_average(self, card: Callable[[], Mapping[str, Any]]) -> "Profit":
        """With one value for all: for reports on the prediction log, which tells of no customer what they are worth."""
        profit = self.as_trained(card)
        if not isinstance(self.customer_value, str):
            return profit
        try:
            return replace(profit, customer_value=card()["threshold"]["profit"][MEAN_VALUE])
        except KeyError:
            raise InputError(
                f"params.yaml: profit.customer_value is {self.customer_value!r}, but the release has none; "
                "run dvc repro and promote its release, or state a number"
            ) from None
