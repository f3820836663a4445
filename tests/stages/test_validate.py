"""validate: every mistake of a table is one line with column, count, example and way out; a good table has none."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markupsafe import escape

from churn.leakage import auc_alone
from churn.read_table import read_table
from churn.reference import of_numbers
from churn.schema import WEIGHT, Schema, read_schema
from churn.script import run
from churn.table import named
from stages.validate import Validation, as_page, main, validate
from tests.conftest import ROOT

KNOBS: dict[str, Any] = {"max_null_share": 0.3, "min_class_share": 0.05, "max_outlier_share": 0.01, "leak_auc": 0.95}
CONTENT: dict[str, Any] = {
    "id": {"name": "customer_id", "source": "customerID"},
    "time": {"name": "snapshot"},
    "target": {"name": "churned", "source": "Churn", "positive": "Yes", "negative": "No"},
    "drop": [{"source": "Reason", "why": "too late"}],
    "columns": [
        {"name": "tenure", "source": "Tenure", "type": "number", "min": 0, "max": 72},
        {"name": "charges", "type": "number", "nullable": True},
        {"name": "senior", "type": "boolean", "positive": 1, "negative": 0},
        {"name": "contract", "type": "category", "levels": ["Month", "Year"]},
    ],
}
SCHEMA = Schema.model_validate(CONTENT)
ROWS = 60
TELCO = Path("../shared/data/telco_customer_churn.csv")


def table() -> pd.DataFrame:
    """A good table of 60 rows; no column tells much of the outcome."""
    row = np.arange(ROWS)
    return pd.DataFrame(
        {
            "customer_id": [f"C{i}" for i in row],
            "snapshot": [f"2024-01-{1 + i % 28:02d}" for i in row],
            "churned": np.where(row % 3 == 0, "Yes", "No"),
            "tenure": (row * 7 % 73).astype(str),
            "charges": (row * 11 % 50 + 0.5).astype(str),
            "senior": np.where(row % 4 == 0, "1", "0"),
            "contract": np.where(row % 5 < 2, "Month", "Year"),
        },
        dtype="str",
    )


@pytest.fixture
def texts() -> pd.DataFrame:
    return table()


def checked(texts: pd.DataFrame, schema: Schema = SCHEMA, **knobs: Any) -> Validation:
    return validate(texts, schema, "my.yaml", **KNOBS | knobs)


def with_cell(texts: pd.DataFrame, row: int, column: str, cell: str | None) -> pd.DataFrame:
    """`texts` with another cell; row counts from 1, as in sentences."""
    return texts.assign(**{column: texts[column].where(texts.index != row - 1, cell)})


def test_weights_are_positive_finite_numbers_and_no_column_that_is_not_read() -> None:
    strict = SCHEMA.model_copy(update={"strict": True})
    weighted = table().assign(**{WEIGHT: ["1", "10.000000000000002"] * (ROWS // 2)})
    assert (checked(weighted, strict).errors, checked(weighted).warnings) == ([], checked(table()).warnings)
    assert checked(weighted).stats["profile"][WEIGHT]["type"] == "weight"
    for row, cell in enumerate(("0", "-1", "inf", "nan", "much", None), 2):
        weighted = with_cell(weighted, row, WEIGHT, cell)
    assert checked(weighted, strict).errors == [
        "the column of data.weight: 6 of 60 values are no positive finite numbers, e.g. '0' in row 2; correct the "
        "table, or set data.weight: null in params.yaml"
    ]


def changed(name: str, **keys: Any) -> Schema:
    """The schema with other keys on one column."""
    columns = [column | keys if column["name"] == name else column for column in CONTENT["columns"]]
    return Schema.model_validate(CONTENT | {"columns": columns})


def test_a_good_table_has_nothing_to_tell(texts: pd.DataFrame) -> None:
    validation = checked(texts)
    assert (validation.is_valid, validation.errors, validation.warnings) == (True, [], [])


CORRECT = "correct the table or my.yaml"
TEXT = "correct the table, or list the text under missing in my.yaml"
FILL = "fill them or drop the rows"
OUTCOME = "are neither positive ('Yes') nor negative ('No')"
BROKEN = [
    (3, "tenure", "abc", f"are no finite numbers, e.g. 'abc' in row 3; {TEXT}"),
    (3, "tenure", "inf", f"are no finite numbers, e.g. 'inf' in row 3; {TEXT}"),
    (4, "tenure", "5000", f"are above the maximum 72, e.g. 5000 in row 4; {CORRECT}"),
    (60, "tenure", "-0.5", f"are below the minimum 0, e.g. -0.5 in row 60; {CORRECT}"),
    (5, "tenure", None, "are missing, e.g. in row 5; fill them, or set nullable: true in my.yaml"),
    (6, "senior", "2", f"are neither positive ('1') nor negative ('0'), e.g. '2' in row 6; {CORRECT}"),
    (7, "contract", "A\nB", f"are none of the levels 'Month', 'Year', e.g. 'A\\nB' in row 7; {CORRECT}"),
    (8, "churned", "Ye", f"{OUTCOME}, e.g. 'Ye' in row 8; {CORRECT}"),
    (9, "churned", None, f"are missing, e.g. in row 9; {FILL}"),
    (10, "customer_id", None, f"are missing, e.g. in row 10; {FILL}"),
    (31, "customer_id", "C2", "stand in an earlier row that differs, e.g. 'C2' in row 31; keep one row per customer"),
    (12, "snapshot", "01.02.2024", "are no dates of ISO 8601, e.g. '01.02.2024' in row 12; say format in my.yaml"),
    (13, "snapshot", None, f"are missing, e.g. in row 13; {FILL}"),
]


@pytest.mark.parametrize(("row", "column", "cell", "sentence"), BROKEN)
def test_a_broken_cell_is_one_line_with_column_count_example_and_way_out(
    row: int, column: str, cell: str | None, sentence: str, texts: pd.DataFrame
) -> None:
    validation = checked(with_cell(texts, row, column, cell))
    assert validation.errors == [f"column '{column}': 1 of 60 values {sentence}"]
    assert not validation.is_valid


def test_a_null_is_fine_where_the_schema_says_so(texts: pd.DataFrame) -> None:
    assert checked(with_cell(texts, 3, "charges", None)).is_valid


def test_many_broken_cells_are_one_line_with_the_first(texts: pd.DataFrame) -> None:
    (line,) = checked(with_cell(with_cell(texts, 40, "tenure", "99"), 9, "tenure", "100")).errors
    assert "2 of 60 values are above the maximum 72, e.g. 100 in row 9, in all '100' (1), '99' (1);" in line


def test_bounds_are_told_exactly(texts: pd.DataFrame) -> None:
    (line,) = checked(with_cell(texts, 1, "tenure", "123456790"), changed("tenure", max=123456789)).errors
    assert "above the maximum 123456789, e.g. 123456790 in row 1" in line


def test_an_example_of_any_length_stays_short(texts: pd.DataFrame) -> None:
    (line,) = checked(with_cell(texts, 1, "contract", "x" * 5000)).errors
    assert len(line) < 250


def test_a_missing_column_names_the_headers_looked_for_and_one_that_is_near(texts: pd.DataFrame) -> None:
    validation = checked(texts.rename(columns={"tenure": "TENURE_", "senior": "zzz"}))
    assert validation.errors == [
        "column 'tenure': the table has no header 'Tenure' or 'tenure'; it has 'TENURE_'; add it to the table, or its "
        "header to source in my.yaml",
        "column 'senior': the table has no header 'senior'; add it to the table, or its header to source in my.yaml",
    ]


def test_a_column_without_a_value_is_an_error_even_where_nulls_are_fine(texts: pd.DataFrame) -> None:
    (line,) = checked(texts.assign(charges=pd.Series(None, texts.index, dtype="str"))).errors
    assert line == "column 'charges': all 60 values are missing; fill them, or take the column out of my.yaml"


def test_more_missing_than_max_missing_is_an_error_and_less_is_not_even_a_warning(texts: pd.DataFrame) -> None:
    half = texts.assign(charges=texts["charges"].where(texts.index % 2 == 0))
    (line,) = checked(half, changed("charges", max_missing=0.4)).errors
    assert line.startswith(
        "column 'charges': 30 of 60 values are missing, more than its max_missing 0.4, e.g. in row 2;"
    )
    validation = checked(half, changed("charges", max_missing=0.6))
    assert (validation.errors, validation.warnings) == ([], [])


@pytest.mark.parametrize(("value", "side"), [("No", "negative ('No')"), ("Yes", "positive ('Yes')")])
def test_one_outcome_only_is_an_error(value: str, side: str, texts: pd.DataFrame) -> None:
    (line,) = checked(texts.assign(churned=value)).errors
    assert line.startswith(f"column 'churned': all 60 readable values are {side}; a model needs both outcomes")


def test_a_table_without_outcome_is_told_and_no_traceback(texts: pd.DataFrame) -> None:
    validation = checked(texts.drop(columns="churned"))
    assert [line[:48] for line in validation.errors] == ["column 'churned': the table has no header 'Churn"]
    assert validation.stats["target_rate"] is None


def test_every_mistake_is_told_at_once_in_the_order_of_the_schema(texts: pd.DataFrame) -> None:
    broken = with_cell(with_cell(with_cell(texts, 1, "tenure", "abc"), 2, "tenure", "99"), 3, "tenure", None)
    broken = with_cell(with_cell(broken, 4, "contract", "Day"), 5, "customer_id", "C32").drop(columns="senior")
    assert [line.split("; ")[0].split(", ")[0] for line in checked(broken).errors] == [
        "column 'senior': the table has no header 'senior'",
        "column 'customer_id': 1 of 60 values stand in an earlier row that differs",
        "column 'tenure': 1 of 60 values are no finite numbers",
        "column 'tenure': 1 of 60 values are missing",
        "column 'tenure': 1 of 60 values are above the maximum 72",
        "column 'contract': 1 of 60 values are none of the levels 'Month'",
    ]


def test_an_unexpected_column_is_a_warning_and_an_error_where_the_schema_is_strict(texts: pd.DataFrame) -> None:
    more = texts.assign(**{"zip <b>": "1", "Reason": "moved"})
    line = "columns 'zip <b>': not named by my.yaml and not read; name them there under columns or drop"
    assert (checked(more).errors, checked(more).warnings) == ([], [line])
    strict = checked(more, Schema.model_validate(CONTENT | {"strict": True}))
    assert (strict.errors, strict.warnings) == ([line], [])


def test_whole_copies_of_a_row_are_a_warning_and_no_repeated_id(texts: pd.DataFrame) -> None:
    validation = checked(pd.concat([texts, texts.iloc[:2]]))
    assert validation.errors == []
    assert validation.warnings == [
        "2 of 62 rows repeat an earlier row in every column, e.g. row 61; preprocess.drop_duplicates drops them"
    ]
    assert (validation.stats["duplicate_rows"], validation.stats["duplicate_ids"]) == (2, 0)


def test_copies_without_an_id_may_be_customers_who_are_alike(texts: pd.DataFrame) -> None:
    schema = Schema.model_validate({key: part for key, part in CONTENT.items() if key not in ("id", "time")})
    (line,) = [line for line in checked(pd.concat([texts, texts]), schema).warnings if "drop_duplicates" in line]
    assert line.endswith("drops them; without an id they may be customers who are alike: set it to false to keep them")


def test_a_customer_may_stand_in_every_snapshot_but_once(texts: pd.DataFrame) -> None:
    again = texts.assign(snapshot="2024-02-01")
    assert checked(pd.concat([texts, again])).stats["duplicate_ids"] == 0
    untimed = Schema.model_validate({key: part for key, part in CONTENT.items() if key != "time"})
    assert checked(pd.concat([texts, again]), untimed).stats["duplicate_ids"] == ROWS


def test_a_copy_does_not_hide_an_id_whose_rows_differ(texts: pd.DataFrame) -> None:
    other = with_cell(texts.iloc[:1], 1, "tenure", "50")
    validation = checked(pd.concat([texts, texts.iloc[:1], other]))
    assert [line[:36] for line in validation.errors] == ["column 'customer_id': 1 of 62 values"]
    assert (validation.stats["duplicate_rows"], validation.stats["duplicate_ids"]) == (1, 1)


def test_ids_that_are_missing_do_not_repeat_each_other(texts: pd.DataFrame) -> None:
    (line,) = checked(with_cell(with_cell(texts, 3, "customer_id", None), 9, "customer_id", None)).errors
    assert line.startswith("column 'customer_id': 2 of 60 values are missing, e.g. in row 3;")


def test_a_table_needs_no_id_and_no_time(texts: pd.DataFrame) -> None:
    schema = Schema.model_validate({key: part for key, part in CONTENT.items() if key not in ("id", "time")})
    assert checked(texts.drop(columns=["customer_id", "snapshot"]), schema).errors == []


def shares(**values: Callable[[int], str | None]) -> pd.DataFrame:
    """The good table with columns made anew from row numbers."""
    return table().assign(**{name: pd.Series([f(i) for i in range(ROWS)], dtype="str") for name, f in values.items()})


@pytest.mark.parametrize(
    ("column", "made", "sentence"),
    [
        ("charges", lambda i: None if i % 2 else str(i), "30 of 60 values are missing, more than 0.3, e.g. in row 2;"),
        ("contract", lambda i: "Year", "all 60 values are 'Year'; it tells nothing"),
        ("churned", lambda i: "Yes" if i == 7 else "No", "1 of 60 values are positive, a share of 1.67%;"),
        ("churned", lambda i: "No" if i == 7 else "Yes", "59 of 60 values are positive, a share of 98.33%;"),
        (
            "charges",
            lambda i: "9999" if i == 7 else str(i),
            "1 of 60 values are more than 3 quartile distances outside",
        ),
        ("senior", lambda i: str(int(i % 3 == 0)), "alone it tells the outcome of 60 rows with ROC AUC 1.000"),
        ("tenure", lambda i: str(50 + i % 9 if i % 3 == 0 else i % 50), "alone it tells the outcome of 60 rows"),
        ("charges", lambda i: "5" if i % 3 == 0 else None, "alone it tells the outcome of 60 rows"),
    ],
    ids=["nulls", "constant", "rare", "nearly all", "outlier", "leak", "leak in a number", "leak in what is missing"],
)
def test_what_a_person_should_look_at_is_a_warning(column: str, made: Callable[[int], str], sentence: str) -> None:
    validation = checked(shares(**{column: made}))
    assert validation.errors == []
    assert any(line.startswith(f"column '{column}': {sentence}") for line in validation.warnings), validation.warnings


def test_a_column_that_is_nearly_all_one_value_has_no_outliers() -> None:
    assert checked(shares(charges=lambda i: str(i) if i % 10 == 0 else "0")).warnings == []


def test_one_value_or_nothing_is_not_constant() -> None:
    assert checked(shares(charges=lambda i: None if i % 5 == 0 else "5")).warnings == []


def test_knobs_move_the_warnings(texts: pd.DataFrame) -> None:
    assert len(checked(texts, min_class_share=0.4).warnings) == 1
    assert checked(shares(charges=lambda i: "9999" if i == 7 else str(i)), max_outlier_share=0.5).warnings == []
    assert checked(shares(senior=lambda i: str(int(i % 3 == 0 or i == 1))), leak_auc=1).warnings == []


@pytest.mark.parametrize("levels", [2, 20, 200, 1000, 100_000])
def test_chance_is_no_leak_however_many_levels_there_are(levels: int) -> None:
    random = np.random.default_rng(levels)
    churned = pd.Series(random.random(1000) < 0.2, dtype="Float64")
    cells = pd.Series(random.integers(levels, size=1000)).astype("str")
    assert 0.4 < auc_alone(cells, churned) < 0.65
    assert 0.4 < auc_alone(cells.astype("float64"), churned) < 0.65


def test_numbers_that_are_all_distinct_can_leak() -> None:
    churned = pd.Series(np.arange(1000) >= 900, dtype="Float64")
    assert auc_alone(pd.Series(np.arange(1000.0)), churned) > 0.99
    assert auc_alone(pd.Series(np.arange(1000).astype("str")), churned) == pytest.approx(0.5)


def test_a_day_far_beyond_every_calendar_is_ranked_like_another() -> None:
    churned = pd.Series(np.arange(1000) >= 900, dtype="Float64")
    days = pd.to_datetime(pd.Series(np.where(np.arange(1000) < 900, "0001-01-01", "9999-12-31")), format="ISO8601")
    assert auc_alone(days, churned) > 0.99


def test_the_auc_of_a_level_is_that_of_its_rate_where_levels_are_large() -> None:
    churned = pd.Series([1.0] * 300 + [0.0] * 100 + [1.0] * 100 + [0.0] * 500, dtype="Float64")
    cells = pd.Series(["a"] * 400 + ["b"] * 600)
    # P(a | churned) = .75, P(a | stayed) = 1/6: .75 * 5/6 won, ties of both kinds count half
    assert auc_alone(cells, churned) == pytest.approx(0.75 * 5 / 6 + (0.75 / 6 + 0.25 * 5 / 6) / 2)


def test_the_profile_tells_what_is_in_each_column(texts: pd.DataFrame) -> None:
    profile = checked(with_cell(texts, 1, "charges", None).assign(Reason="moved")).stats["profile"]
    assert list(profile) == [*texts, "Reason"]
    assert profile["customer_id"] == {"type": "id", "null_share": 0.0, "distinct": 60}
    assert profile["Reason"] == {"type": "not read", "null_share": 0.0, "distinct": 1}
    assert profile["snapshot"]["max"] == "2024-01-28 00:00:00"
    assert profile["contract"]["levels"][0] == {"level": "Year", "count": 36, "target_rate": 12 / 36}
    assert profile["charges"]["null_share"] == 1 / 60
    assert [profile["tenure"][q] for q in ("min", "max")] == [0, 72]
    bins = profile["tenure"]["bins"]
    assert sum(part["count"] for part in bins) == 60
    assert sum(part["count"] * part["target_rate"] for part in bins) == pytest.approx(20)


def test_the_widest_numbers_do_not_break_the_profile() -> None:
    schema = Schema.model_validate({key: CONTENT[key] for key in ("target", "columns")})
    wide = shares(charges=lambda i: f"{(-1) ** i * 1.7e308}").drop(columns=["customer_id", "snapshot"])
    validation = checked(wide, schema)
    (error,) = validation.errors
    assert error == (
        "column 'charges': 60 of 60 values are beyond ±1e+15, e.g. 1.7e+308 in row 1, in all '-1.7e+308' (30), "
        "'1.7e+308' (30); state them in larger units, or take the column out of my.yaml"
    )
    json.dumps(validation.stats, allow_nan=False)
    assert "nan" not in as_page(validation, SCHEMA, "x")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for key, value in attrs if key in ("src", "href")]


def test_the_page_escapes_what_the_table_holds_and_loads_nothing() -> None:
    evil = "<script>alert('1')</script>"
    texts = shares(contract=lambda i: evil if i % 2 else "Year").assign(**{f"{evil}&": "x"})
    tags = Tags()
    tags.feed(as_page(checked(with_cell(texts, 3, "tenure", evil)), SCHEMA, f"{evil}.yaml"))
    assert "script" not in tags.tags
    assert [link for link in tags.links if not link.startswith("#")] == []
    assert {"table", "svg", "li"} <= tags.tags


def test_the_same_table_gives_the_same_page(texts: pd.DataFrame) -> None:
    assert as_page(checked(texts), SCHEMA, "x") == as_page(checked(table()), SCHEMA, "x")


BREAK = {
    "tenure": st.sampled_from(["abc", "-1", "73", "nan", "1e999", None]),
    "charges": st.sampled_from(["abc", "inf", "1,5"]),
    "senior": st.sampled_from(["2", "yes", None]),
    "contract": st.sampled_from(["Day", "month", None]),
    "churned": st.sampled_from(["Ye", "yes", None]),
    "customer_id": st.none(),
    "snapshot": st.sampled_from(["soon", "2024-13-01", None]),
}
SLOW = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(st.data(), st.integers(1, ROWS), st.sampled_from(sorted(BREAK)))
def test_one_broken_cell_is_one_error_that_names_its_column_and_row(data: st.DataObject, row: int, column: str) -> None:
    (line,) = checked(with_cell(table(), row, column, data.draw(BREAK[column]))).errors
    assert line.startswith(f"column '{column}': 1 of 60 values ")
    assert f" in row {row};" in line


@pytest.mark.slow
@SLOW
@given(st.permutations(range(ROWS)), st.sampled_from(sorted(BREAK)), st.data())
def test_the_order_of_rows_does_not_change_the_verdict(order: list[int], column: str, data: st.DataObject) -> None:
    texts = with_cell(table(), 3, column, data.draw(BREAK[column]))
    one, other = checked(texts), checked(texts.iloc[order])
    assert one.metrics == pytest.approx(other.metrics)
    assert [line.split(", e.g.")[0] for line in one.errors] == [line.split(", e.g.")[0] for line in other.errors]
    assert one.warnings == other.warnings


@pytest.mark.slow
@SLOW
@given(st.lists(st.lists(st.one_of(st.none(), st.text(max_size=4)), min_size=7, max_size=7), min_size=1, max_size=5))
def test_any_table_of_texts_gets_a_verdict(rows: list[list[str | None]]) -> None:
    validation = checked(pd.DataFrame(rows, columns=list(table()), dtype="str"))
    assert validation.is_valid == (not validation.errors)
    assert all(len(line.splitlines()) == 1 for line in validation.errors + validation.warnings)
    json.dumps(rows and validation.stats, allow_nan=False)
    as_page(validation, SCHEMA, "my.yaml")


SCHEMA_FILE = (
    "target: {name: churned, positive: 'Yes', negative: 'No'}\ncolumns: [{name: tenure, type: number, max: 72}]\n"
)
OUTS = [Path("metrics/validate.json"), Path("data/validation.json"), Path("metrics/validation.html")]


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml, a schema and a loaded table, which is the current one."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    knobs = ", ".join(f"{name}: {value}" for name, value in KNOBS.items())
    Path("params.yaml").write_text(f"data: {{path: t.csv, schema: my.yaml}}\nvalidate: {{{knobs}}}\n")
    Path("my.yaml").write_text(SCHEMA_FILE)
    table()[["churned", "tenure"]].to_parquet("data/loaded.parquet")
    return tmp_path


@pytest.mark.usefixtures("repo")
def test_the_metrics_are_flat_and_in_a_stable_order() -> None:
    main()
    assert json.loads(OUTS[0].read_text()) == {
        "is_valid": True,
        "errors": 0,
        "warnings": 0,
        "rows": 60,
        "columns": 2,
        "average_null_share": 0.0,
        "duplicate_rows": 0,
        "duplicate_ids": 0,
        "copies_but_for_id": 0,
        "target_rate": 0.333333,
    }
    assert list(json.loads(OUTS[1].read_text())) == ["is_valid", "errors", "warnings", "stats"]
    before = [path.read_bytes() for path in OUTS]
    main()
    assert [path.read_bytes() for path in OUTS] == before


@pytest.mark.usefixtures("repo")
def test_an_unfit_table_ends_with_status_1_after_all_files_are_whole(caplog: pytest.LogCaptureFixture) -> None:
    with_cell(table(), 3, "tenure", "99")[["churned", "tenure"]].to_parquet("data/loaded.parquet")
    with pytest.raises(SystemExit) as end:
        run(main, "validate")
    assert end.value.code == 1
    line = "column 'tenure': 1 of 60 values are above the maximum 72, e.g. 99 in row 3; correct the table or my.yaml"
    assert caplog.messages[-1] == line
    assert json.loads(OUTS[1].read_text())["errors"] == [line]
    assert json.loads(OUTS[0].read_text())["is_valid"] is False
    assert escape(line) in OUTS[2].read_text()


@pytest.mark.parametrize(
    ("file", "old", "new", "line"),
    [
        ("params.yaml", "leak_auc", "leek_auc", "params.yaml: validate is missing the knob 'leak_auc'; add it"),
        (
            "params.yaml",
            "0.3",
            "30",
            "params.yaml: validate.max_null_share is 30: input should be less than or equal to 1",
        ),
        ("params.yaml", "validate:", "valid:", "params.yaml has no section 'validate'; it has ['data', 'valid']"),
        ("my.yaml", "max:", "mx:", "schema my.yaml: columns[0] (tenure) has no key 'mx' (did you mean 'max'?)"),
    ],
)
@pytest.mark.usefixtures("repo")
def test_a_misspelt_knob_or_key_writes_nothing(
    file: str, old: str, new: str, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    Path(file).write_text(Path(file).read_text().replace(old, new))
    with pytest.raises(SystemExit) as end:
        run(main, "validate")
    assert end.value.code == 1
    assert any(message.startswith(line) for message in caplog.messages), caplog.messages
    assert not any(path.exists() for path in OUTS)


@pytest.mark.usefixtures("repo")
def test_a_dropped_column_is_told_and_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    Path("my.yaml").write_text(SCHEMA_FILE + "drop: [{source: Reason, why: too late}]\n")
    table()[["churned", "tenure"]].assign(Reason="moved").to_parquet("data/loaded.parquet")
    main()
    assert "not read, as my.yaml says: 'Reason' (too late)" in caplog.messages
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def of_a_release(folder: Path) -> Path:
    """A file of validate.reference: of the good table, contracts of which all were for a month."""
    columns = {"tenure": of_numbers(table()["tenure"].astype(float)), "contract": {"shares": {"Month": 1.0}}}
    (path := folder / "reference.json").write_text(
        json.dumps({"release": "abc", "table": "june.csv", "customers": ROWS, "columns": columns})
    )
    return path


def test_the_page_tells_what_moved_most_since_the_last_release(tmp_path: Path) -> None:
    validation = checked(table(), reference=of_a_release(tmp_path))
    drift = {name: column["drift"] for name, column in validation.stats["profile"].items() if "drift" in column}
    assert drift["tenure"] == 0
    assert drift["contract"] > 0.4
    assert "reference" not in validation.metrics
    page = as_page(validation, SCHEMA, "my.yaml")
    head = page[page.index("Drift since") : page.index("<h2>Columns")]
    assert "60 training customers of the release abc, learned from june.csv" in head
    assert head.index(">contract<") < head.index(">tenure<")
    assert f"drift {drift['contract']:.3f}" in page


def test_a_release_of_another_table_or_none_is_not_compared_with(tmp_path: Path) -> None:
    other = table().drop(columns=["tenure", "contract"])
    (empty := tmp_path / "empty.json").write_text("{}")
    for texts, reference in ((other, of_a_release(tmp_path)), (table(), empty), (table(), None)):
        validation = checked(texts, reference=reference)
        assert validation.stats["reference"] is None
        assert "Nothing to compare with" in as_page(validation, SCHEMA, "my.yaml")


@pytest.mark.slow
def test_as_a_command_it_ends_with_status_1_and_no_traceback(repo: Path) -> None:
    table()[["churned"]].to_parquet("data/loaded.parquet")
    done = subprocess.run(
        [sys.executable, "-m", "stages.validate"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("validate: column 'tenure': the table has no header 'tenure';")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not TELCO.exists(), reason="the real table is not beside the repository")
def test_the_real_table_is_fit_and_has_nothing_to_warn_of() -> None:
    schema = read_schema(Path("schemas/telco.yaml"))
    validation = checked(named(read_table(TELCO, {}), schema), schema)
    assert (validation.errors, validation.warnings) == ([], [])
    assert validation.stats["target_rate"] == 1869 / 7043


def test_the_page_leads_from_a_mistake_to_the_column_and_its_rows() -> None:
    schema = Schema.model_validate(
        {
            "target": {"name": "churned", "positive": "Yes", "negative": "No"},
            "columns": [{"name": "tenure", "type": "number", "min": 0, "max": 100, "unit": "months"}],
        }
    )
    rows = pd.DataFrame({"tenure": ["1", "-5", "x", "7"] * 5, "churned": ["Yes", "No"] * 10}).astype("str")
    validation = validate(rows, schema, "schema.yaml", **KNOBS)
    shown = as_page(validation, schema, "schema.yaml")
    (place,) = set(re.findall(r'<a href="#(c\d+)">the column and its rows</a>', shown))
    section = shown[shown.index(f'<section id="{place}"') :]
    assert "number: 0 to 100; in months; required" in section
    assert "5 rows fail min, the first:" in section
    assert "<li>row 2: -5</li>" in section
    assert "<li>row 3: x</li>" in section


def test_a_wide_table_has_a_small_page() -> None:
    rng = np.random.default_rng(0)
    levels = ["red", "green", "blue", "other", "a longer level"]
    columns = [
        {"name": f"level_{i}", "type": "category", "levels": levels}
        if i % 2
        else {"name": f"number_{i}", "type": "number"}
        for i in range(500)
    ]
    target = {"name": "churned", "positive": "Yes", "negative": "No"}
    schema = Schema.model_validate({"target": target, "columns": columns})
    data = {
        c["name"]: rng.choice(levels, 200) if "levels" in c else rng.normal(size=200).astype("str") for c in columns
    }
    rows = pd.DataFrame({**data, "churned": rng.choice(["Yes", "No"], 200)}).astype("str")
    assert len(as_page(validate(rows, schema, **KNOBS), schema, "schema.yaml").encode()) < 500_000
