"""What a request may hold is what the schema says, and nothing else."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from churn.customer_model import customer_model
from churn.schema import ID, LARGEST, Schema
from serve.log.tables import CLOCK_SKEW
from serve.payloads import Feedback, batch_model

SCHEMA = Schema.model_validate(
    {
        "target": {"name": "churned", "positive": "1", "negative": "0"},
        "missing": ["", " NA", "-"],
        "columns": [
            {"name": "tenure", "type": "number", "min": 0, "max": 10, "unit": "months", "description": "time so far"},
            {"name": "balance", "type": "number", "nullable": True},
            {"name": "active", "type": "boolean"},
            {"name": "plan", "type": "category", "levels": ["a", "b"]},
            {"name": "model_city", "type": "category", "max_missing": 0.5},
        ],
    }
)
CUSTOMER = {"tenure": 3, "balance": -1.5, "active": True, "plan": "a", "model_city": "Rome"}
OUTCOME = {"customer_id": "c", "churned": True, "observed_at": "2026-11-01T00:00:00Z"}
Customer = TypeAdapter(customer_model(SCHEMA, CUSTOMER))


def mistakes(**changes: Any) -> list[tuple[Any, ...]]:
    """Where the customer with these changes is wrong."""
    try:
        Customer.validate_python(CUSTOMER | changes)
    except ValidationError as error:
        return [mistake["loc"] for mistake in error.errors()]
    return []


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"tenure": 0}, {"tenure": 10.0}, {"balance": None}, {"balance": -LARGEST}, {"active": False},
        {"plan": "another"}, {"model_city": ""}, {"model_city": None}, {"customer_id": "x" * 128},
        {"customer_id": None}, {"plan": "é🙂\u202e\n"},
    ],
)  # fmt: skip
def test_what_fits_the_schema_is_taken(changes: dict[str, Any]) -> None:
    assert mistakes(**changes) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"tenure": -0.001}, {"tenure": 10.001}, {"tenure": None}, {"tenure": "3"}, {"tenure": True}, {"tenure": [3]},
        {"balance": float("nan")}, {"balance": float("inf")}, {"balance": LARGEST * 1.01}, {"active": 1},
        {"active": "true"}, {"active": None}, {"plan": None}, {"plan": 1}, {"plan": "a\0"}, {"plan": "x" * 201},
        {"customer_id": ""}, {"customer_id": 7}, {"customer_id": "x" * 129}, {"unknown": 1}, {"churned": True},
    ],
)  # fmt: skip
def test_what_does_not_is_named(changes: dict[str, Any]) -> None:
    assert mistakes(**changes) == [tuple(changes)]


def test_a_column_may_be_left_out_only_where_it_may_be_missing() -> None:
    for name in CUSTOMER:
        left = {key: value for key, value in CUSTOMER.items() if key != name}
        if name in ("balance", "model_city"):
            assert Customer.validate_python(left)[name] is None
        else:
            with pytest.raises(ValidationError, match=name):
                Customer.validate_python(left)


@pytest.mark.parametrize(
    ("many", "name", "one"),
    [(batch_model(customer_model(SCHEMA, CUSTOMER)), "customers", CUSTOMER), (Feedback, "outcomes", OUTCOME)],
)
def test_ten_thousand_at_once_are_taken_and_one_more_is_not(many: Any, name: str, one: dict[str, Any]) -> None:
    checked = TypeAdapter(many)
    checked.validate_python({name: [one] * 10_000})
    with pytest.raises(ValidationError, match="at most 10000 items"):
        checked.validate_python({name: [one] * 10_001})


def observed(at: object) -> datetime:
    (outcome,) = Feedback.model_validate({"outcomes": [OUTCOME | {"observed_at": at}]}).outcomes
    return outcome.observed_at


def test_a_day_means_its_end_so_that_an_answer_of_that_day_is_before_it() -> None:
    assert observed("2026-11-01") == observed(" 2026-11-01 ") == datetime(2026, 11, 1, 23, 59, 59, 999_999, tzinfo=UTC)
    today = datetime.now(UTC)
    assert observed(today.strftime("%Y-%m-%d")) > today


@pytest.mark.parametrize("at", ["2062-01-01", "2062-01-01T00:00:00Z", "9999-12-31T23:59:59-23:00", "9999-12-31"])
def test_what_lies_in_the_future_is_no_observation(at: str) -> None:
    with pytest.raises(ValidationError, match="lies in the future; what is reported has happened"):
        observed(at)


def test_clocks_may_differ_a_little() -> None:
    soon = datetime.now(UTC) + CLOCK_SKEW
    assert observed((soon - timedelta(seconds=30)).isoformat()) > datetime.now(UTC)
    with pytest.raises(ValidationError, match="lies in the future"):
        observed((soon + timedelta(seconds=30)).isoformat())
    with pytest.raises(ValidationError, match="lies in the future"):
        observed((datetime.now(UTC) + timedelta(days=1, minutes=10)).strftime("%Y-%m-%d"))


@pytest.mark.parametrize("at", [1_700_000_000, 1.7e9, "1700000000", " 1.7e9 ", "-1", "1700000000000", True, None])
def test_a_number_is_no_moment_nor_is_its_text(at: object) -> None:
    with pytest.raises(ValidationError, match="expected a text such as 2026-11-01T00:00:00Z"):
        observed(at)


def test_the_document_says_which_texts_are_missing_and_so_refused() -> None:
    pattern = Customer.json_schema()["properties"]["plan"]["not"]["pattern"]
    spaces = [chr(code) for code in range(0x110000) if chr(code).isspace()]
    assert all(re.search(pattern, f"{space}NA{space}") and re.search(pattern, space) for space in spaces)
    assert not any(re.search(pattern, text) for text in ("a", "NA.", "--", "N A", "\u200b"))
    assert "not" not in str(Customer.json_schema()["properties"]["model_city"])


def test_a_person_reads_units_ranges_levels_and_an_example() -> None:
    document = Customer.json_schema()
    tenure, plan = document["properties"]["tenure"], document["properties"]["plan"]
    assert tenure["description"] == "time so far; in months"
    assert (tenure["minimum"], tenure["maximum"]) == (0, 10)
    assert plan["description"].startswith("plan; one of a, b;")
    assert "may be missing" in document["properties"]["balance"]["description"]
    assert Customer.validate_python(document["examples"][0])


def test_a_column_called_like_the_customer_s_id_is_refused() -> None:
    column = {"name": "customer_id", "type": "number"}
    with pytest.raises(ValidationError, match="the name 'customer_id' is the customer's own in requests"):
        Schema.model_validate(SCHEMA.model_dump(exclude_none=True) | {"columns": [column]})


@pytest.mark.parametrize(("plan", "city"), [(" a ", "  Rome\n"), ("a", "Rome")])
def test_a_level_is_read_as_training_reads_it(plan: str, city: str) -> None:
    assert Customer.validate_python(CUSTOMER | {"plan": plan, "model_city": city}) == {ID: None} | CUSTOMER


@pytest.mark.parametrize("text", ["", " ", "NA", " NA ", "-"])
def test_a_text_that_means_missing_is_missing_or_refused_where_nothing_may_be(text: str) -> None:
    assert Customer.validate_python(CUSTOMER | {"model_city": text})["model_city"] is None
    assert mistakes(plan=text) == [("plan",)]
