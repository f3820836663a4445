"""The list of a plan as files: Parquet with the ids as they are, CSV for a spreadsheet that takes some for formulas.

In the CSV a text that begins with one of = + - @, their full-width forms, a tab or a line break gets an apostrophe
before it, as CWE-1236 advises, and so does one that begins with an apostrophe; `read_list` takes it off again.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from campaigns.tables import readable
from churn.script import InputError

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
    with readable(path):
        table = parquet.read_table(path) if path.suffix == ".parquet" else read_csv(path)
    if lacking := [name for name in COLUMNS if name not in table.column_names]:
        raise InputError(f"{path} is no list of a plan: it lacks {lacking}")
    return table


def read_csv(path: Path) -> pa.Table:
    options = csv.ConvertOptions(
        column_types=COLUMNS | REASONS, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    table = csv.read_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=options)
    for i, field in enumerate(table.schema):
        if field.type == pa.string():
            table = table.set_column(i, field.name, pc.replace_substring_regex(table[i], "^'", ""))
    return table
