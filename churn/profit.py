"""What acting on a prediction earns: a retention offer to every flagged customer."""

import numpy as np


def profit(
    churned: np.ndarray, flagged: np.ndarray, *, customer_value: float, offer_cost: float, offer_success: float
) -> np.ndarray:
    """(n,) expected money per customer, against doing nothing; churned (n,) and flagged (n,) in {0, 1}.

    Every flagged customer costs the offer; one who would have left stays with probability `offer_success` and is then
    worth `customer_value`. Offers pay above P(churned = 1) = offer_cost / (offer_success * customer_value).
    """
    return flagged * (churned * offer_success * customer_value - offer_cost)
