"""The form of a customer: a field for each column of the schema; and a request's customer from a form's texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from churn.customer_model import customer_model
from churn.schema import ID, Column, Schema
from serve.predict.live import Model

MISSING = ""  # what a form holds for a value that is missing
LABELS = {"true": "yes", "false": "no"}


@dataclass(frozen=True)
class Field:
    """An input of the form, or a choice where it has options: texts that are sent, and those that are shown."""

    name: str
    label: str
    kind: Literal["number", "date", "choice"]
    note: str
    options: list[tuple[str, str]]
    low: float | None
    high: float | None
    required: bool


def fields_of(model: Model) -> list[Field]:
    schema, known = model.release.schema, model.release.card["inputs"]["categories"]
    fields = [field_of(column, known.get(column.name, ())) for column in schema.columns]
    if schema.moment:
        note = "the day that this describes the customer as of; empty: today"
        fields.append(Field(schema.moment, label_of(schema.moment), "date", note, [], None, None, False))
    return fields


def field_of(column: Column, known: Sequence[str]) -> Field:
    notes = [column.description, f"in {column.unit}" if column.unit else "", range_of(column)]
    note = "; ".join(filter(None, [*notes, "may be missing" if column.nullable else ""]))
    options: list[tuple[str, str]] = []
    if column.type == "boolean":
        options = list(LABELS.items())
    elif column.type == "category":
        # the level of what is missing is the training's, and no text that a request may hold
        levels = column.levels or [level for level in known if level != "missing" or not column.nullable]
        options = [(level, level) for level in levels]
    if options and column.nullable:
        options.append((MISSING, "missing"))
    kind: Literal["number", "date", "choice"] = "choice"
    if column.type in ("number", "date"):
        kind = "number" if column.type == "number" else "date"
    return Field(column.name, label_of(column.name), kind, note, options, column.min, column.max, not column.nullable)


def label_of(name: str) -> str:
    return name.replace("_", " ").capitalize()


def range_of(column: Column) -> str:
    match (column.min, column.max):
        case (None, None):
            return ""
        case (low, None):
            return f"from {low:,.10g}"
        case (None, high):
            return f"up to {high:,.10g}"
        case (low, high):
            return f"{low:,.10g} to {high:,.10g}"


def customer_of(texts: Mapping[str, str], schema: Schema) -> dict[str, Any]:
    """A request's customer of a form's texts; what can't be read stays a text, which the check refuses."""
    customer: dict[str, Any] = {}
    for column in schema.columns:
        if column.name in texts:
            customer[column.name] = value_of(texts[column.name].strip(), column)
    if texts.get(schema.moment or ""):
        customer[str(schema.moment)] = texts[str(schema.moment)]
    return customer


def value_of(text: str, column: Column) -> Any:
    if text == MISSING:
        return None
    if column.type == "boolean":
        return {"true": True, "false": False}.get(text, text)
    if column.type == "number":
        try:
            return float(text)
        except ValueError:
            return text
    return text


def texts_of(customer: Mapping[str, Any]) -> dict[str, str]:
    """What a form holds for a customer."""
    return {name: text_of(value) for name, value in customer.items() if name != ID}


def text_of(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def checked(customer: Mapping[str, Any], model: Model) -> tuple[dict[str, Any], dict[str, str]]:
    """The customer as /predict takes it, and what is wrong with it, by field; one of the two is empty."""
    try:
        return requests_of(model).validate_python(dict(customer)), {}
    except ValidationError as error:
        return {}, {str(wrong["loc"][0]): wrong["msg"] for wrong in error.errors(include_input=False) if wrong["loc"]}


@lru_cache(maxsize=4)  # the champion, a challenger, and those before them
def requests_of(model: Model) -> Any:
    """The type of one customer of a request."""
    return TypeAdapter(customer_model(model.release.schema, {}))
