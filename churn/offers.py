"""How much an outcome counts where offers are made: one rule, for the check, the gate, the A/B and shadow reports and
retraining.

An action that goes by a score changes the outcome by which the score is judged. A contact reaches the outcome of an
answer when it came before the outcome was observed, and its effect, which lasts some days, had not ended when the
answer was given. An outcome that an offer reached does not count. One of a customer who was held back by chance stands
for those who were not: it counts 1 / (1 - share) times, in several campaigns the product of that. All others count
once. These are the weights of Horvitz and Thompson (1952, Journal of the American Statistical Association 47, 663-685):
their sum is the number of customers on average, wherever somebody was held back.
"""

from typing import NamedTuple

import numpy as np

KINDS = 10  # of customers, by their probability, that `uncovered` looks at
MAX_UNCOVERED = 0.02  # share of customers for whom nobody stands, from which on outcomes say nothing of all
MIN_Z = 4.0  # standard deviations that weights must lack so that it is not chance


class Offers(NamedTuple):
    """What reached the outcomes of n answers."""

    offered: np.ndarray  # (n,) whether an offer did
    spared: np.ndarray  # (n,) the chance in [0, 1] that none would; 1 without a campaign, 0 where everybody got one

    @property
    def weights(self) -> np.ndarray:
        """(n,) how often each outcome counts."""
        return weights(self.offered, self.spared)


def weights(offered: np.ndarray, spared: np.ndarray) -> np.ndarray:
    """(n,) how often each outcome counts; offered and spared as `Offers` has them."""
    untouched = ~offered.astype(bool)
    return np.divide(1.0, spared, out=np.zeros(len(spared)), where=untouched & (spared > 0))


def effective(weights: np.ndarray) -> float:
    """How many customers of equal weight tell as much: Kish 1965, Survey Sampling, 258."""
    total = float(weights.sum())
    return total * total / float((weights**2).sum()) if total else 0.0


def uncovered(p: np.ndarray, offered: np.ndarray, spared: np.ndarray) -> float:
    """Share of n customers, who have outcomes, for whom none of their kind stands: all of it were made an offer.

    p (n,) the probabilities, by whose tenths kinds are told apart. In a kind whose weights sum up to less than its
    customers, and not by chance, the difference is not covered: shares were 1, or nobody was held back as they say.
    """
    if not offered.any():
        return 0.0
    n = len(p)
    kind = np.empty(n, dtype=np.intp)
    kind[np.argsort(p, kind="stable")] = np.arange(n) * KINDS // n
    drawn = spared > 0
    variance = np.divide(1 - spared, spared, out=np.zeros(n), where=drawn)
    missing = np.bincount(kind, 1 - weights(offered, spared), minlength=KINDS)
    never = np.bincount(kind, ~drawn, minlength=KINDS)
    noise = np.sqrt(np.bincount(kind, variance, minlength=KINDS))
    is_short = missing - never > MIN_Z * noise
    return float(np.where(is_short, missing, never).sum() / n)


def no_offers(n: int) -> Offers:
    return Offers(np.zeros(n, dtype=bool), np.ones(n))
