"""What a request may hold is what the schema says, and nothing else."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from churn.schema import Schema
from churn.script import InputError
from serve.payloads import LARGEST, Feedback, batch_model, customer_model

SCHEMA = Schema.model_validate(
    {
        "target": {"name": "churned", "positive": "1", "negative": "0"},
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
        {"plan": "another"}, {"plan": ""}, {"model_city": None}, {"customer_id": "x" * 128}, {"customer_id": None},
        {"plan": "é🙂\u202e\n"},
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
    schema = Schema.model_validate(SCHEMA.model_dump(exclude_none=True) | {"columns": [column]})
    with pytest.raises(InputError, match="'customer_id'; give the column another name"):
        customer_model(schema, {})
