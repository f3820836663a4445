"""load: read the customer table of params `data` and write it as text under schema names to data/loaded.parquet."""

import logging
from pathlib import Path

import pandas as pd

from churn.params import read_params
from churn.read_table import Options, read_table, separator_hint
from churn.schema import Schema, read_schema
from churn.script import InputError, replacing, run
from churn.table import named

log = logging.getLogger("load")


def load(raw: pd.DataFrame, schema: Schema, path: Path) -> pd.DataFrame:
    """`raw` as texts under schema names; a table in which no column of the schema is found is refused."""
    table = named(raw, schema)
    if not any(part.name in table for part in schema.parts):
        raise InputError(f"{path} has none of the schema's columns; {separator_hint(list(raw.columns))}")
    return table


def main(table: Path = Path("data/loaded.parquet")) -> None:
    def data(*, path: Path, schema: Path, options: Options | None = None) -> tuple[Path, Path, Options]:
        return path, schema, options or {}

    path, schema, options = data(**read_params("data", data))
    loaded = load(read_table(path, options), read_schema(schema), path)
    with replacing(table) as temporary:
        loaded.to_parquet(temporary, index=False)
    log.info("wrote %s: %d rows, %d columns from %s", table, *loaded.shape, path)


if __name__ == "__main__":
    run(main, "load")
