"""How far apart two releases hold groups of the same customers: the gate's look at fairness."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from churn.scores import Weights, enough_to_score, resamples, total

ERROR = 0.05  # of all looks at once


class Decisions(NamedTuple):
    """What two releases decide on the same customers; (n,) each."""

    churned: np.ndarray
    weights: np.ndarray  # how often each customer counts
    champion: np.ndarray  # flagged by it
    candidate: np.ndarray

    def gaps(self, flagged: np.ndarray, groups: Sequence[np.ndarray], w: Weights) -> dict[str, np.ndarray]:
        """(b,) each: the largest difference between groups, in the share flagged and in recall."""
        w = w * self.weights
        with np.errstate(divide="ignore", invalid="ignore"):
            selected = [total(w, inside * flagged) / total(w, inside) for inside in groups]
            caught = [total(w, inside * flagged * self.churned) / total(w, inside * self.churned) for inside in groups]
        return {name: np.ptp(rates, axis=0) for name, rates in (("selection_rate", selected), ("recall", caught))}


def apart(
    decided: Decisions, columns: Mapping[str, Sequence[np.ndarray]], margin: float, b: int, seed: int
) -> Iterator[dict[str, Any]]:
    """A row for each column and rate: the largest difference between its groups, (n,) each, by both releases.

    The candidate fails where its own is larger by more than the margin and the rise is significant at 5 % over all rows
    (Bonferroni), by paired bootstrap. Groups too small to be scored are left out.
    """
    kept = {name: [part for part in parts if enough_to_score(decided.churned[part])] for name, parts in columns.items()}
    kept = {name: parts for name, parts in kept.items() if len(parts) > 1}
    n = len(decided.churned)
    for column, groups in kept.items():

        def both(w: Weights, groups: Sequence[np.ndarray] = groups) -> list[dict[str, np.ndarray]]:
            return [decided.gaps(flagged, groups, w) for flagged in (decided.champion, decided.candidate)]

        before, after = both(np.ones((1, n)))
        drawn = [both(w) for w in resamples(n, b, seed)]
        for name in before:
            rises = np.concatenate([theirs[name] - ours[name] for ours, theirs in drawn])
            rise = float(after[name][0] - before[name][0])
            reach = NormalDist().inv_cdf(1 - ERROR / (2 * len(kept))) * float(np.nanstd(rises))
            yield {
                "column": column,
                "measure": name,
                "champion": float(before[name][0]),
                "candidate": float(after[name][0]),
                "difference": rise,
                "low": rise - reach,
                "high": rise + reach,
                "margin": margin,
                "passed": not (rise > margin and rise - reach > 0),
            }


def in_words(row: Mapping[str, Any]) -> str:
    return (
        f"{row['data']}: {row['measure']} differs by {row['candidate']:.4f} between groups of {row['column']}, by the "
        f"champion {row['champion']:.4f}: {row['difference']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f}), "
        f"allowed is {row['margin']:+.4f}"
    )
