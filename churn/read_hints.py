"""Ways out where a table was read, but not as it should be: options with which the sought headers are there."""

from collections.abc import Collection, Iterator
from pathlib import Path

import pandas as pd

from churn.read_csv import SEPARATORS, Options
from churn.read_table import read_table
from churn.script import InputError
from churn.table import with_clean_headers

TRIED_ROWS = 20  # of the table


def hint(path: Path, options: Options, headers: list[str], sought: Collection[str]) -> str:
    """What to set so that more of the `sought` headers are found than among `headers`; else what there is."""
    found = len(set(sought) & set(headers))
    for changed in alternatives(path, options, headers):
        try:
            frame = read_table(path, options | changed | _few_rows(path))
            there = len(set(sought) & set(with_clean_headers(frame).columns))
        except InputError:
            continue
        if there > found:
            return f"set data.options to {said(changed)}, which finds {there} of them"
    if looks_like_values(headers):
        return (
            f"its first row {headers[:4]} looks like values: set data.options.header to null, or names to the headers"
        )
    return f"it has {headers[:8]}: check data.schema and data.options.header"


def alternatives(path: Path, options: Options, headers: list[str]) -> Iterator[Options]:
    """Options that would read the table otherwise, the simplest first."""
    if path.suffix.lower() == ".xlsx":
        from openpyxl import load_workbook  # a fifth of a second

        # all first rows first: a data dictionary names the headers, too, one in a row
        names = load_workbook(path, read_only=True).sheetnames
        for row in range(6):
            for name in names:
                yield {"sheet_name": name} | ({"header": row} if row else {})
    elif ".csv" in path.name.lower() or path.suffix.lower() in {".txt", ".tsv"}:
        for row in range(6):
            for separator in SEPARATORS:
                yield {"sep": separator} | ({"header": row} if row else {})
    elif path.suffix.lower() == ".json":
        yield {"record_path": "data"}


def _few_rows(path: Path) -> Options:
    return {} if path.suffix.lower() in {".parquet", ".json", ".jsonl"} else {"nrows": TRIED_ROWS}


def said(options: Options) -> str:
    """Options as params.yaml has them."""
    words = [f"{key}: {value!r}".replace("'\\t'", '"\\t"') for key, value in options.items()]
    return f"{{{', '.join(words)}}}"


def looks_like_values(headers: list[str]) -> bool:
    """A header that is a number, or two that are equal but for pandas' counting, is more likely a customer's value."""
    return bool(pd.to_numeric(pd.Series(headers, dtype="str"), errors="coerce").notna().any())
