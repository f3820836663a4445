"""A schema as a Great Expectations suite: `python -m churn.expectations schemas/my.yaml > suite.json`.

The suite is JSON of Great Expectations 1.x, which is not needed to write it. It speaks of a table under its own
headers: of numbers and dates as such, of all else as text. docs/expectations.md says how to read a table so, and what
a suite cannot say. With --schema a suite is read back, as far as it goes.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from churn.draft_from_suite import draft_of_suite
from churn.draft_schema import option
from churn.read_suite import read_suite
from churn.read_table import read_table
from churn.schema import LARGEST, MAX_TEXT, Column, Customer, Identifier, Schema, Target, Time, read_schema
from churn.script import run
from churn.table import clean_headers, header_names, typed

VERSION = "1.24.1"  # of Great Expectations, with which suites were tried
NUMBERS = ("int", "float", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32",
           "float64", "Int64Dtype", "Float64Dtype")  # fmt: skip
DATES = ("Timestamp", "datetime64[s]", "datetime64[ms]", "datetime64[us]", "datetime64[ns]")

RESULT = "result.json"  # beside Data Docs: what was asked of which table, and what fails

Expectation = dict[str, Any]


def suite_of(schema: Schema, name: str) -> dict[str, Any]:
    """The suite called `name`: what the stage validate takes for a mistake, as far as a suite can say it."""
    expectations = [one for part in schema.parts for one in of_part(part, schema)]
    if schema.strict:
        headers = [header_of(part) for part in schema.parts]
        expectations.append(expect("table_columns_to_match_set", column_set=headers, exact_match=True))
    meta = {"great_expectations_version": VERSION, "read_csv": read_csv_options(schema)}
    return {"name": name, "expectations": expectations, "meta": meta, "notes": None}


def suite_hash(suite: Mapping[str, Any]) -> str:
    """The sha256 of what a suite expects, whatever its name."""
    return sha256(json.dumps(suite["expectations"], sort_keys=True, default=str).encode()).hexdigest()


def placed(schema: Schema, headers: Sequence[str]) -> Schema:
    """The schema with the one header of each column that a table has among its `headers`."""
    clean = dict(zip(clean_headers(headers), headers, strict=True))
    there = {name: clean[header] for header, name in header_names(list(clean), schema).items()}

    def place(part: Identifier | None) -> Identifier | None:
        return part.model_copy(update={"source": (there[part.name],)}) if part and part.name in there else part

    parts = {key: place(getattr(schema, key)) for key in ("id", "target", "time")}
    return schema.model_copy(update={**parts, "columns": tuple(place(column) for column in schema.columns)})


def header_of(part: Identifier) -> str:
    """Under which the suite speaks of it: the first that the schema names."""
    return part.headers[0]


def expect(what: str, meta: dict[str, Any] | None = None, **kwargs: Any) -> Expectation:
    return {"type": f"expect_{what}", "kwargs": kwargs, "meta": meta or {}}


def of_part(part: Identifier, schema: Schema) -> Iterator[Expectation]:
    """What must hold of one column, its header first."""
    header = header_of(part)
    yield expect("column_to_exist", column=header)
    yield from of_missing(part, header)
    match part:
        case Customer() if not part.repeats:
            yield of_ids(part, schema.time)
        case Column(type="number"):
            low, high = plain(max(part.low, -LARGEST)), plain(min(part.high, LARGEST))
            yield expect("column_values_to_be_in_type_list", column=header, type_list=list(NUMBERS))
            yield expect("column_values_to_be_between", column=header, min_value=low, max_value=high)
        case Column(type="date") | Time():
            yield expect("column_values_to_be_in_type_list", column=header, type_list=list(DATES))
        case Column(type="category", levels=None):
            yield expect("column_value_lengths_to_be_between", column=header, max_value=MAX_TEXT)
        case Column(type="category"):
            levels = [*(part.levels or ()), *part.meaning]
            yield expect("column_values_to_be_in_set", column=header, value_set=levels)
        case Column() | Target():
            positive, negative = both_sides(part)
            meta = {"positive": positive}  # a suite has no place for which side is which
            yield expect("column_values_to_be_in_set", meta, column=header, value_set=positive + negative)
            for side in (positive, negative) if isinstance(part, Target) else ():
                where = {"type": "comparison", "column": {"name": header}, "operator": "IN", "parameter": side}
                yield expect("table_row_count_to_be_between", min_value=1, row_condition=where)


def of_missing(part: Identifier, header: str) -> Iterator[Expectation]:
    if not isinstance(part, Column) or not part.nullable:
        yield expect("column_values_to_not_be_null", column=header)
        return
    yield expect("column_proportion_of_non_null_values_to_be_between", column=header, min_value=0, strict_min=True)
    if part.max_missing and part.max_missing < 1:
        # rounded: 1 - 0.7 is more than 0.3, and a share of exactly 0.7 is allowed
        yield expect("column_values_to_not_be_null", column=header, mostly=round(1 - part.max_missing, 12))


def of_ids(part: Identifier, time: Time | None) -> Expectation:
    """One row per customer, in a table of snapshots one in each."""
    if time is None:
        return expect("column_values_to_be_unique", column=header_of(part))
    return expect("compound_columns_to_be_unique", column_list=[header_of(part), header_of(time)])


def both_sides(part: Column | Target) -> tuple[list[str], list[str]]:
    """The texts that `typed` reads as positive, and those as negative: true booleans are among them."""
    words = pd.Series(dict.fromkeys([*part.positive, *part.negative, "True", "False", "true", "false"]).keys())
    values = typed(words, part)[0]
    return tuple(words[(values == side).fillna(False)].tolist() for side in (True, False))


def plain(number: float) -> int | float:
    return int(number) if number == int(number) else number


def read_csv_options(schema: Schema) -> dict[str, Any]:
    """pandas.read_csv's, with which a plain CSV file is the table that the suite speaks of."""
    dates = [
        part for part in schema.parts if isinstance(part, Time) or (isinstance(part, Column) and part.type == "date")
    ]
    numbers = [column for column in schema.columns if column.type == "number"]
    texts = [part for part in schema.parts if part not in dates and part not in numbers]
    marks = {(column.decimal, column.thousands) for column in numbers}
    decimal, thousands = marks.pop() if len(marks) == 1 else (".", "")
    return {
        "keep_default_na": False,
        "na_values": list(dict.fromkeys(["", *schema.missing])),
        "dtype": {header_of(part): "str" for part in texts},
        **({"parse_dates": [header_of(part) for part in dates]} if dates else {}),
        **({"date_format": {header_of(part): part.format or "ISO8601" for part in dates}} if dates else {}),
        **({"decimal": decimal} if decimal != "." else {}),
        **({"thousands": thousands} if thousands else {}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m churn.expectations", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="a schema; with --schema a suite")
    parser.add_argument("--schema", action="store_true", help="print the schema that can be read from a suite")
    parser.add_argument("--target", help="with --schema: the header of the column that tells who churned")
    parser.add_argument("--table", type=Path, help="write the suite with the headers of this table")
    parser.add_argument(
        "--options", type=option, nargs="+", default=[], metavar="KEY=VALUE", help="for its reader: sep=;"
    )
    given = parser.parse_args()
    if given.target and not given.schema:
        parser.error("--target goes with --schema")
    if given.schema and given.table:
        parser.error("--table does not go with --schema")
    if given.schema:
        text = draft_of_suite(read_suite(given.file), given.target, str(given.file))
    else:
        schema = read_schema(given.file)
        if given.table:
            schema = placed(schema, list(read_table(given.table, dict(given.options)).columns))
        suite = suite_of(schema, given.file.stem)
        text = json.dumps(suite, indent=2, ensure_ascii=False) + "\n"
    # not print: the text is UTF-8 whatever the terminal speaks
    sys.stdout.buffer.write(text.encode())


if __name__ == "__main__":
    run(main, "expectations", mistake=2)
