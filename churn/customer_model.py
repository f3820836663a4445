"""What one customer of a request may hold: a type made from the schema, for the service and for deploy's proof."""

import re
from collections.abc import Callable, Collection, Mapping
from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict  # pydantic asks for this one on Python 3.11

from churn.dates import today
from churn.schema import ID, LARGEST, MAX_TEXT, Column, Schema

# no NUL: PostgreSQL keeps it neither in text nor in JSON
Text = Annotated[str, Field(strict=True, max_length=MAX_TEXT, pattern=r"^[^\x00]*$")]
# what str.strip takes away; \s of other regular expressions is less
SPACE = r"[\u0009-\u000d\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"


WEEK = "W"  # of ISO 8601's 2024-W10-1, which is no date in tables either


def _date(text: str) -> str:
    try:
        if WEEK in text:
            raise ValueError
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise PydanticCustomError("date", "Value is no date like 2024-12-31") from None


Day = Annotated[str, Field(strict=True, max_length=10, json_schema_extra={"format": "date"}), AfterValidator(_date)]
Name = Annotated[str, Field(strict=True, min_length=1, max_length=128, pattern=r"^[^\x00]*$")]


def customer_model(schema: Schema, example: Mapping[str, Any]) -> Any:
    """One customer under schema names, checked as a dict; `example` is one of the release's golden customers.

    A dict, not a model: ten thousand of them are a tenth of the memory.
    """
    names = [column.name for column in schema.columns]
    words = "comes back in the answer and is what outcomes are matched by"
    fields: dict[str, Any] = {ID: Annotated[Name | None, Field(default=None, description=words)]}
    for column in schema.columns:
        kind, words = _type(column, schema), _words(column)
        fields[column.name] = (
            Annotated[kind | None, Field(default=None, description=words)]
            if column.nullable
            else Annotated[kind, Field(description=words)]
        )
    if schema.moment:
        words = "the day that this describes the customer as of; dates count from it; left out: today, in UTC"
        fields[schema.moment] = Annotated[Day, Field(default_factory=today, description=words)]
        names.append(schema.moment)
    shown = {ID: "7590-VHVEG"} | {name: example.get(name) for name in names}
    return strict_dict("Customer", fields, json_schema_extra={"examples": [shown]})


def _type(column: Column, schema: Schema) -> Any:
    match column.type:
        case "number":
            low, high = max(column.low, -LARGEST), min(column.high, LARGEST)
            return Annotated[float, Field(strict=True, ge=low, le=high, allow_inf_nan=False)]
        case "boolean":
            return Annotated[bool, Field(strict=True)]
        case "date":
            return Day
    missing = tuple(sorted({"", *(marker.strip() for marker in schema.missing)}))
    level = Annotated[Text, AfterValidator(_level(missing, column.meaning, column.nullable))]
    if column.nullable:
        return level
    refused = f"^{SPACE}*({'|'.join(map(re.escape, missing))}){SPACE}*$"
    return Annotated[level, Field(json_schema_extra={"not": {"pattern": refused}})]


def _level(missing: Collection[str], meaning: Mapping[str, str], is_nullable: bool) -> Callable[[str], str | None]:
    """A level as training reads it: without white space around, merged; None for a text that means missing."""

    def read(text: str) -> str | None:
        text = text.strip()
        if text not in missing:
            return meaning.get(text, text)
        if not is_nullable:
            raise PydanticCustomError("missing", "Value is missing")
        return None

    return read


def _words(column: Column) -> str:
    words = [column.description or column.name.replace("_", " ")]
    if column.type == "date":
        words.append("a date, ISO 8601")
    if column.unit:
        words.append(f"in {column.unit}")
    if column.levels:
        words.append(f"one of {', '.join(column.levels)}; another one is answered with a warning")
    if column.nullable:
        words.append("may be missing: null or left out")
    return "; ".join(words)


def strict_dict(name: str, fields: dict[str, Any], **config: Any) -> Any:
    """A TypedDict that refuses other keys."""
    make: Any = TypedDict  # type checkers want each one written out
    made = make(name, fields)
    made.__pydantic_config__ = {"extra": "forbid", **config}
    return made
