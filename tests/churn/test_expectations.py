"""A schema as a Great Expectations suite and back: what a suite can say comes back, and what it cannot is named."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from churn.draft_from_suite import draft_of_suite
from churn.expectations import main, placed, suite_of
from churn.read_suite import READERS, read_suite
from churn.schema import Schema, read_schema
from churn.script import InputError, run
from tests.conftest import ROOT
from tests.test_house import modules

Suite = dict[str, Any]


def back(suite: Suite, target: str | None = None) -> Schema:
    return Schema.model_validate(yaml.safe_load(draft_of_suite(suite, target, "suite.json")))


def of(suite: Suite, header: str) -> dict[str, dict[str, Any]]:
    """Type -> arguments of the expectations of a column."""
    own = [one for one in suite["expectations"] if one["kwargs"].get("column") == header]
    return {one["type"]: {key: value for key, value in one["kwargs"].items() if key != "column"} for one in own}


def schema_with(*columns: dict[str, Any], **more: Any) -> Schema:
    content: dict[str, Any] = {"target": {"name": "churned", "positive": "Yes", "negative": "No"}, **more}
    return Schema.model_validate(content | {"columns": columns or [{"name": "tenure", "type": "number"}]})


def test_a_suite_is_written_without_great_expectations() -> None:
    for path in ("churn/expectations.py", "churn/read_suite.py", "churn/draft_from_suite.py"):
        assert not [module for module in modules(path) if module.startswith("great_expectations")]


def test_a_number_has_its_type_and_its_bounds_and_those_of_all_numbers() -> None:
    suite = suite_of(schema_with({"name": "tenure", "source": "Tenure", "type": "number", "min": 0.5}), "my")
    told = of(suite, "Tenure")
    assert told["expect_column_values_to_be_between"] == {"min_value": 0.5, "max_value": 10**15}
    assert "float64" in told["expect_column_values_to_be_in_type_list"]["type_list"]
    assert told["expect_column_values_to_not_be_null"] == {}
    assert suite["name"] == "my"


def test_merged_texts_and_true_booleans_belong_to_the_values() -> None:
    columns = (
        {"name": "device", "type": "category", "levels": ["Mobile"], "merge": {"Mobile": ["Phone"]}},
        {"name": "senior", "type": "boolean", "positive": 1, "negative": 0},
    )
    suite = suite_of(schema_with(*columns), "my")
    assert of(suite, "device")["expect_column_values_to_be_in_set"] == {"value_set": ["Mobile", "Phone"]}
    assert of(suite, "senior")["expect_column_values_to_be_in_set"] == {"value_set": ["1", "True", "0", "False"]}


def test_ids_are_unique_in_each_time_where_there_is_one() -> None:
    customer, time = {"name": "customer_id", "source": "ID"}, {"name": "snapshot", "source": "Month"}
    assert "expect_column_values_to_be_unique" in of(suite_of(schema_with(id=customer), "my"), "ID")
    suite = suite_of(schema_with(id=customer, time=time), "my")
    both = {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["ID", "Month"]}, "meta": {}}
    assert both in suite["expectations"]
    repeated = suite_of(schema_with(id={**customer, "repeats": True}, time=time), "my")
    assert not [one for one in repeated["expectations"] if "unique" in one["type"]]


def test_with_a_table_the_suite_speaks_of_the_headers_that_it_has() -> None:
    columns = ({"name": "age", "source": ["Age", "Alter"], "type": "number"}, {"name": "town", "type": "category"})
    schema = placed(
        schema_with(*columns, id={"name": "customer_id", "source": "ID"}), ["customer_id", " Alter", "Extra"]
    )
    exists = [one["kwargs"]["column"] for one in suite_of(schema, "my")["expectations"] if "exist" in one["type"]]
    assert exists == ["customer_id", "churned", " Alter", "town"]


@given(n=st.integers(1, 5000), part=st.integers(0, 100), share=st.integers(1, 99))
def test_a_share_of_missing_values_is_the_same_share(n: int, part: int, share: int) -> None:
    """Great Expectations compares (n - missing) / n with mostly, the stage missing / n with max_missing."""
    missing, most = n * part // 100, share / 100
    suite = suite_of(schema_with({"name": "age", "type": "number", "max_missing": most}), "my")
    mostly = of(suite, "age")["expect_column_values_to_not_be_null"]["mostly"]
    assert ((n - missing) / n >= mostly) == (not missing / n > most)


names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
headers = st.text(min_size=1, max_size=8).map(str.strip).filter(bool)
words = st.lists(
    st.text("abYESno 019-'\"é", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=4, unique=True
)
bounds = st.tuples(st.integers(-(10**6), 10**6), st.integers(0, 10**6))
missing = st.sampled_from([{}, {"nullable": True}, {"max_missing": 0.3}, {"max_missing": 0.07}])


def column(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    own: st.SearchStrategy[dict[str, Any]] = {
        "number": bounds.map(lambda pair: {"min": pair[0], "max": sum(pair)}) | st.just({}),
        "boolean": words.map(lambda pair: {"positive": pair[:1], "negative": pair[1:]}) | st.just({}),
        "category": words.map(lambda levels: {"levels": levels}) | st.just({}),
        "date": st.sampled_from([{}, {"format": "%d/%m/%Y"}]),
    }[kind]
    parts = st.fixed_dictionaries({"name": names, "source": headers}), missing, own
    return st.tuples(*parts).map(lambda dicts: {"type": kind} | dicts[0] | dicts[1] | dicts[2])


KINDS = ("number", "boolean", "category", "date")
schemas = st.fixed_dictionaries(
    {
        "target": words.map(lambda w: {"name": "churned", "source": "Churn", "positive": w[:1], "negative": w[1:]}),
        "columns": st.lists(st.sampled_from(KINDS).flatmap(column), min_size=1, max_size=4),
        "as_of": st.just("2024-12-31"),
        "missing": st.just(["", "NA"]),
    },
    optional={
        "id": st.just({"name": "customer_id", "source": "customerID"}),
        "time": st.just({"name": "snapshot", "source": "Month"}),
        "strict": st.booleans(),
    },
)  # fmt: skip


@given(schemas)
def test_a_schema_read_back_says_the_same_suite(content: dict[str, Any]) -> None:
    try:
        schema = Schema.model_validate(content)
    except ValidationError:
        assume(False)
    # levels that are yes and no come back as a boolean, which checks the same and takes a true one besides
    told = [{value.casefold() for value in column.levels or ()} for column in schema.columns]
    assume(not any(levels <= {"yes", "no", "y", "n", "on", "1", "0"} and levels for levels in told))
    assume(schema.id or not schema.time)  # nothing of a suite tells a time without an id from another date
    suite = suite_of(schema, "my")
    assert suite_of(back(suite), "my") == suite


@pytest.mark.parametrize("path", sorted((ROOT / "schemas").glob("*.yaml")), ids=lambda path: path.name)
def test_the_repository_s_schemas_come_back(path: Path) -> None:
    suite = suite_of(read_schema(path), path.stem)
    assert suite_of(back(json.loads(json.dumps(suite))), path.stem) == suite


FOREIGN: Suite = {  # of before 1.0
    "expectation_suite_name": "warehouse.customers",
    "expectations": [
        {"expectation_type": what, "kwargs": kwargs}
        for what, kwargs in [
            ("expect_column_values_to_be_unique", {"column": "ClientNo"}),
            ("expect_column_values_to_not_be_null", {"column": "ClientNo"}),
            ("expect_column_values_to_be_in_set", {"column": "Exited", "value_set": [1, 0]}),
            ("expect_column_values_to_be_in_type_list", {"column": "Age", "type_list": ["INTEGER", "BIGINT"]}),
            ("expect_column_values_to_not_be_null", {"column": "Age", "mostly": 0.95}),
            ("expect_column_min_to_be_between", {"column": "Age", "min_value": 18, "max_value": 30}),
            ("expect_column_values_to_be_between", {"column": "Age", "max_value": 120, "mostly": 0.99}),
            ("expect_column_mean_to_be_between", {"column": "Age", "min_value": 30, "max_value": 50}),
            ("expect_column_values_to_be_in_set", {"column": "Country", "value_set": ["FR", "DE"]}),
            ("expect_column_values_to_be_in_set", {"column": "Country", "value_set": ["DE", "FR", "ES"]}),
            ("expect_column_values_to_match_strftime_format", {"column": "Since", "strftime_format": "%d.%m.%Y"}),
            ("expect_column_values_to_match_regex", {"column": "Phone", "regex": "^[0-9]+$"}),
            ("expect_column_values_to_be_of_type", {"column": "Active", "type_": "BOOLEAN"}),
            ("expect_table_row_count_to_be_between", {"min_value": 1000}),
        ]
    ],
}


def test_a_suite_of_somebody_else_is_read_as_far_as_it_goes() -> None:
    schema = back(FOREIGN, "Exited")
    assert schema.id and schema.id.source == ("ClientNo",)
    assert (schema.target.positive, schema.target.negative) == (("1",), ("0",))
    columns = {column.source[0]: column for column in schema.columns}
    assert list(columns) == ["Age", "Country", "Since", "Phone", "Active"]
    assert (columns["Age"].type, columns["Age"].min, columns["Age"].max_missing) == ("number", 18, 0.05)
    assert columns["Country"].levels == ("FR", "DE")
    assert (columns["Since"].type, columns["Since"].format) == ("date", "%d.%m.%Y")
    assert (columns["Active"].type, columns["Active"].nullable) == ("boolean", True)


def test_what_is_not_kept_is_named_with_the_reason() -> None:
    text = draft_of_suite(FOREIGN, "Exited", "suite.json")
    assert [line.removeprefix("# not kept: ") for line in text.splitlines() if line.startswith("# not kept")] == [
        'expect_column_min_to_be_between {"column": "Age", "min_value": 18, "max_value": 30}: '
        "a schema does not say how low the lowest must be",
        'expect_column_values_to_be_between {"column": "Age", "max_value": 120, "mostly": 0.99}: '
        "it holds for a share of the rows alone",
        'expect_column_mean_to_be_between {"column": "Age", "min_value": 30, "max_value": 50}: '
        "a schema does not say it",
        'expect_column_values_to_match_regex {"column": "Phone", "regex": "^[0-9]+$"}: a schema does not say it',
        'expect_table_row_count_to_be_between {"min_value": 1000}: a schema does not say it',
    ]
    marks = [line for line in text.splitlines() if "decide:" in line and not line.startswith("#")]
    assert [line.partition("  # ")[2] for line in marks] == [
        "decide: did '1' leave, and '0' stay?",
        "decide: the day that the table describes?",
        "decide: a category? the suite names no type",
    ]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=2),
    max_leaves=4,
)
ARGUMENTS = (
    *("mostly", "min_value", "max_value", "strict_min", "value_set", "type_", "type_list", "strftime_format"),
    *("column_list", "column_set", "row_condition", "exact_match"),
)
expectations = st.fixed_dictionaries(
    {
        "type": st.sampled_from([*READERS, "expect_compound_columns_to_be_unique", "expect_column_mean_to_be_between",
                                 "expect_table_columns_to_match_set", "expect_table_row_count_to_be_between"]),
        "kwargs": st.dictionaries(st.sampled_from(ARGUMENTS), anything, max_size=4).flatmap(
            lambda kwargs: st.sampled_from(["Churn", "a", "b"]).map(lambda column: kwargs | {"column": column})
            | st.just(kwargs)
        ),
    },
    optional={"meta": anything},
)  # fmt: skip


@given(st.lists(expectations, max_size=6), st.fixed_dictionaries({}, optional={"meta": anything}))
def test_no_suite_makes_a_schema_that_cannot_be_read(listed: list[dict[str, Any]], more: dict[str, Any]) -> None:
    columns = [{"type": "expect_column_to_exist", "kwargs": {"column": name}} for name in ("Churn", "a", "c")]
    assert back({"expectations": [*columns, *listed], **more}, "Churn").columns


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no JSON: Expecting property name"),
        ("[]", "is no suite of Great Expectations: it has no list of expectations"),
        ('{"expectations": [{"kwargs": {}}]}', "expectation 1 has no type, or kwargs that are no object"),
    ],
)
def test_what_is_no_suite_is_refused(content: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "suite.json"
    path.write_text(content)
    with pytest.raises(InputError, match=f"suite.json.*{words}"):
        read_suite(path)


def test_a_suite_that_does_not_tell_the_target_asks_for_it() -> None:
    with pytest.raises(InputError, match="does not say which column tells who churned; name it with --target, one of"):
        draft_of_suite(FOREIGN, None, "suite.json")
    with pytest.raises(InputError, match=r"has no column 'Exitd' \(did you mean 'Exited'\?\)"):
        draft_of_suite(FOREIGN, "Exitd", "suite.json")


def test_the_command_prints_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    def printed(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["expectations", *words])
        main()
        sys.stdout.flush()
        return capfdbinary.readouterr().out.decode()

    path = tmp_path / "suite.json"
    path.write_text(printed(str(ROOT / "schemas/telco.yaml")), encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8"))["name"] == "telco"
    assert yaml.safe_load(printed("--schema", str(path)))["target"]["source"] == "Churn"


def test_a_suite_that_is_not_there_ends_with_exit_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["expectations", "--schema", str(tmp_path / "no.json")])
    with pytest.raises(SystemExit) as ended:
        run(main, "expectations", mistake=2)
    assert (ended.value.code, caplog.messages) == (2, [f"suite {tmp_path / 'no.json'} is missing"])
