"""A schema file is read whole or refused with a line for each mistake."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.schema import Schema, as_text, read_schema
from churn.script import InputError

SCHEMA = """
id: {name: customer_id, source: customerID}
target: {name: churned, source: Churn, positive: "Yes", negative: ["No", Stayed]}
missing: ["", NA]
drop: [{source: [Reason, Score], why: too late}]
columns:
  - {name: tenure, source: [Tenure, months], type: number, min: 0, max: 72}
  - {name: senior, type: boolean, positive: 1, negative: 0}
  - {name: contract, type: category, levels: [1, "One year"]}
"""


def read(tmp_path: Path, text: str) -> Schema:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    return read_schema(path)


def mistakes(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(InputError) as error:
        read(tmp_path, text)
    return str(error.value).replace(f"{tmp_path}/", "").splitlines()


def test_a_schema_is_read_with_every_value_as_the_text_a_table_holds(tmp_path: Path) -> None:
    schema = read(tmp_path, SCHEMA)
    assert [part.name for part in schema.parts] == ["customer_id", "churned", "tenure", "senior", "contract"]
    assert schema.target.negative == ("No", "Stayed")
    assert schema.column("senior").positive == ("1",)
    assert schema.column("contract").levels == ("1", "One year")
    assert schema.dropped == {"Reason": "too late", "Score": "too late"}


def test_the_name_itself_is_always_a_header(tmp_path: Path) -> None:
    assert read(tmp_path, SCHEMA).column("tenure").headers == ("Tenure", "months", "tenure")


def test_a_share_of_missing_makes_a_column_nullable(tmp_path: Path) -> None:
    text = SCHEMA.replace("max: 72", "max_missing: 0.3")
    assert read(tmp_path, text).column("tenure").nullable
    (line,) = mistakes(tmp_path, text.replace("max_missing: 0.3", "max_missing: 0.3, nullable: false"))
    assert "max_missing above 0 contradicts nullable: false" in line


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("type: number, thousands: '.'", "decimal and thousands are both '.'"),
        ("type: category, decimal: ','", "a category column takes no ['decimal']"),
        ("type: number, max_levels: 5", "a number column takes no ['max_levels']"),
        ("type: category, merge: {a: [b], c: [b]}", "merge: 'b' means two values"),
        ("type: category, merge: {a: [b], b: [c]}", "merge: 'b' means two values"),
        ("type: category, levels: [a], merge: {z: [b]}", "merge: 'z' is none of the levels ['a']"),
        ("type: date, format: dd/mm/yyyy", "format 'dd/mm/yyyy' has no %; for 31/12/2024 it is '%d/%m/%Y'"),
        ("type: date, min: 3", "a date column takes no ['min']"),
    ],
)
def test_a_format_that_cannot_be_meant_is_refused(column: str, words: str, tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, f"{SCHEMA}  - {{name: mine, {column}}}\nas_of: 2024-12-31")
    assert line.endswith(words)


def test_dates_need_a_day_to_count_from(tmp_path: Path) -> None:
    dated = SCHEMA + "  - {name: joined, type: date}\n"
    (line,) = mistakes(tmp_path, dated)
    assert "the date column 'joined' is counted in days before a row's time" in line
    assert read(tmp_path, dated + "as_of: 2024-12-31").moment == "as_of"
    assert read(tmp_path, dated + "as_of: '2024-12-31'").as_of == read(tmp_path, dated + "as_of: 2024-12-31").as_of
    assert read(tmp_path, dated + "time: {name: day}").moment == "day"
    assert read(tmp_path, SCHEMA).moment is None
    (line,) = mistakes(tmp_path, dated + "as_of: soon")
    assert "as_of" in line


def test_leaving_out_says_which_rows_and_why(tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, SCHEMA + "leave_out: [{source: Churn, why: no outcome}]")
    assert "leave_out[0] (Churn): says not which rows; give values, above or below" in line
    assert read(tmp_path, SCHEMA + "leave_out: [{source: Churn, values: '', why: none yet}]").leave_out[0].values == (
        "",
    )


@pytest.mark.parametrize("file", sorted(Path("schemas").glob("*.yaml")), ids=lambda path: path.name)
def test_the_schemas_of_the_house_are_read(file: Path) -> None:
    assert read_schema(file).columns


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("min: 0", "mni: 0", "schema my.yaml: columns[0] (tenure) has no key 'mni' (did you mean 'min'?)"),
        ("type: number, ", "", "schema my.yaml: columns[0] (tenure) has no key 'type'"),
        (
            "type: number",
            "type: numbr",
            "schema my.yaml: columns[0] (tenure) type is 'numbr': input should be 'number'",
        ),
        ("min: 0", "min: 99", "schema my.yaml: columns[0] (tenure): min 99 is above max 72"),
        ("min: 0", "levels: [a]", "schema my.yaml: columns[0] (tenure): a number column takes no ['levels']"),
        (", negative: 0}", "}", "schema my.yaml: columns[1] (senior): positive and negative stand together"),
        ("name: senior", "name: Senior", "schema my.yaml: columns[1] (Senior) name is 'Senior'"),
        ("name: senior", "name: tenure", "schema my.yaml: the name 'tenure' is used twice"),
        ("name: senior", "name: senior, source: months", "schema my.yaml: the header 'months' stands for two columns"),
        ("name: senior", "name: senior, source: tenure", "schema my.yaml: the header 'tenure' stands for two columns"),
        ("name: senior", "name: senior, source: Score", "schema my.yaml: the header 'Score' stands under drop and"),
        ("name: churned", "name: left", None),
        ("name: churned", "name: tenure", "schema my.yaml: the name 'tenure' is used twice"),
        ('positive: "Yes"', "positive: Yes", "schema my.yaml: target positive: YAML reads a bare Yes or No as true"),
        ('"No", Stayed', '"No", "Yes"', "schema my.yaml target: ['Yes'] stands under both positive and negative"),
        ("target:", "traget:", "schema my.yaml has no key 'target'"),
        ("target:", "traget:", "schema my.yaml has no key 'traget' (did you mean 'target'?)"),
        (", why: too late", "", "schema my.yaml: drop[0] (['Reason', 'Score']) has no key 'why'"),
        ("id: {", "id: [", "schema my.yaml is not YAML: while parsing a flow sequence"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, old: str, new: str, sentence: str | None) -> None:
    assert old in SCHEMA
    text = SCHEMA.replace(old, new, 1)
    if sentence is None:
        read(tmp_path, text)
    else:
        assert any(line.startswith(sentence) for line in mistakes(tmp_path, text)), mistakes(tmp_path, text)


def test_no_column_may_take_the_target_s_name_behind_preprocess(tmp_path: Path) -> None:
    text = SCHEMA.replace("name: churned", "name: left").replace("name: senior", "name: churned")
    (line,) = mistakes(tmp_path, text)
    assert "the name 'churned' is the target's behind preprocess" in line


@pytest.mark.parametrize("text", ["", "columns: []", "- a", "target: 3"])
def test_no_schema_at_all_is_told_without_a_traceback(tmp_path: Path, text: str) -> None:
    assert all(line.startswith("schema my.yaml") for line in mistakes(tmp_path, text))


def test_a_missing_schema_says_how_to_draft_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"draft one with: python -m churn\.draft_schema TABLE"):
        read_schema(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("value", "text"), [(1, "1"), (1.0, "1"), ("1 ", "1"), (0.1, "0.1"), (True, "True"), (-0.0, "0")]
)
def test_equal_cells_are_one_text(value: Any, text: str) -> None:
    assert as_text(value) == text


@given(st.one_of(st.text(), st.floats(), st.integers(), st.booleans()))
def test_as_text_is_idempotent(value: Any) -> None:
    assert as_text(as_text(value)) == as_text(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_as_text_keeps_every_number_exactly(value: float) -> None:
    assert float(as_text(value)) == value
