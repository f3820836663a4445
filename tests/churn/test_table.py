"""From headers and texts to names and types, without losing or making up a value."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.schema import Column, Schema
from churn.script import InputError
from churn.table import as_texts, customers, moments, named, typed

NUMBER = Column(name="tenure", type="number")
SENIOR = Column(name="senior", type="boolean", positive=("1",), negative=("0", "no"))
SCHEMA = Schema.model_validate(
    {
        "id": {"name": "customer_id", "source": "customerID"},
        "time": {"name": "snapshot", "source": "date"},
        "target": {"name": "churned", "source": "Churn", "positive": "Yes", "negative": "No"},
        "missing": ["", " NA "],
        "columns": [
            {"name": "tenure", "source": ["Tenure", "months"], "type": "number"},
            {"name": "contract", "type": "category"},
        ],
    }
)


def cells_of(*values: Any) -> pd.Series:
    return pd.Series(list(values), dtype="str")


def told(series: Any) -> list[Any]:
    return [None if pd.isna(value) else value for value in series]


def test_cells_are_stripped_text_and_null_where_a_marker_stands() -> None:
    assert told(as_texts(pd.Series([" a ", "NA", " ", "", None, "na"]), ("NA ",))) == [
        "a",
        None,
        None,
        None,
        None,
        "na",
    ]


@pytest.mark.parametrize(
    "raw",
    [
        pd.Series(["1", "0", None]),
        pd.Series([1, 0, None]),
        pd.Series([1.0, 0.0, None], dtype=object),
        pd.Series([1, 0, None], dtype="Int64"),
        pd.Series(["1", "0", None], dtype="category"),
    ],
    ids=["text", "float", "object", "Int64", "category"],
)
def test_a_table_means_the_same_in_whichever_type_a_file_keeps_it(raw: pd.Series) -> None:
    assert told(as_texts(raw, ())) == ["1", "0", None]


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(), st.floats(), st.integers(), st.booleans()), min_size=1))
def test_as_texts_is_idempotent(values: list[Any]) -> None:
    once = as_texts(pd.Series(values, dtype=object), ("NA",))
    pd.testing.assert_series_equal(as_texts(once, ("NA",)), once)


def test_headers_are_found_by_source_or_name_whatever_white_space_and_mark_is_around() -> None:
    raw = pd.DataFrame({"\ufeffChurn ": ["Yes"], " months": ["3"], "extra": ["x"], "contract": ["a"]})
    table = named(raw, SCHEMA)
    assert list(table) == ["churned", "tenure", "contract", "extra"]
    assert table.to_numpy().tolist()[0] == ["Yes", "3", "a", "x"]


def test_a_column_found_under_two_headers_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"column 'tenure': the table has it twice, as \['Tenure', 'months'\]; drop one"
    ):
        named(pd.DataFrame({"months": ["1"], "Tenure": ["1"]}), SCHEMA)


def test_two_headers_that_differ_in_white_space_alone_are_refused() -> None:
    with pytest.raises(InputError, match="the table has the header 'extra' twice"):
        named(pd.DataFrame([["1", "2"]], columns=["extra", " extra"]), SCHEMA)


@pytest.mark.parametrize(
    "text", ["abc", "1,5", "1_000", "0x10", "inf", "-Infinity", "nan", "1e999", "٣", "1 2", "True"]
)
def test_text_in_a_number_column_is_told_and_becomes_null(text: str) -> None:
    values, wrong = typed(cells_of("1", text, None), NUMBER)
    assert told(values) == [1.0, None, None]
    assert wrong.tolist() == [False, True, False]


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_come_back_from_their_texts_to_the_last_bit(numbers: list[float]) -> None:
    values, wrong = typed(cells_of(*map(repr, numbers)), NUMBER)
    assert values.tolist() == numbers
    assert not wrong.any()


@settings(max_examples=200, deadline=None)
@given(st.text("0123456789+-.eExX_ infaN,", min_size=1, max_size=6))
def test_a_number_is_what_python_reads_as_one_or_it_is_told_as_wrong(text: str) -> None:
    values, wrong = typed(cells_of(text.strip() or "x"), NUMBER)
    assert wrong[0] or values[0] == float(text)


def test_booleans_read_their_own_texts_and_true_booleans() -> None:
    values, wrong = typed(cells_of("1", "0", "no", "True", "False", "yes", None), SENIOR)
    assert told(values) == [True, False, False, True, False, None, None]
    assert wrong.tolist() == [False] * 5 + [True, False]


def test_a_boolean_without_texts_is_true_or_false() -> None:
    values, wrong = typed(cells_of("true", "false", "True", "1"), Column(name="senior", type="boolean"))
    assert told(values) == [True, False, True, None]
    assert wrong.tolist() == [False, False, False, True]


def test_categories_are_any_text() -> None:
    values, wrong = typed(cells_of("a", None), Column(name="contract", type="category"))
    assert told(values) == ["a", None]
    assert not wrong.any()


@settings(deadline=None)
@given(st.lists(st.sampled_from(["Yes", "No", "1", "x", "2.5", None]), min_size=1), st.sampled_from([NUMBER, SENIOR]))
def test_a_cell_is_null_wrong_or_a_value_and_never_two_of_them(cells: list[str | None], column: Column) -> None:
    values, wrong = typed(cells_of(*cells), column)
    assert (wrong == (cells_of(*cells).notna() & values.isna())).all()
    assert (values.isna() >= wrong).all()


def test_times_are_in_utc_whatever_their_zones_and_null_where_they_are_none() -> None:
    read = moments(cells_of("2024-01-01", "2024-01-01T02:00:00+02:00", "01.02.2024", None))
    assert read[:2].tolist() == [pd.Timestamp("2024-01-01")] * 2
    assert read[2:].isna().all()
    assert read.dt.tz is None


def test_customers_have_the_schema_s_columns_in_its_types_and_no_other() -> None:
    raw = pd.DataFrame(
        {
            "extra": ["x"],
            "months": ["3"],
            "date": ["2024-01-01"],
            "Churn": ["No"],
            "contract": ["NA"],
            "customerID": ["7"],
        }
    )
    table = customers(named(raw, SCHEMA), SCHEMA)
    assert list(table) == ["customer_id", "snapshot", "churned", "tenure", "contract"]
    assert [table[name].dtype.kind for name in ("snapshot", "churned", "tenure")] == ["M", "b", "f"]
    assert table["contract"].isna().all()
    assert table.loc[0, "customer_id"] == "7"
    assert np.array_equal(table["churned"].to_numpy(bool), [False])
