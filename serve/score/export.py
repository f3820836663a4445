"""Scored files as CSV, for spreadsheets: python -m serve.score.export FOLDER OUT

OUT gets scores.csv and, where rows were refused or left out, rejected.csv with the reasons. A summary is printed
as JSON.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from churn.scored import read_manifest
from churn.script import replacing, run
from serve.score.piece import WHY

BATCH = 50_000  # rows
SHOWN = 20  # refused rows of the summary
LEFT_OUT = "left out"


def export(folder: Path, out: Path) -> dict[str, Any]:
    """Write the files; the counts, which columns rows were refused for, and the first of these rows."""
    manifest = read_manifest(folder)
    pieces = manifest["pieces"]
    write(out / "scores.csv", [folder / piece["file"] for piece in pieces])
    refused = [folder / piece["rejected_file"]["file"] for piece in pieces if piece["rejected_file"]]
    if refused:
        write(out / "rejected.csv", refused)
    first = [*islice(rows(refused), SHOWN)]
    return {
        **{key: manifest[key] for key in ("champion", "rows", "scored", "rejected")},
        "left_out": sum(sum(piece["left_out"].values()) for piece in pieces),
        "reasons": dict(columns_refused(refused).most_common()),
        "head": names_of(refused[0]) if refused else [],
        "first": first,
    }


def write(path: Path, files: Sequence[Path]) -> None:
    schema = pa.schema([(name, pa.string()) for name in names_of(files[0])])
    with replacing(path) as temporary, csv.CSVWriter(temporary, schema) as writer:
        for batch in batches(files):
            writer.write(batch.cast(schema))


def names_of(file: Path) -> list[str]:
    """Columns that a CSV can hold."""
    return [field.name for field in parquet.read_schema(file) if not pa.types.is_nested(field.type)]


def batches(files: Sequence[Path]) -> Iterator[pa.Table]:
    for path in files:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH, columns=names_of(files[0])):
                yield pa.Table.from_batches([batch])


def rows(files: Sequence[Path]) -> Iterator[list[str | None]]:
    for batch in batches(files):
        columns = [column.cast(pa.string()).to_pylist() for column in batch.columns]
        yield from map(list, zip(*columns, strict=True))


def columns_refused(files: Sequence[Path]) -> Counter[str]:
    """Column -> rows that were refused for its value; rows that were left out stand under that."""
    counts: Counter[str] = Counter()
    for path in files:
        with parquet.ParquetFile(path) as file:
            known = {*file.schema_arrow.names, LEFT_OUT}
            for batch in file.iter_batches(BATCH, columns=[WHY]):
                for text in batch.column(0).to_pylist():
                    counts.update({part.partition(": ")[0] for part in text.split("; ")} & known)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m serve.score.export", description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="of scored files")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for the CSV files")
    given = parser.parse_args()
    sys.stdout.write(json.dumps(export(given.folder, given.out)) + "\n")


if __name__ == "__main__":
    run(main, "serve.score.export", mistake=2)
