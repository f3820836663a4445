"""Frames of customers become frames of model inputs: float32 numbers first, then levels, nothing missing in them."""

import numpy as np
import pandas as pd
import pytest

from churn.model_inputs import input_names, is_category, model_inputs

CUSTOMERS = pd.DataFrame(
    {
        "contract": pd.Series(["One year", None], dtype="str"),
        "partner": pd.array([True, None], dtype="boolean"),
        "tenure": [0.0, np.nan],
        "senior_citizen": [True, False],
        "monthly_charges": [50, 20],
    }
).set_axis([7, 3])


def inputs(customers: pd.DataFrame, *features: str) -> pd.DataFrame:
    return model_inputs(customers, *input_names(customers, features))


def test_numbers_come_first_and_features_after_the_columns() -> None:
    added, numbers, categories = input_names(CUSTOMERS, ["tenure_group", "total_spent"])
    assert added == ["tenure_group", "total_spent"]
    assert numbers == ["partner", "tenure", "senior_citizen", "monthly_charges", "total_spent"]
    assert categories == ["contract", "tenure_group"]


def test_a_tenure_in_levels_has_no_features() -> None:
    customers = CUSTOMERS.assign(tenure=["below a year", "1-3 years"])
    assert input_names(customers, ["tenure_group", "total_spent"])[0] == []
    assert inputs(customers, "tenure_log")["tenure"].tolist() == ["below a year", "1-3 years"]


def test_a_column_called_like_a_feature_stays_what_it_is() -> None:
    customers = CUSTOMERS.assign(tenure_group=[2.0, 1.0], total_spent=["much", "little"])
    added, numbers, categories = input_names(customers, ["tenure_group", "total_spent", "tenure_log"])
    assert (added, "tenure_group" in numbers, "total_spent" in categories) == (["tenure_log"], True, True)
    assert inputs(customers, "tenure_group")["tenure_group"].tolist() == [2.0, 1.0]


def test_every_cell_has_its_value() -> None:
    made = inputs(CUSTOMERS, "tenure_group", "total_spent")
    assert made.loc[7].tolist() == [1.0, 0.0, 1.0, 50.0, 0.0, "One year", "new"]
    assert made.loc[3, ["senior_citizen", "monthly_charges"]].tolist() == [0.0, 20.0]
    assert made.loc[3, ["partner", "tenure", "total_spent"]].isna().all()
    assert made.loc[3, ["contract", "tenure_group"]].tolist() == ["missing", "missing"]


def test_numbers_are_float32_for_the_graph_reads_no_others() -> None:
    made = inputs(CUSTOMERS)
    assert set(made[["partner", "tenure", "senior_citizen", "monthly_charges"]].dtypes) == {np.dtype("float32")}


def test_features_are_made_before_numbers_are_rounded_to_float32() -> None:
    customers = pd.DataFrame({"tenure": [3.0], "monthly_charges": [1 / 3]})
    assert inputs(customers, "total_spent")["total_spent"].item() == np.float32(3 * (1 / 3))
    many = pd.DataFrame({"tenure": [16777217.0], "monthly_charges": [3.0]})
    assert inputs(many, "total_spent")["total_spent"].item() == np.float32(16777217.0 * 3)


def test_the_index_and_the_customers_stay_as_they_are() -> None:
    before = CUSTOMERS.copy()
    assert inputs(CUSTOMERS, "tenure_log").index.tolist() == [7, 3]
    pd.testing.assert_frame_equal(CUSTOMERS, before)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_whatever_stands_for_missing_is_missing(missing: object) -> None:
    customers = pd.DataFrame({"contract": pd.Series(["a", missing], dtype=object), "tenure": [1.0, 2.0]})
    assert inputs(customers)["contract"].tolist() == ["a", "missing"]


@pytest.mark.parametrize(
    ("column", "is_level"),
    [
        (pd.Series([1]), False),
        (pd.Series([1.5]), False),
        (pd.Series([True]), False),
        (pd.Series([True, None], dtype="boolean"), False),
        (pd.Series([1, None], dtype="Int64"), False),
        (pd.Series(["a"]), True),
        (pd.Series(["a", None], dtype=object), True),
        (pd.Series(["a"], dtype="category"), True),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_what_is_neither_number_nor_boolean_is_a_category(column: pd.Series, is_level: bool) -> None:
    assert is_category(column) == is_level


def test_a_feature_without_its_columns_is_left_out() -> None:
    assert list(inputs(CUSTOMERS[["tenure"]], "total_spent", "tenure_log")) == ["tenure", "tenure_log"]
