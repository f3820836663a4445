"""What a Great Expectations suite, of 1.x or before, says of a table's columns; the rest by name, with the reason."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from churn.schema import LARGEST, MAX_TEXT, as_text
from churn.script import InputError

# as pandas, SQL and Spark call them: int64, Int64Dtype, BIGINT, NUMERIC(10, 2), DoubleType
NUMBER_TYPE = re.compile(
    r"u?(big|small|tiny|medium)?_?(int|integer|float|double|decimal|numeric|number|real|long|short)\d*_?"
    r"( ?precision)?(d?type)?(\(.*\))?"
)
DATE_TYPE = re.compile(r"(date|timestamp)\w*([\[(].*)?")

Kwargs = Mapping[str, Any]
Reason = str | None  # why an expectation can't be kept; None where it is


@dataclass
class Facts:
    """What a suite says of one column."""

    type: str | None = None
    low: float | None = None
    high: float | None = None
    values: list[str] | None = None
    positive: list[str] = field(default_factory=list)
    format: str | None = None
    max_missing: float | None = None
    is_required: bool = False
    is_unique: bool = False


@dataclass
class Found:
    """What a suite says of a table: facts by header, in the suite's order, and what of it no schema says."""

    columns: dict[str, Facts] = field(default_factory=dict)
    keys: list[list[str]] = field(default_factory=list)  # of several columns
    outcomes: list[str] = field(default_factory=list)  # headers of which certain values must be there
    is_strict: bool = False
    unread: list[str] = field(default_factory=list)

    def facts(self, header: str) -> Facts:
        return self.columns.setdefault(header.strip(), Facts())


def read_suite(path: Path) -> dict[str, Any]:
    """The suite in `path`, checked as far as it is read here."""
    try:
        suite = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"suite {path} is missing") from None
    except ValueError as error:
        raise InputError(f"suite {path} is no JSON: {error}") from None
    listed = suite.get("expectations") if isinstance(suite, dict) else None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise InputError(f"{path} is no suite of Great Expectations: it has no list of expectations")
    for n, one in enumerate(listed, 1):
        if not isinstance(type_of(one), str) or not isinstance(one.get("kwargs", {}), dict):
            raise InputError(f"suite {path}: expectation {n} has no type, or kwargs that are no object")
    return dict(suite)


def type_of(expectation: Kwargs) -> Any:
    """Suites before 1.0 call it expectation_type."""
    return expectation.get("type", expectation.get("expectation_type"))


def object_of(content: Kwargs, key: str) -> Kwargs:
    """What stands under `key`, where it is an object."""
    found = content.get(key)
    return found if isinstance(found, dict) else {}


# one reader per expectation of a column


def of_nulls(facts: Facts, kwargs: Kwargs) -> Reason:
    mostly = kwargs.get("mostly")
    if mostly is None or mostly == 1:
        facts.is_required = True
    else:
        facts.max_missing = round(1 - float(mostly), 12)
    return None


def of_non_null_share(facts: Facts, kwargs: Kwargs) -> Reason:
    least = kwargs.get("min_value") or 0
    if kwargs.get("max_value") not in (None, 1) or (kwargs.get("strict_min") and least):
        return "a schema says how many values may be missing at most"
    if least:
        facts.max_missing = round(1 - float(least), 12)
    return None  # that a column holds something is checked of every schema


def of_range(facts: Facts, kwargs: Kwargs) -> Reason:
    bounds = [kwargs.get("min_value"), kwargs.get("max_value")]
    if any(isinstance(bound, bool) or not isinstance(bound, int | float | None) for bound in bounds):
        return "a schema bounds numbers alone"
    if kwargs.get("strict_min") or kwargs.get("strict_max"):
        return "bounds of a schema belong to the range"
    low, high = (
        [bound for bound in both if bound is not None and abs(bound) < LARGEST]
        for both in ([facts.low, bounds[0]], [facts.high, bounds[1]])
    )
    if low and high and max(low) > min(high):
        return "it contradicts another one"
    facts.type = facts.type or "number"
    facts.low, facts.high = max(low, default=None), min(high, default=None)
    return None


def of_lowest(facts: Facts, kwargs: Kwargs) -> Reason:
    reason = of_range(facts, {**kwargs, "max_value": None})
    return reason or (None if kwargs.get("max_value") is None else "a schema does not say how low the lowest must be")


def of_highest(facts: Facts, kwargs: Kwargs) -> Reason:
    reason = of_range(facts, {**kwargs, "min_value": None})
    return reason or (None if kwargs.get("min_value") is None else "a schema does not say how high the highest must be")


def of_values(facts: Facts, kwargs: Kwargs) -> Reason:
    values = list(dict.fromkeys(as_text(value) for value in kwargs.get("value_set") or [] if value is not None))
    if not values:
        return "it names no values"
    kept = values if facts.values is None else [value for value in facts.values if value in values]
    if not kept:
        return f"its values are none of {facts.values}"
    facts.values = kept
    return None


def of_types(facts: Facts, kwargs: Kwargs) -> Reason:
    names = [str(name).lower() for name in kwargs.get("type_list") or [kwargs.get("type_")]]
    if all(name.startswith("bool") for name in names):
        facts.values = facts.values or ["True", "False"]
    elif all(map(NUMBER_TYPE.fullmatch, names)):
        facts.type = "number"
    elif all(map(DATE_TYPE.fullmatch, names)):
        facts.type = "date"
    elif any(NUMBER_TYPE.fullmatch(name) or DATE_TYPE.fullmatch(name) for name in names):
        return "a schema gives a column one type"
    else:
        facts.type = facts.type or "category"
    return None


def of_format(facts: Facts, kwargs: Kwargs) -> Reason:
    facts.type, format = "date", kwargs.get("strftime_format")
    if format is not None and "%" not in format:
        return "it names no format"
    facts.format = format
    return None


def of_lengths(facts: Facts, kwargs: Kwargs) -> Reason:
    facts.type = facts.type or "category"
    is_ours = kwargs.get("max_value") == MAX_TEXT and not kwargs.get("min_value")
    return None if is_ours else f"texts of every schema have at most {MAX_TEXT} characters"


def of_unique(facts: Facts, kwargs: Kwargs) -> Reason:
    facts.is_unique = True
    return None


READERS: dict[str, Callable[[Facts, Kwargs], Reason]] = {
    "expect_column_to_exist": lambda facts, kwargs: None,
    "expect_column_values_to_not_be_null": of_nulls,
    "expect_column_proportion_of_non_null_values_to_be_between": of_non_null_share,
    "expect_column_values_to_be_between": of_range,
    "expect_column_min_to_be_between": of_lowest,
    "expect_column_max_to_be_between": of_highest,
    "expect_column_values_to_be_in_set": of_values,
    "expect_column_distinct_values_to_be_in_set": of_values,
    "expect_column_distinct_values_to_equal_set": of_values,
    "expect_column_values_to_be_of_type": of_types,
    "expect_column_values_to_be_in_type_list": of_types,
    "expect_column_values_to_match_strftime_format": of_format,
    "expect_column_values_to_be_dateutil_parseable": of_format,
    "expect_column_value_lengths_to_be_between": of_lengths,
    "expect_column_values_to_be_unique": of_unique,
}


def of_table(found: Found, what: str, kwargs: Kwargs) -> Reason:
    """Expectations of several columns, or of none."""
    match what, kwargs:
        case "expect_compound_columns_to_be_unique", {"column_list": [str(), str()] as headers}:
            found.keys.append(headers)
            return None
        case "expect_table_columns_to_match_set", {"column_set": [*headers]}:
            found.is_strict |= kwargs.get("exact_match", True) is not False
        case "expect_table_columns_to_match_ordered_list", {"column_list": [*headers]}:
            found.is_strict = True
        case "expect_table_row_count_to_be_between", {"row_condition": {"column": {"name": str(header)}}}:
            if kwargs.get("min_value") != 1 or kwargs.get("max_value") is not None:
                return "a schema counts no rows"
            found.outcomes.append(header)
            headers = [header]
        case _:
            return "a schema does not say it"
    for header in headers:
        found.facts(str(header))
    return None if what != "expect_table_columns_to_match_ordered_list" else "a schema does not order columns"


def facts_of(suite: Kwargs) -> Found:
    found = Found()
    for one in suite["expectations"]:
        what, kwargs = type_of(one), one.get("kwargs", {})
        header, reader = kwargs.get("column"), READERS.get(what)
        if isinstance(header, str):
            facts = found.facts(header)
            if kwargs.get("row_condition"):
                reason: Reason = "it holds for some rows alone"
            elif kwargs.get("mostly") not in (None, 1) and reader is not of_nulls:
                reason = "it holds for a share of the rows alone"
            else:
                reason = tried(reader, facts, kwargs) if reader else "a schema does not say it"
            positive = object_of(one, "meta").get("positive")
            if isinstance(positive, list) and 0 < len(set(positive) & set(facts.values or [])) < len(
                facts.values or []
            ):
                facts.positive = [value for value in facts.values or [] if value in positive]
        else:
            reason = of_table(found, what, kwargs)
        if reason:
            found.unread.append(f"{sentence(what, kwargs)}: {reason}")
    return found


def tried(reader: Callable[[Facts, Kwargs], Reason], facts: Facts, kwargs: Kwargs) -> Reason:
    try:
        return reader(facts, kwargs)
    except (TypeError, ValueError):  # a parameter that is given when the suite runs, or a mistake
        return "its arguments are no plain values"


def sentence(what: str, kwargs: Kwargs) -> str:
    """On one line, of characters that a comment of YAML may hold."""
    words = json.dumps(dict(kwargs), ensure_ascii=False)
    text = f"{what} {words if len(words) <= 160 else f'{words[:157]}...'}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
