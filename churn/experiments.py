"""Whether a split of customers is the one that was meant: tests of the ratios of counts."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import chi2_contingency, chisquare
from scipy.stats.contingency import expected_freq

SRM_ALPHA = 0.001  # sample ratio mismatch: p below which arms are no random split (Fabijan et al. 2019, KDD, 2156-2164)
MIN_EXPECTED = 5  # customers of a cell, below which a chi-square test says nothing


def p_of_shares(counts: Sequence[int], shares: Sequence[float]) -> float:
    """p that counts come from these shares, by chi-square; 1 where they are too few to tell."""
    expected = sum(counts) * np.array(shares)
    return float(chisquare(counts, expected).pvalue) if expected.min() >= MIN_EXPECTED else 1.0


def p_of_ratios(table: Sequence[Sequence[int]]) -> float:
    """p that all rows of counts have the same ratios, by chi-square; 1 where they are too few to tell."""
    counts = np.array(table)
    if not counts.any() or expected_freq(counts).min() < MIN_EXPECTED:
        return 1.0
    return float(chi2_contingency(counts, correction=False).pvalue)
