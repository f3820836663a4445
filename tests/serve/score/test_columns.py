"""Cells become what the scorer reads, and a cell that the schema refuses refuses its row, in words."""

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.dates import days_before
from churn.schema import WEIGHT, Column, Schema
from churn.script import InputError
from churn.table import as_texts, typed
from serve.score.columns import check, read, read_texts, records, with_schema_names

DAY = date(2024, 6, 30)
SCHEMA = Schema.model_validate(
    {
        "id": {"name": "customer_id", "source": "customerID"},
        "target": {"name": "churned", "source": "Churn", "positive": "Yes", "negative": "No"},
        "missing": ["", "NA", "-1"],
        "leave_out": [
            {"source": "Churn", "values": ["", "Joined"], "why": "no outcome yet"},
            {"source": "Plan", "values": ["Test"], "why": "test accounts"},
        ],
        "as_of": "2024-06-30",
        "columns": [
            {"name": "tenure", "source": "Tenure", "type": "number", "min": 0, "max": 72},
            {"name": "charges", "type": "number", "nullable": True, "decimal": ",", "strip": ["€"]},
            {"name": "senior", "type": "boolean", "positive": "1", "negative": "0"},
            {"name": "plan", "source": "Plan", "type": "category", "merge": {"Basic": ["basic"]}},
            {"name": "joined", "type": "date", "format": "%d.%m.%Y", "nullable": True},
        ],
    }
)
GOOD: dict[str, list[Any]] = {
    "customerID": ["A", "B"],
    "Tenure": ["3", "72"],
    "charges": ["1,5 €", ""],
    "senior": ["1", "0"],
    "Plan": ["basic", " Gold "],
    "joined": ["29.06.2024", "NA"],
}


def table(**columns: list[Any]) -> pa.Table:
    return pa.table(GOOD | columns)


def test_texts_are_read_as_in_training() -> None:
    found = check(table(), SCHEMA, DAY)
    assert found.ids.tolist() == ["A", "B"]
    columns = {name: values.tolist() for name, values in found.columns.items()}
    assert columns.pop("charges")[0] == 1.5
    assert np.isnan(found.columns["charges"][1])
    assert np.isnan(columns.pop("joined")[1])
    assert found.columns["joined"][0] == 1
    assert columns == {"tenure": [3.0, 72.0], "senior": [1.0, 0.0], "plan": ["Basic", "Gold"]}
    assert (found.refused, found.left_out) == ({}, {})


def test_a_date_of_no_end_is_counted_as_in_requests() -> None:
    found = check(table(joined=["31.12.9999", "01.01.0001"]), SCHEMA, DAY)
    expected = days_before(["9999-12-31", "0001-01-01"], [DAY.isoformat()] * 2)
    assert found.columns["joined"].tolist() == expected.tolist()
    assert [customer["joined"] for customer in records(found, SCHEMA)] == ["9999-12-31", "0001-01-01"]


def test_columns_with_types_are_read_as_their_texts_are() -> None:
    typed_ = table(
        customerID=[1, 2],
        Tenure=pa.array([3, 72], pa.int16()),
        senior=pa.array([1, 0], pa.int64()),
        Plan=pa.array(["basic", "Gold"]).dictionary_encode(),
    )
    one, other = check(typed_, SCHEMA, DAY), check(table(customerID=["1", "2"]), SCHEMA, DAY)
    assert one.ids.tolist() == other.ids.tolist()
    for name, values in one.columns.items():
        np.testing.assert_array_equal(values, other.columns[name])


REFUSED = {
    "customerID": ("x" * 129, "customer_id: has more than 128 characters"),
    "Tenure": ("73", "tenure: 73 is above the maximum 72"),
    "charges": ("cheap", "charges: 'cheap' is no finite number"),
    "senior": ("maybe", "senior: 'maybe' is neither positive ('1') nor negative ('0')"),
    "Plan": ("", "plan: is missing"),
    "joined": ("2024-01-31", "joined: '2024-01-31' is no date like %d.%m.%Y"),
}


@pytest.mark.parametrize("header", REFUSED)
def test_a_refused_cell_refuses_its_row_alone(header: str) -> None:
    value, words = REFUSED[header]
    found = check(table(**{header: [GOOD[header][0], value]}), SCHEMA, DAY)
    assert found.refused == {1: [words]}


@pytest.mark.parametrize(
    ("value", "words"),
    [(73, "73 is above the maximum 72"), (-2.5, "-2.5 is below the minimum 0"), (None, "is missing"),
     (float("inf"), "'inf' is no finite number"), (float("nan"), "is missing"), (-1, "is missing")],
)  # fmt: skip
def test_a_number_that_comes_as_one_is_held_to_the_same(value: Any, words: str) -> None:
    found = check(table(Tenure=[3.0, value]), SCHEMA, DAY)
    assert found.refused == {1: [f"tenure: {words}"]}


def test_weights_of_a_training_table_mean_nothing_here() -> None:
    found, plain = (check(made, SCHEMA, DAY) for made in (table(**{WEIGHT: ["much", None]}), table()))
    assert (list(found.columns), found.refused, found.left_out) == (list(plain.columns), {}, {})


def test_all_that_is_wrong_with_a_row_is_said() -> None:
    found = check(table(Tenure=["3", "x"], senior=["1", ""]), SCHEMA, DAY)
    assert found.refused == {1: ["tenure: 'x' is no finite number", "senior: is missing"]}


def test_rows_are_left_out_as_in_training_but_not_for_want_of_an_outcome() -> None:
    found = check(table(Churn=["", "Joined"], Plan=["Test", "Gold"]), SCHEMA, DAY)
    assert found.left_out == {0: "test accounts"}
    assert found.refused == {}


def test_a_table_without_a_needed_column_is_refused_and_one_without_any_too() -> None:
    with pytest.raises(InputError, match=r"t\.csv lacks the column 'tenure' \(header 'Tenure' or 'tenure'\); add it"):
        with_schema_names(table().drop_columns("Tenure"), SCHEMA, "t.csv")
    with pytest.raises(InputError, match="has none of the release's columns; its headers are 'a;b': is --separator"):
        with_schema_names(pa.table({"a;b": ["1;2"]}), SCHEMA, "t.csv")


def test_a_column_that_may_be_missing_may_be_absent() -> None:
    lean = with_schema_names(table().drop_columns(["charges", "joined"]), SCHEMA, "t.csv")
    found = check(lean, SCHEMA, DAY)
    assert found.refused == {}
    assert np.isnan(found.columns["charges"]).all()
    assert np.isnan(found.columns["joined"]).all()


@pytest.mark.parametrize("day", ["9999-12-31", "2300-01-01", "1500-01-01"])
def test_days_far_away_count_as_in_requests(day: str) -> None:
    text = f"{day[8:]}.{day[5:7]}.{day[:4]}"
    found = check(table(joined=[text, "NA"]), SCHEMA, DAY)
    assert found.columns["joined"][0] == days_before([day], [DAY.isoformat()])[0]
    assert check(table(), SCHEMA, date.fromisoformat(day)).refused == {}


@pytest.mark.parametrize("header", ["customerID", "Plan"])
def test_a_nul_is_refused_as_in_requests(header: str) -> None:
    found = check(table(**{header: ["a\0b", "c"]}), SCHEMA, DAY)
    (words,) = found.refused[0]
    assert words.endswith(": holds a NUL character")
    assert set(found.refused) == {0}


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(4)])
def test_bytes_are_the_text_that_they_are(kind: pa.DataType) -> None:
    cells = pa.array([b"Gold", b"Test"], kind)
    found = check(with_schema_names(table(Plan=cells, customerID=cells), SCHEMA, "t"), SCHEMA, DAY)
    assert found.ids.tolist() == found.columns["plan"].tolist() == ["Gold", "Test"]


@pytest.mark.parametrize(
    ("cells", "words"),
    [(pa.array([{"a": 1}] * 2), "it is nested; make it text or numbers"), (pa.array([b"\xff"] * 2), "Invalid UTF8")],
)
def test_a_column_that_no_cell_of_can_be_read_is_one_line(cells: pa.Array, words: str) -> None:
    with pytest.raises(InputError, match=rf"t\.parquet: column 'Plan' of .+ can't be read: {words}"):
        with_schema_names(table(Plan=cells), SCHEMA, "t.parquet")


def test_halves_are_booleans_too() -> None:
    halves = pa.array([1, 0], pa.float16())
    found = check(with_schema_names(table(senior=halves), SCHEMA, "t.parquet"), SCHEMA, DAY)
    assert found.columns["senior"].tolist() == [1.0, 0.0]


def test_a_narrow_dictionary_may_be_full() -> None:
    full = pa.DictionaryArray.from_arrays(pa.array(range(128), pa.int8()), [f"L{i}" for i in range(128)])
    values, place, _ = read_texts(full, Column(name="n", type="category", nullable=True), ("",))
    assert values[place].tolist() == [f"L{i}" for i in range(128)]


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.int8(), pa.uint64()])
def test_numbers_of_any_width_are_those_of_their_texts(kind: pa.DataType) -> None:
    numbers = [0, 1, 72, None] if pa.types.is_integer(kind) else [29.85, 1.1, 0.0, None]
    values, faults = read(pa.array(numbers, kind), Column(name="n", type="number", nullable=True), ("",))
    np.testing.assert_array_equal(values, [np.nan if n is None else n for n in numbers])
    assert faults == {}


CELLS = st.lists(
    st.sampled_from(["1", "2.5", " 3 ", "1e3", "x", "", "NA", "inf", "-0.0", None, "٣", "1_0"]), max_size=8
)


@given(CELLS)
def test_numbers_are_what_training_reads(cells: list[str | None]) -> None:
    column = Column(name="n", type="number", nullable=True)
    values, faults = read(pa.array(cells, pa.string()), column, ("", "NA"))
    expected, bad = typed(as_texts(pd.Series(cells, dtype="str"), ("", "NA")), column)
    np.testing.assert_array_equal(values, expected.to_numpy())
    assert sorted(faults) == np.flatnonzero(bad).tolist()


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.timestamp("s"), pa.date32()])
def test_times_beyond_the_calendar_refuse_their_rows_alone(kind: pa.DataType) -> None:
    schema = SCHEMA.model_copy(update={"columns": (*SCHEMA.columns[:-1], Column(name="joined", type="date"))})
    days = pa.array([2932896, 2932897], pa.int32()).cast(pa.date32())  # the last that Python has, and the one after it
    found = check(table(joined=days.cast(kind)), schema, DAY)
    assert found.columns["joined"][0] == days_before(["9999-12-31"], [DAY.isoformat()])[0]
    (words,) = found.refused.pop(1)
    assert words.startswith("joined: '10000-01-01")
    assert words.endswith("is no date of ISO 8601")
    assert found.refused == {}
