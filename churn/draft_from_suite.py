"""A schema drafted from a Great Expectations suite: what it leaves open is marked `decide:`, what is lost is named."""

from typing import Any

from churn.draft_columns import NO, YES, one_or_all
from churn.draft_schema import comment, flow, leave_out_lines, sides, snake_names
from churn.params import closest
from churn.read_suite import Facts, Found, Kwargs, facts_of, object_of
from churn.schema import as_text
from churn.script import InputError

BOOLEANS = {"True", "False", "true", "false"}  # read as such whatever a schema's positive and negative are


def draft_of_suite(suite: Kwargs, target: str | None, where: str) -> str:
    """The schema file; `target` is the header of the outcome where the suite does not tell it."""
    found = facts_of(suite)
    headers = list(found.columns)
    target = target or next(iter(found.outcomes), None)
    if target is None or target not in headers:
        near = closest(target, headers) if target else ""
        said = f"has no column '{target}'{near}" if target else "does not say which column tells who churned"
        raise InputError(f"suite {where} {said}; name it with --target, one of {headers[:8]}")
    customer, time = key_of(found, target)
    names = snake_names(headers, target)
    outcome, neither, remark = of_target(found.columns[target], names[target], target)
    read = object_of(object_of(suite, "meta"), "read_csv")
    lines, dates = [], False
    for header in headers:
        if header not in (target, customer, time):
            entry, doubt = of_column(found.columns[header], names[header], header, read)
            dates |= entry["type"] == "date"
            lines.append(f"  - {flow(entry)}{comment(doubt)}")
    if not lines:
        raise InputError(f"suite {where} speaks of no column that could be a feature")
    markers = [as_text(marker) for marker in read.get("na_values") or [] if isinstance(marker, str)]
    return "\n".join(
        [
            f"# Read from a suite of {len(suite['expectations'])} expectations. Settle the marks `decide:`.",
            *(f"# not kept: {one}" for one in found.unread),
            *([f"id: {flow({'name': names[customer], 'source': customer})}"] if customer else []),
            f"target: {flow(outcome)}{comment(remark)}",
            *([f"time: {flow(dated(time, names[time], found.columns[time], read))}"] if time else []),
            *(['as_of: "2000-01-01"  # decide: the day that the table describes?'] if dates and not time else []),
            f"missing: {flow(list(dict.fromkeys(['', *markers])))}",
            *leave_out_lines(target, neither, False),
            "columns:",
            *lines,
            *(["strict: true"] if found.is_strict else []),
            "",
        ]
    )


def key_of(found: Found, target: str) -> tuple[str | None, str | None]:
    """The headers of the id and of the time."""
    for pair in found.keys:
        times = [header for header in pair if found.facts(header).type == "date"]
        if len(times) == 1 and target not in pair:
            return next(header for header in pair if header not in times), times[0]
        found.unread.append(f"unique {pair}: a schema's id is one column, in each time where there is one")
    unique = [header for header, facts in found.columns.items() if facts.is_unique and header != target]
    found.unread.extend(f"unique {header!r}: a schema has one id" for header in unique[1:])
    return (unique[0] if unique else None), None


def of_target(facts: Facts, name: str, header: str) -> tuple[dict[str, Any], list[str], str]:
    """The entry, the values that are neither, and what to decide."""
    positive, negative, neither, remark = ["Yes"], ["No"], list[str](), "decide: the suite does not name its values"
    if facts.positive:
        positive, negative = without_booleans(facts)
        remark = ""
    elif facts.values and len(facts.values) > 1:
        positive, negative, neither = sides(dict.fromkeys(facts.values, 1), name, header)
        remark = f"decide: did {' or '.join(map(repr, positive))} leave, and {' or '.join(map(repr, negative))} stay?"
    entry = {"name": name, "source": header, "positive": one_or_all(positive), "negative": one_or_all(negative)}
    return entry, neither, remark


def without_booleans(facts: Facts) -> tuple[list[str], list[str]]:
    """Both sides of the values, without true booleans where words are left on both."""
    both = facts.positive, [value for value in facts.values or [] if value not in facts.positive]
    plain = tuple([value for value in side if value not in BOOLEANS] for side in both)
    return plain if all(plain) else both  # type: ignore[return-value]


def of_column(facts: Facts, name: str, header: str, read: Kwargs) -> tuple[dict[str, Any], str]:
    """The entry, and what to decide."""
    entry: dict[str, Any] = {"name": name, "source": header}
    doubt, values = "", facts.values or []
    folded = {value.casefold() for value in values}
    if not facts.positive and folded <= YES | NO and folded & YES and folded & NO:
        facts.positive = [value for value in values if value.casefold() in YES]
    if facts.positive:
        entry["type"] = "boolean"
        if set(values) - BOOLEANS:
            positive, negative = without_booleans(facts)
            entry |= {"positive": one_or_all(positive), "negative": one_or_all(negative)}
    elif values:
        entry |= {"type": "category", "levels": values}
        doubt = "decide: are these numbers levels?" if facts.type == "number" else ""
    elif facts.type == "date":
        entry = dated(header, name, facts, read) | {"type": "date"}
    elif facts.type == "number":
        bounds = {"min": facts.low, "max": facts.high}
        marks = {mark: read[mark] for mark in ("decimal", "thousands") if read.get(mark) in (",", ".", " ", "'", "_")}
        entry |= {"type": "number"} | {key: value for key, value in bounds.items() if value is not None} | marks
    else:
        entry["type"] = "category"
        doubt = "" if facts.type == "category" else "decide: a category? the suite names no type"
    if not facts.is_required:
        entry |= {"max_missing": facts.max_missing} if facts.max_missing else {"nullable": True}
    return entry, doubt


def dated(header: str, name: str, facts: Facts, read: Kwargs) -> dict[str, Any]:
    format = facts.format or object_of(read, "date_format").get(header)
    return {"name": name, "source": header} | ({"format": format} if format not in (None, "ISO8601") else {})
