"""Tables of customers as frames: from a file's headers and texts to the schema's names and types."""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from churn.blocks import BLOCK, Table
from churn.params import closest
from churn.schema import Column, Schema, Target, Time, as_text
from churn.script import InputError

FIRST_DAY = pd.Timestamp("0001-01-01")
NOW = ("now", "today")


def as_texts(raw: pd.Series, missing: tuple[str, ...]) -> pd.Series:
    """Every cell as stripped text (see `as_text`), null where it is null, empty or one of the `missing` markers."""
    # not is_string_dtype: that is true of object columns too, where a sheet's 1.0 stands
    if not isinstance(raw.dtype, pd.StringDtype):
        raw = raw.astype(object).map(as_text, na_action="ignore")
    texts = raw.astype("str").str.strip()
    return texts.mask(texts.isin({"", *(marker.strip() for marker in missing)}))


def clean_headers(headers: Iterable[Any]) -> list[str]:
    """Headers as text, without byte-order mark and white space around; two that become one are refused."""
    clean = [str(header).lstrip("\ufeff").strip() for header in headers]
    if twice := [header for header, n in Counter(clean).items() if n > 1]:
        raise InputError("\n".join(f"the table has the header {header!r} twice; drop one" for header in twice))
    return clean


def with_clean_headers(raw: pd.DataFrame) -> pd.DataFrame:
    return raw.set_axis(clean_headers(raw.columns), axis=1)


def header_names(headers: Collection[str], schema: Schema) -> dict[str, str]:
    """Header -> schema name, in schema order, of those that the schema names."""
    found = {part.name: [h for h in dict.fromkeys(part.headers) if h in headers] for part in schema.parts}
    if twice := {name: hits for name, hits in found.items() if len(hits) > 1}:
        raise InputError(
            "\n".join(f"column '{name}': the table has it twice, as {hits}; drop one" for name, hits in twice.items())
        )
    return {hits[0]: name for name, hits in found.items() if hits}


def named(raw: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """`raw` as texts under schema names, in schema order; columns that the schema does not name come last, as they are.

    Columns that are missing stay missing here: the check of the table reports them with all else.
    """
    raw = with_clean_headers(raw)
    names = header_names(raw.columns, schema)
    order = [*names, *(header for header in raw.columns if header not in names)]
    return pd.DataFrame({names.get(h, h): as_texts(raw[h], schema.missing) for h in order})


def typed(texts: pd.Series, column: Column | Target) -> tuple[pd.Series, pd.Series]:
    """The column in its type, and which cells hold text that is none of that type (they become null).

    number -> float64; boolean and target -> boolean (nullable); category -> str; date -> datetime64, without time.
    """
    if isinstance(column, Column) and column.type == "category":
        return texts.replace(column.meaning) if column.merge else texts, pd.Series(False, texts.index)
    if isinstance(column, Column) and column.type == "date":
        values: pd.Series = moments(texts, column.format).dt.floor("D")
    elif isinstance(column, Column) and column.type == "number":
        plain = plain_numbers(texts, column)
        numbers = pd.to_numeric(plain, errors="coerce").astype("float64")
        # to_numeric knows what is a number, but misses the last bit of one long number in three; astype is exact
        values = plain.where(np.isfinite(numbers)).astype("float64")
    else:
        positive, negative = column.positive or ("true",), column.negative or ("false",)
        # a true boolean (Parquet, JSON) needs no translation
        meaning = {"True": True, "False": False} | dict.fromkeys(negative, False) | dict.fromkeys(positive, True)
        values = texts.map(meaning).astype("boolean")
    return values, texts.notna() & values.isna()


def plain_numbers(texts: pd.Series, column: Column) -> pd.Series:
    """Numbers as people write them, by the column's decimal, thousands, strip and merge, as Python writes them."""
    texts = texts.replace(column.meaning) if column.merge else texts
    if column.strip:
        affix = "|".join(re.escape(affix) for affix in sorted(column.strip, key=len, reverse=True))
        # a sign may stand before a currency
        texts = texts.str.replace(rf"^([+-]?)\s*(?:{affix})\s*", r"\1", regex=True)
        texts = texts.str.replace(rf"\s*(?:{affix})$", "", regex=True)
    if column.decimal == "." and not column.thousands:
        return texts
    if column.thousands == " ":  # the spaces that do not break a line, of French and Swedish
        texts = texts.str.replace("[\u00a0\u202f\u2009]", " ", regex=True)
    decimal, group = re.escape(column.decimal), re.escape(column.thousands)
    whole = rf"\d{{1,3}}(?:{group}\d{{3}})+|\d+" if group else r"\d+"
    is_number = texts.str.fullmatch(rf"[+-]?(?:{whole})?(?:{decimal}\d+)?(?:[eE][+-]?\d+)?").fillna(False)
    ungrouped = texts.str.replace(group, "", regex=True) if group else texts
    # another text stays as it is, but a number of another format must not pass for one of this
    foreign = texts.where(is_number | texts.isna(), texts.str.replace(r"[.,]", "\ufffd", regex=True))
    return foreign.where(~is_number, ungrouped.str.replace(column.decimal, ".", regex=False))


def moments(texts: pd.Series, format: str | None = None) -> pd.Series:
    """Dates and times in UTC, without zone, ISO 8601 or in a format of strptime; what is none, or is outside the years
    1 to 9999, becomes null."""
    found: pd.Series = pd.to_datetime(texts, format=format or "ISO8601", errors="coerce", utc=True).dt.tz_localize(None)
    found = found.dt.as_unit("us")  # nanoseconds know no day after 2262, and cannot be subtracted from 9999-12-31
    # pandas knows a year 0, and takes the words now and today for the moment at which it reads them
    return found.where((found >= FIRST_DAY) & ~texts.isin(NOW))


def days_before(dates: pd.Series, day: pd.Series | date) -> pd.Series:
    """float64, whole days from each date to the row's day, or to one day for all; below 0 for dates in the future."""
    until = pd.Timestamp(day) if isinstance(day, date) else day.dt.floor("D")
    return (until - dates) / pd.Timedelta(days=1)


def customers(texts: Table, schema: Schema) -> pd.DataFrame:
    """A checked table in its types, under schema names: only the columns that the schema names.

    Levels are categorical: of a large table they would not fit into memory as texts.
    """
    columns: dict[str, pd.Series] = {}
    for part in schema.parts:
        if part.name not in texts:
            continue
        if isinstance(part, Time):
            columns[part.name] = moments(texts[part.name], part.format)
        elif isinstance(part, Column | Target):
            values = typed(texts[part.name], part)[0]
            is_category = isinstance(part, Column) and part.type == "category"
            columns[part.name] = values.astype("category") if is_category else values
        else:
            columns[part.name] = texts[part.name]
    for name in schema.dates:
        if name in columns:
            columns[name] = days_before(columns[name], schema.as_of or columns[str(schema.moment)])
    return pd.DataFrame(columns)


def fingerprints(texts: Table, names: Iterable[str]) -> pd.Series:
    """uint64 (n,) of each row's cells in these columns: two rows that differ share one with a chance of 2^-64."""
    found = np.zeros(len(texts), "uint64")
    for name in names:
        cells = texts[name]
        for start in range(0, len(cells), BLOCK):  # of all at once each cell would be an object
            mixed = found[start : start + BLOCK]
            mixed ^= hashes(cells.iloc[start : start + BLOCK])
            mixed *= np.uint64(0x9E3779B97F4A7C15)  # of the golden ratio: the order of columns counts
            mixed ^= mixed >> np.uint64(29)
    return pd.Series(found)


def hashes(texts: pd.Series) -> np.ndarray:
    """uint64 (n,); each text is hashed once."""
    codes, known = pd.factorize(texts)
    return np.append(pd.util.hash_array(np.asarray(known, dtype=object), categorize=False), np.uint64(0))[codes]


def copies_of(texts: Table, names: Sequence[str]) -> pd.Series | None:
    """`fingerprints` of these columns, where more rows are equal in them than chance explains, else None.

    That is ten times what independent columns would bring.
    """
    n, found = len(texts), fingerprints(texts, names)
    equal = found.value_counts()
    pairs = float((equal * (equal - 1)).sum()) / 2
    if not pairs:
        return None
    by_chance = math.prod(float((texts[name].value_counts(dropna=False) / n).pow(2).sum()) for name in names)
    return found if pairs > 10 * by_chance * n * (n - 1) / 2 else None


def left_out(texts: pd.DataFrame, schema: Schema) -> dict[str, pd.Series]:
    """Reason -> rows (n,) that the schema leaves out for it; `texts` under schema names. A header must be there."""
    found: dict[str, pd.Series] = {}
    names = {header: part for part in schema.parts for header in part.headers if part.name in texts}
    for rule in schema.leave_out:
        part = names.get(rule.source)
        name = part.name if part else rule.source
        if name not in texts:
            near = closest(rule.source, [str(header) for header in texts])
            raise InputError(f"leave_out: the table has no column '{rule.source}'{near}")
        cells = texts[name]
        rows = cells.isin(rule.values) | (cells.isna() & bool({"", *schema.missing} & set(rule.values)))
        like = part if isinstance(part, Column) and part.type == "number" else Column(name="any", type="number")
        if like is part:  # 0 means 0.0 too, and 3.5 in a table of decimal commas 3,5
            values = pd.Series(rule.values, dtype="str")
            meant = typed(values, like)[0].fillna(pd.to_numeric(values, errors="coerce"))
            rows |= typed(cells, like)[0].isin(meant.dropna())
        if rule.above is not None or rule.below is not None:
            numbers = typed(cells, like)[0]
            rows |= numbers > (math.inf if rule.above is None else rule.above)
            rows |= numbers < (-math.inf if rule.below is None else rule.below)
        found[rule.why] = found.get(rule.why, False) | rows
    return found


def cell_of(value: Any, column: Column) -> str:
    """A value of a request, a date in ISO 8601, as a cell of the table that `typed` reads back."""
    if column.type == "date" and column.format:
        return date.fromisoformat(value).strftime(column.format)
    if column.type == "number" and column.decimal != ".":
        return as_text(value).replace(".", column.decimal)
    return as_text(value)
