"""The most that offers can earn by the order of a score: MP and EMPC.

Verbraken, Verbeke, Baesens 2013, "A Novel Profit Maximizing Metric for Measuring Classification Performance of Customer
Churn Prediction Models", IEEE TKDE 25(5), 961-973. MP contacts the share of the customers that earns the most. EMPC
does not know which share of leavers an offer keeps, only its beta distribution: it contacts the best share of the
customers at each value, and takes the mean. Both are upper bounds: the share is chosen on the customers counted.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import betainc

from churn.profit import Profit

MAXIMA = ("maximum_profit", "maximum_profit_share", "empc", "empc_share")
CERTAINTY = 20.0  # alpha + beta of the paper's Beta(6, 14): a standard deviation of .1 at a mean of .3


@dataclass(frozen=True, kw_only=True)
class Offer:
    """The paper's offer, in money (its delta and phi are shares of clv); Beta(alpha, beta) of the leavers take it."""

    clv: float
    incentive_cost: float  # paid for customers who would have stayed and for leavers who take the offer
    contact_cost: float  # paid for everybody who is contacted
    alpha: float
    beta: float

    @classmethod
    def of(cls, profit: Profit, worth: float) -> "Offer":
        """The offer of params.yaml to customers worth so much on average.

        Its cost is paid whether it is taken or not, so all of it is contact cost; its mean success is `offer_success`.
        """
        success = float(profit.offer_success)
        alpha, beta = CERTAINTY * success, CERTAINTY * (1 - success)
        return cls(clv=worth, incentive_cost=0.0, contact_cost=profit.offer_cost, alpha=alpha, beta=beta)

    @property
    def success(self) -> float:
        return self.alpha / (self.alpha + self.beta)


def maximum_profits(positive: np.ndarray, negative: np.ndarray, offer: Offer) -> dict[str, np.ndarray]:
    """(b,) each of MAXIMA: money per customer, and the share of customers to contact for it.

    positive, negative (b, groups): leavers and others in each group of equal p, the highest first.
    """
    rows = [_maximum_profit(*row, offer) for row in zip(positive, negative, strict=True)]
    return {name: np.array(values) for name, values in zip(MAXIMA, zip(*rows, strict=True), strict=True)}


def _maximum_profit(positive: np.ndarray, negative: np.ndarray, offer: Offer) -> tuple[float, float, float, float]:
    leavers, others = convex_hull(positive, negative)
    n = leavers[-1] + others[-1]
    contacted = (leavers + others) / n
    gain = leavers * (offer.clv - offer.incentive_cost) / n  # where every leaver takes the offer
    cost = (leavers * offer.contact_cost + others * (offer.incentive_cost + offer.contact_cost)) / n
    profit = gain * offer.success - cost
    best = int(np.argmax(profit))

    # the success from which on it pays to go from one vertex to the next; none where nothing is gained
    gained, paid = np.diff(gain), np.diff(cost)
    pays = np.divide(paid, gained, out=np.ones_like(paid), where=gained > 0)
    bounds = np.r_[0.0, np.clip(pays, 0.0, 1.0), 1.0]
    share = np.diff(betainc(offer.alpha, offer.beta, bounds))
    success = offer.success * np.diff(betainc(offer.alpha + 1, offer.beta, bounds))
    empc = (gain * success - cost * share).sum()
    return float(profit[best]), float(contacted[best]), float(empc), float((contacted * share).sum())


def convex_hull(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leavers and others at the vertices of the ROC curve's convex hull, (k,) each, from none to all.

    It is found as the isotonic regression of the outcome on the score (Fawcett, Niculescu-Mizil 2007, Machine Learning
    68, 97-106); positive, negative (groups,) as in `maximum_profits`, where an empty group changes nothing.
    """
    n = positive + negative
    positive, negative, n = positive[n > 0], negative[n > 0], n[n > 0]
    blocks = isotonic_regression(positive / n, weights=n, increasing=False).blocks
    return np.r_[0.0, positive.cumsum()][blocks], np.r_[0.0, negative.cumsum()][blocks]
