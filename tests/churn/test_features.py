"""Features: each by hand, a row alone as in a table, and nothing made of nothing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.features import CATEGORIES, FEATURES, MISSING, Array, add_features, available, filled, needs

TENURES = st.lists(st.floats(0, 1200) | st.just(np.nan), min_size=1, max_size=8)


def numbers(*values: float) -> Array:
    return np.array(values, dtype="float64")


BY_HAND: list[tuple[str, list[Array], list[Any]]] = [
    ("total_spent", [numbers(0, 10, np.nan), numbers(50, 2.5, 1)], [0.0, 25.0, np.nan]),
    ("avg_monthly_ratio", [numbers(0, 4, 1, -1), numbers(50, 2.5, np.nan, 9)], [50.0, 0.5, np.nan, 9.0]),
    ("tenure_log", [numbers(0, np.e - 1, np.nan, -1)], [0.0, 1.0, np.nan, 0.0]),
]


@pytest.mark.parametrize(("name", "columns", "expected"), BY_HAND, ids=[case[0] for case in BY_HAND])
def test_a_feature_is_what_its_docstring_says(name: str, columns: list[Array], expected: list[float]) -> None:
    assert FEATURES[name](*columns).tolist() == pytest.approx(expected, nan_ok=True)


def test_every_feature_stands_here_by_hand() -> None:
    assert {case[0] for case in BY_HAND} | {"tenure_group"} == set(FEATURES)


@pytest.mark.parametrize(
    ("tenure", "group"),
    [
        (0, "new"), (12, "new"), (12.5, "developing"), (13, "developing"), (24, "developing"), (25, "mature"),
        (48, "mature"), (49, "loyal"), (1200, "loyal"), (np.nan, None),
    ],
)  # fmt: skip
def test_a_boundary_belongs_to_the_group_below(tenure: float, group: str | None) -> None:
    assert FEATURES["tenure_group"](numbers(tenure)).tolist() == [group]


@given(TENURES)
def test_a_row_alone_gives_what_it_gives_in_a_table(tenures: list[float]) -> None:
    columns = {"tenure": numbers(*tenures), "monthly_charges": numbers(*(t / 7 + 20 for t in tenures))}
    whole = add_features(columns, FEATURES)
    for i in range(len(tenures)):
        alone = add_features({name: column[i : i + 1] for name, column in columns.items()}, FEATURES)
        for name in FEATURES:
            # numpy's vector instructions may round log1p of a long array otherwise
            same = alone[name].tolist() == [whole[name][i]] if name in CATEGORIES else None
            assert same or np.isclose(alone[name][0], whole[name][i], rtol=1e-15, atol=0, equal_nan=True)


def test_categories_are_levels_and_all_others_numbers() -> None:
    added = add_features({"tenure": numbers(3, np.nan), "monthly_charges": numbers(1, 2)}, FEATURES)
    assert {name for name in FEATURES if added[name].dtype == object} == CATEGORIES
    assert {added[name].dtype for name in set(FEATURES) - CATEGORIES} == {np.dtype("float64")}


def test_columns_come_first_and_stay_as_they_are() -> None:
    columns = {"tenure": numbers(3), "contract": np.array(["One year"], dtype=object)}
    added = add_features(columns, ["tenure_log"])
    assert list(added) == ["tenure", "contract", "tenure_log"]
    assert added["contract"] is columns["contract"]
    assert list(columns) == ["tenure", "contract"]


def test_a_feature_whose_columns_are_absent_is_not_available() -> None:
    assert available(["tenure"], FEATURES) == ["tenure_group", "tenure_log"]
    assert available(["monthly_charges"], FEATURES) == []
    assert available(["tenure", "monthly_charges"], ["tenure_log", "total_spent"]) == ["tenure_log", "total_spent"]
    with pytest.raises(KeyError, match="monthly_charges"):
        add_features({"tenure": numbers(1)}, ["total_spent"])


def test_a_feature_may_build_on_an_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FEATURES, "spent_log", lambda total_spent: np.log1p(total_spent))
    columns = ["tenure", "monthly_charges"]
    assert available(columns, ["total_spent", "spent_log"]) == ["total_spent", "spent_log"]
    assert available(columns, ["spent_log", "total_spent"]) == ["total_spent"]


def test_the_arguments_of_a_feature_are_its_columns() -> None:
    assert needs("avg_monthly_ratio") == ["tenure", "monthly_charges"]


def test_a_missing_level_is_a_level() -> None:
    assert filled(np.array(["a", None, ""], dtype=object)).tolist() == ["a", MISSING, ""]
    assert filled(np.array([], dtype=object)).tolist() == []
