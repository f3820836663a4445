"""What the months to come are worth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.plan.value import remaining_value

shares = st.floats(0, 1, allow_subnormal=False)


def value(p: float, months: int, discount: float, margin: float = 20.0) -> float:
    return float(remaining_value(np.array([margin]), np.array([p]), months=months, discount=discount)[0])


@given(shares, st.integers(1, 60), st.floats(0, 0.5))
def test_it_is_the_sum_over_the_months_that_the_customer_stays(p: float, months: int, discount: float) -> None:
    summed = 20 * sum(((1 - p) / (1 + discount)) ** month for month in range(months))
    assert value(p, months, discount) == pytest.approx(summed, rel=1e-6)


@given(st.floats(0.02, 1))
def test_without_end_and_discount_a_customer_stays_for_one_over_p_months(p: float) -> None:
    assert value(p, 1200, 0) == pytest.approx(20 / p, rel=1e-6)


@given(st.floats(0.02, 1), st.floats(0.001, 0.1))
def test_without_end_it_is_the_formula_of_gupta_and_lehmann(p: float, discount: float) -> None:
    assert value(p, 1200, discount) == pytest.approx(20 * (1 + discount) / (p + discount), rel=1e-6)


@given(shares, shares, st.integers(1, 60))
def test_whoever_is_likelier_to_leave_is_worth_less(p: float, q: float, months: int) -> None:
    low, high = sorted((p, q))
    assert value(high, months, 0.01) <= value(low, months, 0.01) * (1 + 1e-12)
