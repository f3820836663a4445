"""How well one column alone tells who churned: near 1 it most likely was recorded after the fact."""

import numpy as np
import pandas as pd

BINS = 20  # of a number column
MIN_CLASS = 10  # rows of either outcome; with fewer, a column may tell them apart by chance


def auc_alone(values: pd.Series, churned: pd.Series) -> float:
    """ROC AUC in [0, 1] of ranking rows by the churn rate of the other rows with the same value; a null is a value too.

    values (n,): numbers or dates (in bins of about equal count) or levels; churned (n,) in {0, 1, null}, null rows do
    not count. A row never counts for its own rate, so that ids and other rare levels stay near 0.5, which is also the
    answer where either outcome has fewer than MIN_CLASS rows. Pairs with the same value count as ties.
    """
    known = churned.notna()
    y = churned[known].to_numpy("float64")
    if min(y.sum(), (1 - y).sum()) < MIN_CLASS:
        return 0.5
    levels = values[known]
    if levels.dtype == "float64" or pd.api.types.is_datetime64_dtype(levels.dtype):
        levels = (levels.rank(pct=True) * BINS).round()  # equal numbers share a bin
    codes, uniques = pd.factorize(levels, use_na_sentinel=False)
    n = np.bincount(codes, minlength=len(uniques))
    left = np.bincount(codes, weights=y, minlength=len(uniques))
    stayed, none = n - left, np.zeros_like(left)
    # what churned rows see, then what others see; the base rate counts as one row, so that a level of one row has it
    rates = np.concatenate([left - 1 + y.mean(), left + y.mean()]) / np.concatenate([n, n])
    _, place = np.unique(rates, return_inverse=True)
    positive, negative = (
        np.bincount(place, np.concatenate([left, none])),
        np.bincount(place, np.concatenate([none, stayed])),
    )
    won = positive @ (np.cumsum(negative) - negative / 2)
    # inside a level a churned row sees one churned row less than the others do: these pairs were counted as lost
    return float((won + left @ stayed / 2) / (left.sum() * stayed.sum()))
