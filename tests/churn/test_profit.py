"""Profit: what offers to the flagged customers earn, against doing nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from churn.params import read_knobs
from churn.profit import Profit
from churn.script import InputError

PROFIT = Profit(customer_value=400, offer_cost=40, offer_success=0.3)


@pytest.mark.parametrize(
    ("churned", "flagged", "earned"), [(0, 0, 0), (1, 0, 0), (0, 1, -40), (1, 1, 0.3 * 400 - 40)], ids=str
)
def test_an_offer_costs_and_keeps_some_of_the_leavers(churned: int, flagged: int, earned: float) -> None:
    assert PROFIT.of(np.array([churned]), np.array([flagged])) == pytest.approx([earned])


def test_offers_pay_from_cost_over_success_times_value_on() -> None:
    p = np.array([0.33, 1 / 3, 0.34])
    expected = p * PROFIT.of(np.ones(3), np.ones(3)) + (1 - p) * PROFIT.of(np.zeros(3), np.ones(3))
    assert np.sign(np.round(expected, 9)).tolist() == [-1, 0, 1]


def test_flags_may_be_booleans() -> None:
    assert PROFIT.of(np.array([1, 0]), np.array([True, False])).tolist() == [80, 0]


@pytest.mark.parametrize(
    ("knob", "value", "reason"),
    [
        ("offer_success", 1.3, "input should be less than or equal to 1"),
        ("offer_success", 0, "input should be greater than 0"),
        ("offer_success", "guessed", "input should be a number or 'measured'"),
        ("offer_cost", -1, "input should be greater than or equal to 0"),
        ("customer_value", 0, "input should be greater than 0"),
    ],
)
def test_a_profit_that_cannot_be_is_refused(tmp_path: Path, knob: str, value: float | str, reason: str) -> None:
    section = {"customer_value": 400, "offer_cost": 40, "offer_success": 0.3} | {knob: value}
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump({"profit": section}))
    with pytest.raises(InputError) as refused:
        read_knobs("profit", Profit, params)
    assert str(refused.value) == f"{params}: profit.{knob} is {value!r}: {reason}"


def test_a_whole_number_stays_one(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("profit: {customer_value: 400, offer_cost: 40.0, offer_success: 0.3}\n")
    profit = read_knobs("profit", Profit, tmp_path / "params.yaml")
    assert [repr(value) for value in (profit.customer_value, profit.offer_cost)] == ["400", "40.0"]


# a value for each customer

BY_COLUMN = Profit(customer_value="charges", offer_cost=40, offer_success=0.5)


def test_a_column_tells_what_each_customer_is_worth_and_the_mean_stands_in_for_a_missing_one() -> None:
    worth = BY_COLUMN.worth({"charges": np.array([100.0, np.nan, 300.0])}, 3)
    assert worth.tolist() == [100, 200, 300]
    assert BY_COLUMN.of(np.ones(3), np.ones(3), worth).tolist() == [10, 60, 110]
    assert PROFIT.worth({}, 2).tolist() == [400, 400]


@pytest.mark.parametrize("name", ["charge", "plan"])
def test_a_column_that_is_no_number_is_refused_with_those_that_are(name: str) -> None:
    columns = {"charges": np.array([1.0]), "plan": np.array(["basic"], dtype=object)}
    profit = Profit(customer_value=name, offer_cost=1, offer_success=0.5)
    with pytest.raises(InputError) as refused:
        profit.worth(columns, 1)
    assert str(refused.value) == (
        f"params.yaml: profit.customer_value is {name!r}, no number column of the schema; it has ['charges']"
    )


def test_reports_on_the_log_take_the_training_customers_mean_from_the_card() -> None:
    card = {"threshold": {"profit": BY_COLUMN.in_card(np.array([100.0, 300.0]))}}
    assert card["threshold"]["profit"]["customer_value"] == "charges"
    assert BY_COLUMN.on_average(lambda: card).customer_value == 200
    assert PROFIT.on_average(lambda: card) is PROFIT
    with pytest.raises(InputError, match="but the release has none; run dvc repro"):
        BY_COLUMN.on_average(lambda: {"threshold": {"profit": PROFIT.in_card(np.ones(1))}})


def test_what_was_measured_is_read_from_the_release() -> None:
    card = {"threshold": {"profit": PROFIT.in_card(np.ones(1)) | {"offer_success": 0.2}}}
    measured = replace(PROFIT, offer_success="measured")
    assert measured.as_trained(lambda: card).offer_success == measured.on_average(lambda: card).offer_success == 0.2
    assert PROFIT.as_trained(lambda: card) is PROFIT
