"""What each budget may bring: the plans along the walk that `choice` takes, from nothing to all that pays.

At the end of a step a plan spends its budget to the last unit, so it is the best there is, and what it expects is the
sum of the steps before it: one walk gives the plans of all budgets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from campaigns.plan.choice import by_cost
from campaigns.plan.run import Candidates, Request
from churn.campaigns import Offer
from churn.report_text import plain

POINTS = 50  # budgets, about evenly spaced


@dataclass(frozen=True)
class Point:
    """What the plan of a budget, which it spends to the end, expects."""

    budget: float
    offered: int
    control: int  # selected customers who are held back
    churn_avoided: float
    profit: float


@dataclass(frozen=True)
class Curve:
    """The fields are the keys of `--json`."""

    campaign: str
    model_version: str
    scored: int
    control: float  # share of the selected customers
    points: list[Point]  # by rising budget; the last one makes every offer that pays

    def as_dict(self) -> dict[str, Any]:
        result: dict[str, Any] = plain(self)
        return result


def curve(request: Request, customers: Candidates) -> Curve:
    points = points_of(customers.p, customers.value, customers.is_control, list(customers.offers.values()))
    return Curve(request.campaign, customers.scores.model_version, customers.scores.scored, request.control, points)


def points_of(p: np.ndarray, value: np.ndarray, is_control: np.ndarray, offers: Sequence[Offer]) -> list[Point]:
    """p (n,) = P(churned = 1), value (n,) of customers who stay, is_control (n,) how they were drawn."""
    loss = p * value
    steps = by_cost(loss, offers, Decimal(0))  # which steps there are hangs on no budget
    is_made = ~is_control[steps.customer]
    weight = steps.weight[steps.kind]
    spent = np.cumsum(weight * is_made)
    total = int(spent[-1]) if len(spent) else 0
    reached = np.searchsorted(spent, [total * i // POINTS for i in range(1, POINTS + 1)], "right") - 1
    # what follows on the last offer that is paid for is of no budget's plan, except for offers that cost nothing
    ends = np.searchsorted(spent, spent[reached[reached >= 0]]) + 1
    ends = np.unique(np.append(np.count_nonzero(weight == 0), ends[spent[ends - 1] > 0]))
    is_first = steps.kind == 0  # a customer's first step; later ones are to a dearer offer
    sums = {
        "offered": is_first & is_made,
        "control": is_first & ~is_made,
        "churn_avoided": p[steps.customer] * steps.success[steps.kind] * is_made,
        "profit": steps.gain(slice(None), loss) * is_made,
    }
    upto = [np.append(0, np.cumsum(values))[ends].tolist() for values in sums.values()]
    budgets = (np.append(0, spent)[ends] * steps.unit).tolist()
    return [Point(round(budget, 6), *row) for budget, *row in zip(budgets, *upto, strict=True)]
