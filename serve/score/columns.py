"""Rows of a table to what the scorer reads, column by column; and the rows that the schema refuses, with the reasons.

What a cell means is `churn.table`'s to say, as in training. It is asked once for each different cell of a column, and
not at all for numbers that come as numbers and lie in their range.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache, cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from churn.dates import dates_at
from churn.schema import AS_OF, LARGEST, MAX_TEXT, Column, Schema, as_text
from churn.script import InputError
from churn.table import as_texts, clean_headers, days_before, header_names, left_out, moments, typed
from churn.text import listed, quoted

HOLDS_NUL = "holds a NUL character"  # which requests may not, as PostgreSQL does not keep it
MAX_ID = 128  # characters of a customer's id, as in requests

BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)

MAX_KEPT = 1000  # texts of a column, and columns with other texts, whose meaning is kept
_understood: dict[tuple[Any, ...], tuple[Column, np.ndarray, dict[int, str]]] = {}

Reasons = dict[int, list[str]]  # row -> what is wrong with it


@dataclass(frozen=True)
class Levels:
    """A category of n rows."""

    known: np.ndarray  # object (u,), the different ones, None for a missing one
    place: np.ndarray  # (n,) of each row's among them


@dataclass(frozen=True)
class Checked:
    """n rows."""

    ids: pa.Array  # string (n,), null where there is none
    numbers: dict[str, np.ndarray]  # (n,) each, as `Scorer.columns` gives them: all that are no categories
    levels: dict[str, Levels]  # the categories
    days: np.ndarray  # datetime64[D] (n,) from which dates count
    refused: Reasons
    left_out: dict[int, str]  # as the schema's leave_out says

    @cached_property
    def columns(self) -> dict[str, np.ndarray]:
        """(n,) each, as `Scorer.columns` gives them; to write each level out takes longer than to score it."""
        return self.numbers | {name: self.texts(name) for name in self.levels}

    def texts(self, name: str) -> np.ndarray:
        """object (n,): the levels of a category, None where missing."""
        return self.levels[name].known[self.levels[name].place]

    def without(self, rows: Sequence[int] | np.ndarray) -> "Checked":
        """The other rows."""
        if not len(rows):
            return self
        kept = np.ones(len(self.ids), bool)
        kept[rows] = False
        return self.only(kept)

    def only(self, rows: np.ndarray) -> "Checked":
        """These rows, by number or by truth; nothing is said any more of those that are not scored."""
        numbers = {name: values[rows] for name, values in self.numbers.items()}
        levels = {name: Levels(found.known, found.place[rows]) for name, found in self.levels.items()}
        ids = self.ids.take(pa.array(np.flatnonzero(rows) if rows.dtype == bool else rows))
        return Checked(ids, numbers, levels, self.days[rows], {}, {})


def check(table: pa.Table, schema: Schema, day: date) -> Checked:
    """Rows with the headers of a table, or with schema names; dates count from their row's time, else from `day`."""
    headers = header_names(table.column_names, schema)
    cells = {name: plain(table.column(header)) for header, name in headers.items()}
    refused: Reasons = defaultdict(list)
    numbers, levels = {}, {}
    for column in schema.columns:
        given = cells.get(column.name, pa.nulls(len(table), pa.string()))
        if column.type == "category":
            values, place, faults = read_texts(given, column, schema.missing)
            levels[column.name] = Levels(values, place)
        else:
            numbers[column.name], faults = read(given, column, schema.missing)
        for row, why in faults.items():
            refused[row].append(f"{column.name}: {why}")
    days = days_of(table, schema, day, refused)
    for name in schema.dates:
        numbers[name] = days_before(pd.Series(numbers[name]), pd.Series(days)).to_numpy()
    ids = pa.nulls(len(table), pa.string())
    if schema.id and schema.id.name in cells:
        ids = ids_of(cells[schema.id.name], schema.missing)
        faulty = {
            f"has more than {MAX_ID} characters": pc.greater(pc.utf8_length(ids), MAX_ID),
            HOLDS_NUL: pc.match_substring(ids, "\0"),
        }
        for why, rows in faulty.items():
            for row in np.flatnonzero(rows.fill_null(False)).tolist():
                refused[row].append(f"{schema.id.name}: {why}")
    left = dict(rows_left_out(cells, schema))
    return Checked(ids, numbers, levels, days, {row: why for row, why in refused.items() if row not in left}, left)


def with_schema_names(table: pa.Table, schema: Schema, where: str) -> pa.Table:
    """The table with clean headers; an InputError where it lacks a column that the schema needs."""
    table = table.rename_columns(clean_headers(table.column_names))
    names = header_names(table.column_names, schema)
    there = set(names.values())
    if not there & {column.name for column in schema.columns}:
        raise InputError(
            f"{where} has none of the release's columns; its headers are {listed(table.column_names[:8])}: "
            "is --separator right?"
        )
    if lacking := [column for column in schema.columns if column.name not in there and not column.nullable]:
        words = "; ".join(f"'{c.name}' (header {' or '.join(map(quoted, dict.fromkeys(c.headers)))})" for c in lacking)
        raise InputError(f"{where} lacks the column {words}; add it")
    for header in names | ({AS_OF: AS_OF} if AS_OF in table.column_names else {}):
        cells, i = table[header], table.column_names.index(header)
        try:
            table = table.set_column(i, header, simple(cells))
        except pa.ArrowInvalid as error:
            raise InputError(f"{where}: column '{header}' of {cells.type} can't be read: {error}") from None
    return table


def simple(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Bytes as the text that they are, and no type that Arrow can't compare; an ArrowInvalid for a nested one."""
    if pa.types.is_nested(cells.type):
        raise pa.ArrowInvalid("it is nested; make it text or numbers")
    if any(is_kind(cells.type) for is_kind in BYTES):
        return cells.cast(pa.string())
    return cells.cast(pa.float32()) if pa.types.is_float16(cells.type) else cells


def plain(cells: pa.ChunkedArray) -> pa.Array:
    """One array."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.unify_dictionaries()
    array = cells.combine_chunks()
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def distinct(cells: pa.Array, missing: tuple[str, ...]) -> tuple[pd.Series, np.ndarray]:
    """The different cells as texts, the last one null; and the place (n,) of each row's cell among them."""
    known, place = encoded(cells)
    return texts_of(known, missing), place


def encoded(cells: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The different cells; and the place (n,) of each row's among them, one behind the last where it is null."""
    coded = cells if pa.types.is_dictionary(cells.type) else cells.dictionary_encode()
    place = coded.indices.cast(pa.int64()).fill_null(len(coded.dictionary))
    return coded.dictionary, place.to_numpy(zero_copy_only=False)


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def texts_of(known: pa.Array, missing: tuple[str, ...]) -> pd.Series:
    """Different cells as texts, and one more that is null."""
    if is_text(known.type):
        texts = pa.concat_arrays([known, pa.nulls(1, known.type)]).to_pandas().astype("str")
    else:
        texts = pd.Series([*values(known), None], dtype=object)
    return as_texts(texts, missing)


def values(cells: pa.Array) -> list[Any]:
    """Python's; of times beyond the year 9999, which Python has none for, all texts."""
    try:
        return list(cells.to_pylist())
    except (OverflowError, ValueError):
        return list(cells.cast(pa.string()).to_pylist())


def ids_of(cells: pa.Array, missing: tuple[str, ...]) -> pa.Array:
    """(n,) as `as_texts` reads them; ids differ from row to row, so that it does not pay to look for equal ones."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if pa.types.is_integer(cells.type):
        cells = cells.cast(pa.string())
    if not is_text(cells.type):
        return pa.array(as_texts(cells.to_pandas(), missing), pa.string())
    texts = pc.utf8_trim_whitespace(cells).cast(pa.string())
    none = pa.array(["", *(marker.strip() for marker in missing)])
    return pc.if_else(pc.is_in(texts, none), pa.scalar(None, pa.string()), texts)


def read(cells: pa.Array, column: Column, missing: tuple[str, ...]) -> tuple[np.ndarray, dict[int, str]]:
    """(n,) float64, datetime64 for dates; what is wrong, by row. Not of a category."""
    if column.type != "number" or column.merge or not is_number(cells.type):
        values, place, faults = read_texts(cells, column, missing)
        return values[place], faults
    numbers = as_doubles(cells)
    with np.errstate(invalid="ignore"):
        usual = (numbers >= max(column.low, -LARGEST)) & (numbers <= min(column.high, LARGEST))
    if column.nullable:
        usual |= np.isnan(numbers)
    if markers := numbers_among(missing):
        usual &= ~np.isin(numbers, markers)
    rows = np.flatnonzero(~usual)
    if not len(rows):
        return numbers, {}
    values, place, faults = read_texts(cells.take(pa.array(rows)), column, missing)
    numbers[rows] = values[place]
    return numbers, {int(rows[i]): why for i, why in faults.items()}


def as_doubles(cells: pa.Array) -> np.ndarray:
    """(n,) NaN where null; of four bytes by their text, as in training: 1.1 would be 1.100000023841858."""
    if pa.types.is_float32(cells.type):
        cells = cells.cast(pa.string())
    return cells.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).copy()


def is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


@cache
def numbers_among(texts: tuple[str, ...]) -> list[float]:
    values = pd.to_numeric(pd.Series(texts, dtype="str"), errors="coerce")
    return [float(value) for value in values.dropna()]


def read_texts(
    cells: pa.Array, column: Column, missing: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """(u,) different values, (n,) the place of each row's among them, and what is wrong, by row."""
    known, place = encoded(cells)
    values, faults = meaning(known, column, missing)
    if not faults:
        return values, place, {}
    rows = np.flatnonzero(np.isin(place, list(faults))).tolist()
    return values, place, {row: faults[int(place[row])] for row in rows}


def meaning(known: pa.Array, column: Column, missing: tuple[str, ...]) -> tuple[np.ndarray, dict[int, str]]:
    """The values (u + 1,) of different cells and of a null, and what is wrong with them, by place.

    The next batch has the same few texts again, and to read three of them takes as long as to score a thousand rows.
    """
    if len(known) > MAX_KEPT or not (is_text(known.type) or pa.types.is_boolean(known.type)):
        return understood(known, column, missing)
    key = id(column), missing, known.type, *known.to_pylist()
    if key not in _understood or _understood[key][0] is not column:  # another one in the place of one that is gone
        if len(_understood) >= MAX_KEPT:
            _understood.clear()
        _understood[key] = column, *understood(known, column, missing)
    return _understood[key][1:]


def understood(known: pa.Array, column: Column, missing: tuple[str, ...]) -> tuple[np.ndarray, dict[int, str]]:
    texts = texts_of(known, missing)
    read, unreadable = typed(texts, column)
    match column.type:
        case "category":
            values = read.to_numpy(object, na_value=None)
        case "date":
            values = read.to_numpy("datetime64[us]")  # nanoseconds end in 2262
        case _:
            values = read.to_numpy("float64", na_value=np.nan)
    return values, dict(faults_of(texts, read, unreadable, column))


def faults_of(texts: pd.Series, values: pd.Series, unreadable: pd.Series, column: Column) -> Iterator[tuple[int, str]]:
    """(place, what is wrong with that text), at most one for each."""
    missing = texts.isna().to_numpy()
    yield from ((place, "is missing") for place in np.flatnonzero(missing & ~column.nullable).tolist())
    for place in np.flatnonzero(unreadable).tolist():
        yield place, f"{quoted(texts[place])} is {wanted(column)}"
    if column.type == "number":
        numbers = values.to_numpy("float64", na_value=np.nan)
        bounds = [
            (numbers < column.low, f"below the minimum {as_text(column.min)}"),
            (numbers > column.high, f"above the maximum {as_text(column.max)}"),
            (np.abs(numbers) > LARGEST, f"beyond ±{LARGEST:.0e}"),
        ]
        for is_out, words in bounds:
            yield from ((place, f"{texts[place]} is {words}") for place in np.flatnonzero(is_out).tolist())
    if column.type == "category":
        holds_nul = texts.str.contains("\0", regex=False).to_numpy(bool, na_value=False)
        yield from ((place, HOLDS_NUL) for place in np.flatnonzero(holds_nul).tolist())
        for place in np.flatnonzero(texts.str.len().gt(MAX_TEXT)).tolist():
            yield place, f"has more than {MAX_TEXT} characters"


def wanted(column: Column) -> str:
    match column.type:
        case "boolean":
            positive, negative = column.positive or ("true",), column.negative or ("false",)
            return f"neither positive ({listed(positive)}) nor negative ({listed(negative)})"
        case "date":
            return f"no date {f'like {column.format}' if column.format else 'of ISO 8601'}"
    return "no finite number"


def days_of(table: pa.Table, schema: Schema, day: date, refused: Reasons) -> np.ndarray:
    """datetime64[D] (n,) the day of each row, which counts for dates alone."""
    part = schema.time
    header = next((h for h in (part.headers if part else (AS_OF,)) if h in table.column_names), None)
    if header is None or not schema.dates:
        return np.full(len(table), np.datetime64(day))
    texts, place = distinct(plain(table.column(header)), schema.missing)
    days = moments(texts, part.format if part else None).to_numpy("datetime64[D]")[place]
    for row in np.flatnonzero(np.isnat(days)).tolist():
        refused[row].append(f"{part.name if part else AS_OF}: {quoted(texts[place[row]])} is no date")
    return days


def rows_left_out(cells: Mapping[str, pa.Array], schema: Schema) -> Iterator[tuple[int, str]]:
    """Rows that the schema leaves out and why; rules about the outcome and about absent columns do not count here."""
    for rule in reversed(schema.leave_out):  # of several reasons the first stays
        name = next((part.name for part in schema.parts if rule.source in part.headers), rule.source)
        if name == schema.target.name or name not in cells:
            continue
        texts, place = distinct(cells[name], schema.missing)
        alone = schema.model_copy(update={"leave_out": (rule,)})
        out = left_out(pd.DataFrame({name: texts}), alone)[rule.why].to_numpy(bool)
        for row in np.flatnonzero(out[place]).tolist():
            yield row, rule.why


def records(found: Checked, schema: Schema) -> Iterator[dict[str, Any]]:
    """Customers as requests hold them: true or false, null where missing, ISO dates."""
    columns: dict[str, list[Any]] = {}
    for column in schema.columns:
        values = found.columns[column.name]
        match column.type:
            case "category":
                columns[column.name] = values.tolist()
            case "date":
                columns[column.name] = dates_at(values, found.days)
            case kind:
                cells = (values.astype(bool) if kind == "boolean" else values).astype(object)
                cells[np.isnan(values)] = None
                columns[column.name] = cells.tolist()
    if schema.moment:
        columns[schema.moment] = found.days.astype(str).tolist()
    names = list(columns)
    return (dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True))
