"""load: read the customer table of params `data` and write it as text under schema names to data/loaded.parquet."""

import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from churn.blocks import write_blocks
from churn.params import closest, read_params
from churn.read_csv import Options
from churn.read_hints import hint
from churn.read_table import read_parts
from churn.schema import WEIGHT, Schema, read_schema
from churn.script import InputError, replacing, run, write_json
from churn.table import left_out, named

log = logging.getLogger("load")

MILESTONE = 1_000_000  # rows


def load(
    raw: pd.DataFrame, schema: Schema, path: Path, options: Options, weight: str | None = None
) -> tuple[pd.DataFrame, dict[str, int]]:
    """`raw` as texts under schema names, without the rows that the schema leaves out; and how many it does, by reason.

    A row with several reasons counts for the first. A table in which no column of the schema is found is refused.
    """
    table = named(raw, schema)
    if not any(part.name in table for part in schema.parts):
        sought = [header for part in schema.parts for header in part.headers]
        raise InputError(f"{path} has none of the schema's columns; {hint(path, options, list(raw.columns), sought)}")
    table = with_weight(table, schema, path, weight)
    counts, kept = {}, pd.Series(True, table.index)
    for why, rows in left_out(table, schema).items():
        counts[why] = int((rows & kept).sum())
        kept &= ~rows
    return table[kept].reset_index(drop=True), counts


def with_weight(table: pd.DataFrame, schema: Schema, path: Path, weight: str | None) -> pd.DataFrame:
    """The table, under schema names, with the column `weight` as WEIGHT."""
    beside = [header for header in table if header not in {part.name for part in schema.parts}]
    if weight and weight not in beside:
        raise InputError(
            f"params.yaml: data.weight is {weight!r}{closest(weight, beside)}; {path} has no such column beside those "
            f"of the schema, but {beside}"
        )
    if WEIGHT in beside and weight != WEIGHT:
        raise InputError(f"{path} has a column '{WEIGHT}'; name it as data.weight in params.yaml, or rename it")
    return table.rename(columns={weight: WEIGHT}) if weight else table


def main(
    table: Path = Path("data/loaded.parquet"),
    metrics: Path = Path("metrics/load.json"),
    extracted: Path = Path("data/extracted.parquet"),
) -> None:
    def data(
        *, path: Path, schema: Path, options: Options | None = None, weight: str | None = None
    ) -> tuple[Path, Path, Options, str | None]:
        return path, schema, options or {}, weight

    path, schema_file, options, weight = data(**read_params("data", data))
    schema, read, counts = read_schema(schema_file), 0, Counter[str]()

    def parts() -> Iterator[pd.DataFrame]:
        nonlocal read
        for raw in read_parts(path, options, extracted):
            loaded, left = load(raw, schema, path, options, weight)
            read += len(raw)
            counts.update(left)
            if read // MILESTONE > (read - len(raw)) // MILESTONE:
                log.info("read %d rows", read)
            yield loaded

    with replacing(table) as temporary:
        rows = write_blocks(temporary, parts())
        if not rows:
            raise InputError(f"{path}: leave_out leaves none of {read} rows: {dict(counts)}; correct the schema")
    slugs = {f"left_out_{re.sub(r'[^a-z0-9]+', '_', why.lower()).strip('_')}": count for why, count in counts.items()}
    write_json(metrics, {"rows_read": read, "rows": rows, **slugs})
    for why, count in counts.items():
        log.info("left out %d of %d rows: %s", count, read, why)
    log.info("wrote %s: %d rows from %s", table, rows, path)


if __name__ == "__main__":
    run(main, "load")
