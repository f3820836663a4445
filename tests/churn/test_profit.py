"""Profit: what offers to the flagged customers earn, against doing nothing."""

import numpy as np
import pytest

from churn.profit import profit

MONEY = {"customer_value": 400, "offer_cost": 40, "offer_success": 0.3}


@pytest.mark.parametrize(
    ("churned", "flagged", "earned"), [(0, 0, 0), (1, 0, 0), (0, 1, -40), (1, 1, 0.3 * 400 - 40)], ids=str
)
def test_an_offer_costs_and_keeps_some_of_the_leavers(churned: int, flagged: int, earned: float) -> None:
    assert profit(np.array([churned]), np.array([flagged]), **MONEY) == pytest.approx([earned])


def test_offers_pay_from_cost_over_success_times_value_on() -> None:
    p = np.array([0.33, 1 / 3, 0.34])
    expected = p * profit(np.ones(3), np.ones(3), **MONEY) + (1 - p) * profit(np.zeros(3), np.ones(3), **MONEY)
    assert np.sign(np.round(expected, 9)).tolist() == [-1, 0, 1]


def test_flags_may_be_booleans() -> None:
    assert profit(np.array([1, 0]), np.array([True, False]), **MONEY).tolist() == [80, 0]
