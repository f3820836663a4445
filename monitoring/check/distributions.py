"""How an input is distributed in training and in production: shares for a chart of both, no value of a customer."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from churn.features import MISSING
from monitoring.check.findings import Distribution

BINS = 15
LEVELS = 15  # the most frequent ones of training; the rest are one
TAILS = (0.01, 0.99)  # quantiles of the training between which bins are; what lies beyond is in the outermost
REST, UNSEEN = "other levels", "levels that training never saw"


def distributions(
    reference: pd.DataFrame, current: pd.DataFrame, numbers: Sequence[str], levels: Mapping[str, Sequence[str]]
) -> dict[str, Distribution]:
    """Of the inputs that have a value on both sides; missing values of numbers are left out."""
    made = {name: of_numbers(reference[name].dropna(), current[name].dropna()) for name in numbers}
    made |= {name: of_levels(reference[name], current[name], seen) for name, seen in levels.items()}
    return {name: one for name, one in made.items() if one}


def of_numbers(before: pd.Series, now: pd.Series) -> Distribution | None:
    if before.empty or now.empty:
        return None
    low, high = before.quantile(TAILS)
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    sides = [np.histogram(values.clip(edges[0], edges[-1]), edges)[0] / len(values) for values in (before, now)]
    return Distribution(
        edges=rounded(edges), levels=[], reference=rounded(sides[0]), current=rounded(sides[1]),
        low=float(before.min()), high=float(before.max()),
    )  # fmt: skip


def of_levels(before: pd.Series, now: pd.Series, seen: Sequence[str]) -> Distribution | None:
    if before.empty or now.empty:
        return None
    shares = before[before.isin([*seen, MISSING])].value_counts()
    names = [*shares.index[:LEVELS]]
    known = {*seen, MISSING}

    def side(levels: pd.Series) -> list[float]:
        counts = levels.map(
            lambda level: level if level in names else REST if level in known else UNSEEN
        ).value_counts()
        return rounded([counts.get(name, 0) / len(levels) for name in [*names, REST, UNSEEN]])

    return Distribution(
        edges=[], levels=[*names, REST, UNSEEN], reference=side(before), current=side(now), low=None, high=None
    )


def rounded(values: Sequence[float] | np.ndarray) -> list[float]:
    return [float(f"{value:.4g}") for value in values]
