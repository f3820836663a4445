"""Tables of customers as frames: from a file's headers and texts to the schema's names and types."""

from collections import Counter

import numpy as np
import pandas as pd

from churn.schema import Column, Schema, Target, as_text
from churn.script import InputError


def as_texts(raw: pd.Series, missing: tuple[str, ...]) -> pd.Series:
    """Every cell as stripped text (see `as_text`), null where it is null, empty or one of the `missing` markers."""
    # not is_string_dtype: that is true of object columns too, where a sheet's 1.0 stands
    if not isinstance(raw.dtype, pd.StringDtype):
        raw = raw.astype(object).map(as_text, na_action="ignore")
    texts = raw.astype("str").str.strip()
    return texts.mask(texts.isin({"", *(marker.strip() for marker in missing)}))


def with_clean_headers(raw: pd.DataFrame) -> pd.DataFrame:
    """`raw` with headers as text, without byte-order mark and white space around; two that become one are refused."""
    headers = [str(header).lstrip("\ufeff").strip() for header in raw.columns]
    if twice := [header for header, n in Counter(headers).items() if n > 1]:
        raise InputError("\n".join(f"the table has the header {header!r} twice; drop one" for header in twice))
    return raw.set_axis(headers, axis=1)


def named(raw: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """`raw` as texts under schema names, in schema order; columns that the schema does not name come last, as they are.

    Columns that are missing stay missing here: the check of the table reports them with all else.
    """
    raw = with_clean_headers(raw)
    found = {part.name: [h for h in dict.fromkeys(part.headers) if h in raw.columns] for part in schema.parts}
    if twice := {name: hits for name, hits in found.items() if len(hits) > 1}:
        raise InputError(
            "\n".join(f"column '{name}': the table has it twice, as {hits}; drop one" for name, hits in twice.items())
        )
    names = {hits[0]: name for name, hits in found.items() if hits}
    order = [*names, *(header for header in raw.columns if header not in names)]
    return pd.DataFrame({names.get(h, h): as_texts(raw[h], schema.missing) for h in order})


def typed(texts: pd.Series, column: Column | Target) -> tuple[pd.Series, pd.Series]:
    """The column in its type, and which cells hold text that is none of that type (they become null).

    number -> float64; boolean and target -> boolean (nullable); category -> str.
    """
    if isinstance(column, Column) and column.type == "category":
        return texts, pd.Series(False, texts.index)
    if isinstance(column, Column) and column.type == "number":
        numbers = pd.to_numeric(texts, errors="coerce").astype("float64")
        # to_numeric knows what is a number, but misses the last bit of one long number in three; astype is exact
        values: pd.Series = texts.where(np.isfinite(numbers)).astype("float64")
    else:
        positive, negative = column.positive or ("true",), column.negative or ("false",)
        # a true boolean (Parquet, JSON) needs no translation
        meaning = {"True": True, "False": False} | dict.fromkeys(negative, False) | dict.fromkeys(positive, True)
        values = texts.map(meaning).astype("boolean")
    return values, texts.notna() & values.isna()


def moments(texts: pd.Series) -> pd.Series:
    """ISO 8601 dates and times in UTC, without zone; what is none becomes null."""
    return pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True).dt.tz_localize(None)


def customers(texts: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """A checked table in its types, under schema names: only the columns that the schema names."""
    columns: dict[str, pd.Series] = {}
    for part in schema.parts:
        if part.name not in texts:
            continue
        if part == schema.time:
            columns[part.name] = moments(texts[part.name])
        elif isinstance(part, Column | Target):
            columns[part.name] = typed(texts[part.name], part)[0]
        else:
            columns[part.name] = texts[part.name]
    return pd.DataFrame(columns)
