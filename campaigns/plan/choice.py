"""Whom to make which offer: the most expected profit that a budget, or a number of offers, allows.

Each customer gets one offer or none: the multiple-choice knapsack problem. A greedy walk solves its linear relaxation
(Sinha and Zoltners 1979, "The Multiple-Choice Knapsack Problem"): an offer that another one, or a mix of two, beats at
its cost is dropped; the others are steps from a cheaper offer to a dearer one; the walk takes steps by what they gain
per money. Where the budget ends, it goes on to the steps that still fit. The optimum of the relaxation (Dantzig 1957,
"Discrete-Variable Extremum Problems") is an upper bound of what any plan can expect.

The walk selects customers of the control group as well, who spend nothing. So the budget goes to offers that are made,
and a customer's own side does not decide whether the customer is selected.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from math import gcd
from typing import NamedTuple

import numpy as np

from churn.campaigns import Offer
from churn.script import InputError

UNIT = Decimal("0.000001")  # of money: costs are rounded up to it and the budget down, so that sums are exact
BLOCK = 2**20  # steps that are walked at once


class Limit(NamedTuple):
    """What may be spent: money, or so many offers; one of the two."""

    budget: Decimal | None = None
    most: int | None = None


@dataclass(frozen=True)
class Steps:
    """m steps to better offers, the best first; those of one customer in their order."""

    customer: np.ndarray  # int32 (m,)
    kind: np.ndarray  # int8 (m,), below k
    weight: np.ndarray  # int64 (k,) of the capacity
    offer: np.ndarray  # int8 (k,) that the customer has after the step
    success: np.ndarray  # float64 (k,) more than before
    cost: np.ndarray  # float64 (k,) more than before
    capacity: int
    unit: float  # money, or offers, in a weight of 1

    def gain(self, rows: slice | np.ndarray, loss: np.ndarray) -> np.ndarray:
        """Expected profit, more than before, of the steps in these rows."""
        kind = self.kind[rows]
        return loss[self.customer[rows]] * self.success[kind] - self.cost[kind]

    @property
    def blocks(self) -> Iterator[slice]:
        return (slice(start, start + BLOCK) for start in range(0, len(self.customer), BLOCK))


@dataclass(frozen=True)
class Choice:
    """m selected customers, those with the highest expected profit first."""

    customer: np.ndarray  # (m,)
    offer: np.ndarray  # int8 (m,)
    expected_profit: np.ndarray  # (m,) of the offer, where it is made
    pays: int  # customers, of all, to whom some offer pays
    upper_bound: float  # of the expected profit of all offers that are made
    shadow_price: float  # profit that one more unit of the limit would bring; 0: it is not used up


def choose(loss: np.ndarray, is_control: np.ndarray, offers: Sequence[Offer], limit: Limit) -> Choice:
    """Select customers and their offers; loss (n,) is P(churned = 1) · value, is_control (n,) how they were drawn."""
    steps = by_number(loss, offers, limit.most) if limit.budget is None else by_cost(loss, offers, limit.budget)
    bound, price = relaxed(steps, loss, is_control)
    offer = np.full(len(loss), -1, "int8")
    for taken in fitting(steps, is_control):
        offer[steps.customer[taken]] = steps.offer[steps.kind[taken]]  # of a customer's steps the last one stays
    pays = int(np.count_nonzero(np.bincount(steps.customer, minlength=1)))
    customer = np.flatnonzero(offer >= 0)
    profit = profit_of(loss[customer], offer[customer], offers)
    order = np.argsort(-profit, kind="stable")
    customer = customer[order]
    return Choice(customer, offer[customer], profit[order], pays, bound, price / steps.unit)


def expected_profit(offer: Offer, loss: np.ndarray) -> np.ndarray:
    """(n,) as `churn.profit` has it: P(churned = 1) · success · value - cost; loss (n,) is P(churned = 1) · value."""
    return loss * offer.success - offer.cost


def profit_of(loss: np.ndarray, offer: np.ndarray, offers: Sequence[Offer]) -> np.ndarray:
    """(n,) expected profit of each customer's offer (n,)."""
    profit = np.empty(len(loss))
    for i, one in enumerate(offers):
        profit[offer == i] = expected_profit(one, loss[offer == i])
    return profit


def units(cost: float) -> int:
    return int((Decimal(repr(float(cost))) / UNIT).to_integral_value(ROUND_CEILING))


def by_cost(loss: np.ndarray, offers: Sequence[Offer], budget: Decimal) -> Steps:
    """The steps that gain, by their gain per money; the same for every customer, as gains are linear in loss."""
    kept = frontier(offers)
    cost = np.diff([0, *(units(offers[i].cost) for i in kept)]).tolist()
    success = np.diff([0.0, *(offers[i].success for i in kept)])
    unit = gcd(*(units(one.cost) for one in offers)) or 1  # of those that are dropped, too: the bound is theirs as well
    if max(cost) // unit * BLOCK >= 2**63:
        raise InputError(f"the costs {[offers[i].cost for i in kept]} have too many digits to be added; round them")
    customers, kinds, merits = [], [], []
    for kind in range(len(kept)):
        with np.errstate(invalid="ignore"):  # no loss times no cost
            merit = loss * ratio(success[kind], cost[kind])
        gains = merit > 1
        customers.append(np.flatnonzero(gains).astype("int32"))
        kinds.append(np.full(len(customers[-1]), kind, "int8"))
        merits.append(merit[gains])
    order = np.argsort(-np.concatenate(merits), kind="stable")
    return Steps(
        customer=np.concatenate(customers)[order],
        kind=np.concatenate(kinds)[order],
        weight=np.array(cost) // unit,
        offer=np.array(kept, "int8"),
        success=success,
        cost=np.array(cost) * float(UNIT),
        capacity=int((budget / UNIT).to_integral_value(ROUND_FLOOR)) // unit,
        unit=unit * float(UNIT),
    )


def frontier(offers: Sequence[Offer]) -> list[int]:
    """The efficient offers by rising cost: success gained per money falls from one to the next, beginning with none."""
    kept: list[int] = []
    for i in sorted(range(len(offers)), key=lambda i: (units(offers[i].cost), -offers[i].success)):
        if kept and offers[i].success <= offers[kept[-1]].success:
            continue
        while kept and step_ratio(offers, kept, i) >= step_ratio(offers, kept[:-1], kept[-1]):
            kept.pop()
        kept.append(i)
    return kept


def step_ratio(offers: Sequence[Offer], kept: Sequence[int], after: int) -> float:
    """Of the step to an offer from the last one of `kept`, or from none."""
    success, cost = (offers[kept[-1]].success, units(offers[kept[-1]].cost)) if kept else (0.0, 0)
    return ratio(offers[after].success - success, units(offers[after].cost) - cost)


def ratio(success: float, cost: int) -> float:
    """Success per money."""
    return success / (cost * float(UNIT)) if cost else np.inf


def by_number(loss: np.ndarray, offers: Sequence[Offer], most: int | None) -> Steps:
    """One step to each customer's best offer, where it gains, by its gain."""
    offer, best = np.zeros(len(loss), "int8"), expected_profit(offers[0], loss)
    for i, one in enumerate(offers[1:], start=1):
        profit = expected_profit(one, loss)
        offer[profit > best] = i
        best = np.maximum(best, profit)
    customer = np.flatnonzero(best > 0)
    customer = customer[np.argsort(-best[customer], kind="stable")].astype("int32")
    return Steps(
        customer=customer,
        kind=offer[customer],
        weight=np.ones(len(offers), "int64"),
        offer=np.arange(len(offers), dtype="int8"),
        success=np.array([one.success for one in offers]),
        cost=np.array([one.cost for one in offers]),
        capacity=len(customer) if most is None else most,
        unit=1.0,
    )


def relaxed(steps: Steps, loss: np.ndarray, is_control: np.ndarray) -> tuple[float, float]:
    """The most that steps gain where the last one may be taken in part; and the gain of one more capacity."""
    total, capacity = 0.0, steps.capacity
    for block in steps.blocks:
        is_made = ~is_control[steps.customer[block]]
        spent = np.cumsum(steps.weight[steps.kind[block]] * is_made)
        gain = steps.gain(block, loss) * is_made
        if spent[-1] > capacity:
            last = int(np.searchsorted(spent, capacity, "right"))
            weight = int(steps.weight[steps.kind[block][last]])
            price = float(gain[last]) / weight
            return total + float(gain[:last].sum()) + (capacity - int(spent[last]) + weight) * price, price
        total, capacity = total + float(gain.sum()), capacity - int(spent[-1])
    return total, 0.0


def fitting(steps: Steps, is_control: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of the steps that are taken, in their order: each that fits, once the customer's steps before it are taken.

    Those of the control group fit by the same rule and use no capacity. As there are few different weights, a block
    takes as many turns at most.
    """
    capacity = steps.capacity
    lost = np.full(len(is_control), np.iinfo("int8").max, "int8")  # kind of the first step that a customer can't take
    for block in steps.blocks:
        rows = np.arange(block.start, min(block.stop, len(steps.customer)))
        while len(rows):
            is_out = steps.weight[steps.kind[rows]] > capacity
            np.minimum.at(lost, steps.customer[rows[is_out]], steps.kind[rows[is_out]])
            rows = rows[steps.kind[rows] < lost[steps.customer[rows]]]
            weight = steps.weight[steps.kind[rows]]
            spent = np.cumsum(weight * ~is_control[steps.customer[rows]])
            before = spent - weight * ~is_control[steps.customer[rows]]
            fits = before + weight <= capacity
            end = len(rows) if fits.all() else int(np.argmin(fits))
            yield rows[:end]
            if end:
                capacity -= int(spent[end - 1])
            rows = rows[end:]
