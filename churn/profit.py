"""What acting on a prediction earns: a retention offer to every flagged customer."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field


@dataclass(frozen=True, kw_only=True)
class Profit:
    """The section `profit` of params.yaml, in the currency of the charges."""

    # a whole number stays one: it is written into the release's card as params.yaml has it
    customer_value: Annotated[int | float, Field(gt=0)]  # of a customer who stays, after the offer's discount
    offer_cost: Annotated[int | float, Field(ge=0)]  # of one offer, taken or not
    offer_success: Annotated[int | float, Field(gt=0, le=1)]  # share of leaving customers that the offer keeps

    def of(self, churned: np.ndarray, flagged: np.ndarray) -> np.ndarray:
        """(n,) expected money per customer, against doing nothing; churned (n,) and flagged (n,) in {0, 1}.

        Every flagged customer costs the offer; one who would have left stays with probability `offer_success` and is
        then worth `customer_value`. Offers pay above P(churned = 1) = offer_cost / (offer_success * customer_value).
        """
        return flagged * (churned * self.offer_success * self.customer_value - self.offer_cost)
