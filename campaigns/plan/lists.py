"""The list of a plan as files: Parquet with the ids as they are, CSV for a spreadsheet that takes some for formulas.

In the CSV a text that begins with one of = + - @, their full-width forms, a tab or a line break gets an apostrophe
before it, as CWE-1236 advises, and so does one that begins with an apostrophe; `read_list` takes it off again.
"""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from campaigns.plan.tables import is_parquet, readable
from churn.script import InputError
from churn.text import listed

FORMULA = "^['=+\\-@＝＋－＠\t\r\n]"
COLUMNS = {
    "customer_id": pa.string(),
    "offer": pa.string(),
    "offered": pa.bool_(),  # false: held back as control
    "share": pa.float64(),  # the chance with which an offer was drawn
    "churn_probability": pa.float64(),
    "expected_profit": pa.float64(),  # of the offer, where it is made
    "value": pa.float64(),  # of a customer who stays
}
SIDES = {name: COLUMNS[name] for name in ("customer_id", "offered", "share")}
REASONS = {f"reason_{number}": pa.string() for number in (1, 2, 3)}


def write_parquet(table: pa.Table, path: Path) -> None:
    parquet.write_table(table, path, use_dictionary=["offer"])


def write_csv(table: pa.Table, path: Path) -> None:
    for i, field in enumerate(table.schema):
        if field.type == pa.string():
            table = table.set_column(i, field.name, made_safe(table[i]))
    csv.write_csv(table, path)


def made_safe(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """(n,) texts that no spreadsheet takes for a formula."""
    is_one = pc.match_substring_regex(texts, FORMULA)
    return pc.if_else(is_one, pc.binary_join_element_wise("'", texts, ""), texts)


def read_list(path: Path) -> pa.Table:
    """The list as it was planned, from either file."""
    table = read_table(path)
    if lacking := [name for name in COLUMNS if name not in table.column_names]:
        raise InputError(f"{path} is no list of a plan: it lacks {lacking}")
    return table


def read_sides(path: Path) -> pa.Table:
    """customer_id, offered and share of a list, or of another table that has them; without a share it is 1."""
    table = read_table(path)
    if lacking := [name for name in SIDES if name not in table.column_names and name != "share"]:
        raise InputError(f"{path} has no column {listed(lacking)}; it has {listed(table.column_names)}")
    if "share" not in table.column_names:
        table = table.append_column("share", pa.array([1.0] * len(table), pa.float64()))
    try:
        return table.select(list(SIDES)).cast(pa.schema(SIDES))
    except pa.ArrowException as error:
        raise InputError(f"{path}: {' '.join(str(error).split())[:300]}; expected {describe(SIDES)}") from None


def describe(columns: Mapping[str, pa.DataType]) -> str:
    return ", ".join(f"{name} as {kind}" for name, kind in columns.items())


def read_table(path: Path) -> pa.Table:
    with readable(path):
        return parquet.read_table(path) if is_parquet(path) else read_csv(path)


def read_csv(path: Path) -> pa.Table:
    options = csv.ConvertOptions(
        column_types=COLUMNS | REASONS, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    table = csv.read_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=options)
    if not set(COLUMNS) <= set(table.column_names):  # no list of a plan: its apostrophes are its own
        return table
    for i, field in enumerate(table.schema):
        if field.type == pa.string():
            table = table.set_column(i, field.name, pc.replace_substring_regex(table[i], "^'", ""))
    return table
