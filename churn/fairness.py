"""How groups of customers fare by one model's decisions: rates by group, with intervals that hold all at once.

The intervals are Wilson's for rates and normal for means, at the critical value that the largest of all their errors
stays below in 95 % of cases: the max-T of correlated estimates (Hothorn, Bretz, Westfall 2008, Biometrical Journal 50,
346-363), whose correlations are those of the customers' influences. What is said of differences follows from them.
"""

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd

from churn.intervals import MOST, Interval, wilson
from churn.offers import effective

RATES = ("selection_rate", "recall", "precision", "false_positive_rate")
MEASURES = (*RATES, "bias", "profit_per_customer")  # bias: the mean probability minus the churn rate
MISSING = "(missing)"
DRAWS = 20_000  # of the largest error


def ratios(
    churned: np.ndarray, flagged: np.ndarray, p: np.ndarray, earned: np.ndarray, counted: np.ndarray | None = None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each measure as a sum over customers, who are counted so often, divided by another; (n,) each."""
    y, chosen, everybody = churned.astype("float64"), flagged.astype("float64"), np.ones(len(p))
    parts = {
        "selection_rate": (chosen, everybody),
        "recall": (chosen * y, y),
        "precision": (chosen * y, chosen),
        "false_positive_rate": (chosen * (1 - y), 1 - y),
        "bias": (p - y, everybody),
        "profit_per_customer": (earned, everybody),
    }
    w = everybody if counted is None else counted
    return {name: (w * top, w * bottom) for name, (top, bottom) in parts.items()}


def by_group(
    of: Mapping[str, tuple[np.ndarray, np.ndarray]],
    churned: np.ndarray,
    groups: pd.DataFrame,
    min_customers: int,
    min_outcomes: int,
    seed: int,
) -> pd.DataFrame:
    """A row for each group of each column of `groups` (n, .): its customers, and the measures `of` with intervals.

    A group of fewer than min_customers, or of fewer leavers or stayers than min_outcomes, is named and nothing else is
    shown of it; nor are the sizes of the others, from which its own would follow.
    """
    rows: list[dict[str, Any]] = []
    insides = []
    for column in groups:
        texts = groups[column].astype("str").where(groups[column].notna(), MISSING)
        parts = {group: (texts == group).to_numpy() for group in sorted(texts.unique())}
        shown = {
            group: inside.sum() >= min_customers
            and min(churned[inside].sum(), inside.sum() - churned[inside].sum()) >= min_outcomes
            for group, inside in parts.items()
        }
        for group, inside in parts.items():
            size = int(inside.sum()) if all(shown.values()) else None
            rows.append({"column": column, "group": group, "customers": size, "masked": not shown[group]})
            insides.append(inside)
    cells = [(row, inside, name) for row, inside in zip(rows, insides, strict=True) if not row["masked"] for name in of]
    cells = [cell for cell in cells if of[cell[2]][1][cell[1]].any()]  # else the rate is of nobody
    reach = critical([influence(*of[name], inside) for _, inside, name in cells], seed)
    for row, inside, name in cells:
        top, bottom = (part[inside] for part in of[name])
        value, n = float(top.sum() / bottom.sum()), effective(bottom)
        if name in RATES:
            low, high = wilson(round(value * n), round(n), reach)
        else:
            off, m = (top - value * bottom) / bottom.mean(), len(top)
            spread = reach * float(np.sqrt((off**2).sum() / (m - 1) / m))
            low, high = value - spread, value + spread
        row |= {name: value, f"{name}_low": low, f"{name}_high": high}
    values = [f"{name}{end}" for name in of for end in ("", "_low", "_high")]
    return pd.DataFrame(rows).reindex(columns=["column", "group", "customers", "masked", *values])


def influence(top: np.ndarray, bottom: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(n,) each customer's part in the error of a ratio within a group."""
    return inside * (top - bottom * (top[inside].sum() / bottom[inside].sum()))


def critical(influences: list[np.ndarray], seed: int) -> float:
    """The standard errors that, in 95 % of cases, none of the estimates is off by more; 0 where there are none."""
    if not influences:
        return 0.0
    rng, n = np.random.default_rng(seed), len(influences[0])
    part = np.arange(n) if n <= MOST else rng.choice(n, MOST, replace=False)
    kept = np.stack([values[part] for values in influences])
    products = np.einsum("in,jn->ij", kept, kept)
    scale = np.sqrt(np.diag(products))
    scale[scale == 0] = np.inf  # nobody differs: such an estimate is taken for independent of the others
    correlations = products / np.outer(scale, scale)
    np.fill_diagonal(correlations, 1)
    values, vectors = np.linalg.eigh(correlations)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    largest = np.abs(rng.standard_normal((DRAWS, len(root))) @ root).max(axis=1)
    return round(float(np.quantile(largest, 0.95)), 4)


def distances(groups: pd.DataFrame) -> dict[str, dict[str, float | int | None]]:
    """Of each column: how many groups are shown and masked, and per measure the largest difference between groups and,
    of rates, the least ratio; intervals hold wherever the groups' do."""
    found: dict[str, dict[str, float | int | None]] = {}
    for column, rows in groups.groupby("column", sort=False):
        of_column: dict[str, float | int | None] = {
            "groups": int((~rows["masked"]).sum()), "groups_masked": int(rows["masked"].sum()),
        }  # fmt: skip
        for name in MEASURES:
            ends = rows[[name, f"{name}_low", f"{name}_high"]].dropna().to_numpy("float64")
            of_column |= spread(name, ends)
        found[str(column)] = of_column
    return found


def spread(name: str, ends: np.ndarray) -> dict[str, float | None]:
    """The largest difference, and a rate's least ratio, of groups with values, lows and highs (k, 3)."""
    keys = [f"{name}_{kind}" for kind in (("difference", "ratio") if name in RATES else ("difference",))]
    if len(ends) < 2:
        return {f"{key}{end}": None for key in keys for end in ("", "_low", "_high")}
    pairs = np.array([(*ends[i], *ends[j]) for i, j in permutations(range(len(ends)), 2)]).T
    value, low, high, other, other_low, other_high = pairs
    between = (value - other).max(), max(0.0, (low - other_high).max()), (high - other_low).max()
    found = [between]
    if name in RATES:
        with np.errstate(divide="ignore", invalid="ignore"):
            most = np.fmin.reduce(high / other_low)
            found.append((np.fmin.reduce(value / other), np.fmin.reduce(low / other_high), min(1.0, most)))
    named: dict[str, float] = {}
    for key, three in zip(keys, found, strict=True):
        named |= Interval(*three).named(key)
    return {key: None if np.isnan(x) else float(x) for key, x in named.items()}
