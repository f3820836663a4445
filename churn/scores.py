"""How good probabilities of churn are: the scores that training, selection and evaluation share, under any weights.

scikit-learn has the same scores one by one; here the customers are sorted once for all of them and for a thousand
resamples, which is a hundred times faster. tests/test_scores.py holds the two equal.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from churn.schema import WEIGHT

SCORES = ("roc_auc", "average_precision", "brier", "log_loss", "accuracy", "f1", "precision", "recall")
LOSSES = ("brier", "log_loss")  # the lower the better
MIN_CUSTOMERS, MIN_OF_OUTCOME = 30, 5  # of a slice, so that its ranking can be scored
BINS = 10  # of calibration, with equally many customers

Weights = np.ndarray  # (b, n): how often each of n customers was drawn in each of b resamples


def scores(
    churned: np.ndarray, p: np.ndarray, threshold: float = 0.5, weights: np.ndarray | None = None
) -> dict[str, float]:
    """The eight SCORES; churned (n,) in {0, 1}, p (n,) = P(churned = 1), flagged as churn where p >= threshold; weights
    (n,) how often each customer counts."""
    once, weighted = np.ones((1, len(p))) if weights is None else weights[None], ResampledScores(churned, p)
    found = weighted.ranking(once) | weighted.flagging(once, threshold)
    return {name: float(found[name][0]) for name in SCORES}


class ResampledScores:
    """The scores of one set of probabilities under any weights of the customers; churned (n,) in {0, 1}, p (n,).

    With all weights 1 they equal scikit-learn's; a row of resampling counts gives the score of that resample.
    """

    def __init__(self, churned: np.ndarray, p: np.ndarray):
        self.order = np.argsort(-p, kind="stable")
        self.churned, self.p = churned[self.order].astype("float64"), p[self.order]
        self.starts = starts_of_ties(self.p)
        self.bins = np.minimum(np.arange(len(p)) * BINS // len(p), BINS - 1)

    def tied(self, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
        """Who churned and who stayed in each group of equal p, the highest first; (b, groups) each."""
        w = weights[:, self.order]
        positive = np.add.reduceat(w * self.churned, self.starts, axis=1)
        negative = np.add.reduceat(w * (1 - self.churned), self.starts, axis=1)
        return positive, negative

    def ranking(self, weights: Weights) -> dict[str, np.ndarray]:
        """(b,) each: scores of the order of customers and of the probabilities themselves."""
        w, (positive, negative) = weights[:, self.order], self.tied(weights)
        found, false = positive.cumsum(axis=1), negative.cumsum(axis=1)
        n_positive, n_negative = found[:, -1], false[:, -1]
        n = n_positive + n_negative
        top = np.clip(0.1 * n[:, None] - (w.cumsum(axis=1) - w), 0, w)  # how often each is in the top decile
        clipped = np.clip(self.p, np.finfo("float64").eps, 1 - np.finfo("float64").eps)
        log_losses = -np.where(self.churned == 1, np.log(clipped), np.log1p(-clipped))
        bins = np.flatnonzero(np.r_[True, np.diff(self.bins) > 0])
        off = np.add.reduceat(w * (self.p - self.churned), bins, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = np.where(found + false > 0, found / (found + false), 0)
            return {
                "roc_auc": roc_auc(positive, negative),
                "average_precision": (precision * positive).sum(axis=1) / n_positive,
                "brier": total(w, (self.p - self.churned) ** 2) / n,
                "log_loss": total(w, log_losses) / n,
                "ece": np.abs(off).sum(axis=1) / n,
                "lift_top_decile": total(top, self.churned) / (0.1 * n_positive),
            }

    def flagging(self, weights: Weights, threshold: float) -> dict[str, np.ndarray]:
        """(b,) each: scores of the decision p >= threshold."""
        w, flagged = weights[:, self.order], self.p >= threshold
        hits, alarms = total(w, flagged * self.churned), total(w, flagged)
        n_positive, n = total(w, self.churned), w.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return {
                "accuracy": (n - n_positive - alarms + 2 * hits) / n,
                "f1": 2 * hits / (alarms + n_positive),
                "precision": np.where(alarms > 0, hits / alarms, 0.0),
                "recall": hits / n_positive,
            }


class Scored:
    """Customers with outcomes as one model scores them: its measures under any weights of the customers.

    churned (n,) in {0, 1}; p (n,) = P(churned = 1); earned (n,) = profit of each customer by the model's decision.
    """

    def __init__(self, churned: np.ndarray, p: np.ndarray, earned: np.ndarray):
        self.scores, self.churned, self.earned = ResampledScores(churned, p), churned, earned

    def measures(self, weights: Weights) -> dict[str, np.ndarray]:
        """(b,) each."""
        ranking, n = self.scores.ranking(weights), weights.sum(axis=1)
        return {
            **{name: ranking[name] for name in ("roc_auc", "average_precision", "brier")},
            "churn_rate": total(weights, self.churned) / n,
            "profit_per_customer": total(weights, self.earned) / n,
        }


def weights_of(customers: Any) -> np.ndarray:
    """(n,) how often each customer of a table counts; once, where it does not say."""
    return np.asarray(customers[WEIGHT] if WEIGHT in customers else np.ones(len(customers)))


def starts_of_ties(p: np.ndarray) -> np.ndarray:
    """Where each group of equal p begins; p (n,) sorted. Customers with equal p rank at once."""
    return np.flatnonzero(np.r_[True, np.diff(p) != 0])


def roc_auc(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """(b,) from what churned and what stayed in each group of equal p, the highest first; (b, groups) each."""
    stayed = negative.cumsum(axis=1)
    n_positive, n_negative = positive.cumsum(axis=1)[:, -1], stayed[:, -1]
    below = n_negative[:, None] - stayed + negative / 2  # those who stayed and rank lower, ties counted half
    with np.errstate(divide="ignore", invalid="ignore"):
        return (below * positive).sum(axis=1) / (n_positive * n_negative)


def enough_to_score(churned: np.ndarray) -> bool:
    """Whether customers, (n,) in {0, 1}, are enough for a score of their ranking to mean something."""
    n, leavers = len(churned), int(churned.sum())
    return n >= MIN_CUSTOMERS and MIN_OF_OUTCOME <= leavers <= n - MIN_OF_OUTCOME


def resamples(n: int, b: int, seed: int | np.random.Generator) -> Iterator[Weights]:
    """b times n customers drawn with replacement, as counts in blocks of (., n) that fit in memory."""
    rng = np.random.default_rng(seed)
    block = max(1, 2_000_000 // n)
    for start in range(0, b, block):
        draws = [np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(min(block, b - start))]
        yield np.stack(draws).astype("float64")


def total(weights: Weights, values: np.ndarray) -> np.ndarray:
    """(b,) weighted sums of values (n,). Not `@`: BLAS adds in an order that depends on its number of threads."""
    return np.einsum("bn,n->b", weights, values)
