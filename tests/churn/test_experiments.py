"""Whether a split is the one that was meant."""

import math

import pytest

from churn.experiments import p_of_ratios, p_of_shares


@pytest.mark.parametrize("seen", [[900, 100], [880, 120], [5000, 640]])
def test_the_ratio_is_checked_by_chi_square(seen: list[int]) -> None:
    """p of one degree of freedom, by the normal distribution."""
    n = sum(seen)
    off = sum((k - share * n) ** 2 / (share * n) for k, share in zip(seen, (0.9, 0.1), strict=True))
    assert p_of_shares(seen, [0.9, 0.1]) == pytest.approx(math.erfc(math.sqrt(off / 2)))
    (a, b), (c, d) = [[k // 2 for k in seen], [k // 3 for k in seen]]
    off = (a + b + c + d) * (a * d - b * c) ** 2 / ((a + b) * (c + d) * (a + c) * (b + d))
    assert p_of_ratios([[a, b], [c, d]]) == pytest.approx(math.erfc(math.sqrt(off / 2)))


def test_a_handful_of_customers_says_nothing_of_the_ratio() -> None:
    assert p_of_shares([0, 3], [0.9, 0.1]) == p_of_shares([0, 0], [0.9, 0.1]) == 1
    assert p_of_ratios([[0, 0], [5, 5]]) == p_of_ratios([[0, 0], [0, 0]]) == 1
