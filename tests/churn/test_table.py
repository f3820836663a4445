"""From headers and texts to names and types, without losing or making up a value."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from churn.customer_model import Day
from churn.schema import Column, Schema
from churn.script import InputError
from churn.table import as_texts, cell_of, customers, fingerprints, left_out, moments, named, typed

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


# numbers and dates as people write them


@pytest.mark.parametrize(
    ("knobs", "text", "number"),
    [
        ({"decimal": ","}, "12,5", 12.5),
        ({"decimal": ","}, "-0,25", -0.25),
        ({"decimal": ","}, ",5", 0.5),
        ({"decimal": ","}, "1e3", 1000.0),
        ({"decimal": ","}, "12.5", None),  # of another format: refused, never read as another number
        ({"decimal": ",", "thousands": "."}, "1.234.567,89", 1234567.89),
        ({"decimal": ",", "thousands": "."}, "1234,5", 1234.5),
        ({"decimal": ",", "thousands": "."}, "1.23", None),
        ({"thousands": ","}, "1,234.50", 1234.5),
        ({"thousands": ","}, "1,23", None),
        ({"thousands": ","}, "12345,678", None),
        ({"thousands": " "}, "1 234", 1234.0),
        ({"thousands": " "}, "1\u202f234", 1234.0),  # the narrow space of French
        ({"thousands": "'"}, "1'234.5", 1234.5),
        ({"strip": ["$"], "thousands": ","}, "$1,234.50", 1234.5),
        ({"strip": ["$"]}, "-$5", -5.0),
        ({"strip": ["%"]}, "12 %", 12.0),
        ({"strip": ["month", "months"]}, "5 months", 5.0),
        ({"strip": ["+"]}, "10+", 10.0),
        ({"strip": ["€", "EUR"], "decimal": ","}, "EUR 7,5", 7.5),
        ({"strip": ["$"]}, "5 months", None),
        ({"merge": {"46": ["forty six", "Forty-six"]}}, "forty six", 46.0),
        ({"merge": {"0,5": ["half"]}, "decimal": ","}, "half", 0.5),
        ({}, "1,5", None),
    ],
)
def test_a_number_is_read_as_its_column_says_or_not_at_all(
    knobs: dict[str, Any], text: str, number: float | None
) -> None:
    values, broken = typed(cells_of(text, None), Column(name="any", type="number", **knobs))
    assert told(values) == [number, None]
    assert broken.tolist() == [number is None, False]


@given(st.decimals(-(10**9), 10**9, places=2))
def test_the_same_number_in_any_format_is_the_same_float(number: Any) -> None:
    plain = f"{number:.2f}"
    german = f"{number:,.2f}".translate(str.maketrans(",.", ".,"))
    column = Column(name="any", type="number", decimal=",", thousands=".", strip=("€",))
    expected = typed(cells_of(plain), NUMBER)[0].tolist()
    assert typed(cells_of(german, f"{german} €"), column)[0].tolist() == expected * 2


def test_a_level_is_what_its_words_are_merged_to() -> None:
    column = Column(name="device", type="category", merge={"Mobile Phone": ["Phone", "Mobile phone"]})
    values, broken = typed(cells_of("Phone", "Mobile phone", "Mobile Phone", "Tablet", None), column)
    assert told(values) == ["Mobile Phone"] * 3 + ["Tablet", None]
    assert not broken.any()


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (None, "2020-12-31"),
        ("%d/%m/%Y", "31/12/2020"),
        ("%m/%d/%Y", "12/31/2020"),
        ("%d-%m-%y", "31-12-20"),
        ("%d %b %Y", "31 Dec 2020"),
    ],
)
def test_a_date_in_its_format_is_a_day_and_another_text_is_broken(form: str | None, text: str) -> None:
    values, broken = typed(cells_of(text, "soon", None), Column(name="joined", type="date", format=form))
    assert values.dt.strftime("%Y-%m-%d").tolist()[0] == "2020-12-31"
    assert broken.tolist() == [False, True, False]


DATED: dict[str, Any] = {
    "target": {"name": "churned", "positive": "Yes", "negative": "No"},
    "columns": [{"name": "joined", "type": "date", "format": "%d/%m/%Y", "nullable": True}],
}


def test_dates_become_days_before_the_row_s_time_or_before_the_table_s_day() -> None:
    table = pd.DataFrame(
        {"joined": ["01/03/2024", None, "01/06/2024"], "day": ["2024-03-31 18:00", *["2024-05-01"] * 2]}
    )
    timed = Schema.model_validate(DATED | {"time": {"name": "day"}})
    assert told(customers(table.astype("str"), timed)["joined"]) == [30.0, None, -31.0]
    fixed = Schema.model_validate(DATED | {"as_of": "2024-07-01"})
    assert told(customers(table[["joined"]].astype("str"), fixed)["joined"]) == [122.0, None, 30.0]


def test_a_day_of_no_end_is_counted_beside_times_in_nanoseconds() -> None:
    schema = Schema.model_validate(
        DATED | {"columns": [{"name": "until", "type": "date"}], "time": {"name": "day"}},
    )
    table = pd.DataFrame({"until": ["9999-12-31", "0001-01-01"], "day": ["2024-03-31T18:00:00.123456789"] * 2})
    assert told(customers(table.astype("str"), schema)["until"]) == [-2913083.0, 738975.0]


@pytest.mark.parametrize("text", ["2024-W10-1", "now", "today", "0000-12-31", "-0001-01-01", "10000-01-01"])
def test_what_is_no_day_of_the_calendar_is_refused_in_tables_and_in_requests(text: str) -> None:
    assert moments(pd.Series([text, "2024-03-04"], dtype="str")).isna().tolist() == [True, False]
    with pytest.raises(ValidationError, match=r"no date like 2024-12-31|at most 10 characters"):
        TypeAdapter(Day).validate_python(text)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (Column(name="a", type="number", decimal=",", thousands=".", strip=("€",)), 12345.75),
        (Column(name="a", type="number"), 7.0),
        (Column(name="a", type="date", format="%d.%m.%y"), "2024-02-29"),
        (Column(name="a", type="date"), "2024-02-29"),
        (Column(name="a", type="category"), "x, y"),
        (Column(name="a", type="boolean"), True),
    ],
    ids=str,
)
def test_a_value_written_into_a_table_is_read_back(column: Column, value: Any) -> None:
    (found,) = typed(cells_of(cell_of(value, column)), column)[0].tolist()
    assert (found.date().isoformat() if column.type == "date" else found) == value


# rows that are left out


def leaving_out(*rules: dict[str, Any]) -> Schema:
    columns = [{"name": "age", "source": "Age", "type": "number", "decimal": ","}]
    target = {"name": "churned", "source": "Churn", "positive": "Yes", "negative": "No"}
    return Schema.model_validate({"target": target, "missing": ["NA"], "columns": columns, "leave_out": rules})


@pytest.mark.parametrize(
    ("rule", "rows"),
    [
        ({"source": "Churn", "values": ["Joined"]}, [1]),
        ({"source": "Churn", "values": ["", "Joined"]}, [1, 2]),
        ({"source": "churned", "values": "NA"}, [2]),
        ({"source": "Age", "above": 120}, [3]),
        ({"source": "Age", "below": 18.5}, [0, 1]),
        ({"source": "Age", "below": 18.5, "above": 120, "values": ["30,5"]}, [0, 1, 2, 3]),
        ({"source": "Age", "values": [18.0, 30.5, "121,0", "n"]}, [0, 2, 3]),
        ({"source": "Region", "values": "test"}, [3]),
    ],
)
def test_rows_are_left_out_by_value_by_bound_or_for_lack_of_one(rule: dict[str, Any], rows: list[int]) -> None:
    schema = leaving_out(rule | {"why": "it says so"})
    raw = pd.DataFrame(
        {
            "Churn": ["Yes", "Joined", "NA", "No", "No"], "Age": ["18", "18,4", "30,5", "121", None],
            "Region": ["a", "b", "c", "test", "test 2"],
        }
    )  # fmt: skip
    (found,) = left_out(named(raw, schema), schema).items()
    assert (found[0], np.flatnonzero(found[1]).tolist()) == ("it says so", rows)


def test_a_rule_for_a_column_that_is_not_there_is_refused() -> None:
    schema = leaving_out({"source": "Regin", "values": "test", "why": "test entries"})
    with pytest.raises(InputError, match=r"leave_out: the table has no column 'Regin' \(did you mean 'Region'\?\)"):
        left_out(named(pd.DataFrame({"Region": ["a"], "Churn": ["Yes"]}), schema), schema)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", None, "None"]), st.sampled_from(["a", "", None])), max_size=20))
def test_fingerprints_are_equal_where_the_rows_are(rows: list[tuple[str | None, str | None]]) -> None:
    frame = pd.DataFrame(rows, columns=["x", "y"], dtype="str")
    expected = frame.groupby(["x", "y"], dropna=False, sort=False).ngroup().tolist()
    assert pd.factorize(fingerprints(frame, ["x", "y"]))[0].tolist() == expected
