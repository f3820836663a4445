"""One customer's rows in folders of Parquet files, those of `python -m serve.score` above all: counted and removed.

A file is written anew beside itself and takes its own place. Of scored files the notes and the manifest are brought to
what the files then hold; the manifest's summaries stay, which are sums over all customers.
"""

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from churn.release import file_hash
from churn.schema import ID, as_text
from churn.scored import MANIFEST
from churn.script import InputError, write_text

NOTES, WHY = b"churn_scores", "why_refused"  # as serve/score has them
LEFT_OUT = "left out: "


def count_rows(folder: Path, customer_id: str) -> int:
    """The customer's rows in all Parquet files below the folder."""
    return sum(int(rows_of(table, customer_id).sum()) for path in files(folder) for table in row_groups(path))


def remove_rows(folder: Path, customer_id: str) -> None:
    """Remove them; an InputError where a run writes to the folder."""
    with reserved(folder):
        for leftover in folder.rglob(".*.parquet.*.tmp"):  # of a run that was killed
            leftover.unlink()
        # refused rows first: the notes of the scores have their number
        for path in sorted(files(folder), key=lambda path: (not path.name.startswith("rejected-"), path)):
            without(path, customer_id)
        if (folder / MANIFEST).is_file():
            renew_manifest(folder)


@contextmanager
def reserved(folder: Path) -> Iterator[None]:
    """The lock that a run takes, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InputError(f"{folder}: a run is writing to it; wait for its end") from None
    finally:
        os.close(descriptor)


def files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name one that holds scores")
    return sorted(folder.rglob("*.parquet"))


def row_groups(path: Path) -> Iterator[pa.Table]:
    try:
        with parquet.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                yield file.read_row_group(number)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} can't be read: {' '.join(str(error).split())[:200]}") from None


def rows_of(table: pa.Table, customer_id: str) -> np.ndarray:
    """(n,) whether a row is the customer's.

    Refused rows stand there as they came, under the table's own headers: one is the customer's if any cell is the id.
    """
    own = np.zeros(len(table), bool)
    for name in [ID] if ID in table.column_names else table.column_names:
        cells = table[name]
        if pa.types.is_nested(cells.type):
            own |= np.array([repr(customer_id) in repr(value) for value in cells.to_pylist()], bool)
            continue
        same = [value for value in pc.unique(cells).to_pylist() if value is not None and as_text(value) == customer_id]
        if same:
            own |= pc.is_in(cells, pa.array(same, cells.type)).to_numpy(zero_copy_only=False).astype(bool)
    return own


def without(path: Path, customer_id: str) -> None:
    """Write the file without the customer, and its notes, if it has any, as its folder now is."""
    with parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        metadata = {key: value for key, value in (schema.metadata or {}).items() if key != NOTES}
        kept = file.metadata.num_rows - sum(int(rows_of(table, customer_id).sum()) for table in row_groups(path))
        notes = (file.metadata.metadata or {}).get(NOTES)
        renewed = notes and json.dumps(recounted(json.loads(notes), path.parent, kept)).encode()
        if kept == file.metadata.num_rows and renewed == notes:
            return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with parquet.ParquetWriter(temporary, schema.with_metadata(metadata)) as writer:
            for table in row_groups(path):
                writer.write_table(
                    table.filter(pa.array(~rows_of(table, customer_id))).replace_schema_metadata(metadata)
                )
            if renewed:
                writer.add_key_value_metadata({NOTES: renewed})
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def recounted(entry: dict[str, Any], folder: Path, scored: int) -> dict[str, Any]:
    """The notes of a file of scores: how many rows it and its file of refused rows hold, and that one's sha256."""
    refused, left_out, rejected = 0, Counter[str](), entry["rejected_file"]
    if rejected:
        for table in row_groups(folder / rejected["file"]):
            why = table[WHY].to_pylist()
            left_out.update(text.removeprefix(LEFT_OUT) for text in why if text.startswith(LEFT_OUT))
            refused += sum(not text.startswith(LEFT_OUT) for text in why)
        rejected = {"file": rejected["file"], "sha256": file_hash(folder / rejected["file"])}
    rows = scored + refused + left_out.total()
    counts = {"rows": rows, "scored": scored, "rejected": refused, "left_out": dict(sorted(left_out.items()))}
    return {**entry, **counts, "rejected_file": rejected}


def renew_manifest(folder: Path) -> None:
    """Say of each file what it now holds; where a process was killed in between, too."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    pieces = []
    for piece in manifest["pieces"]:
        path = folder / piece["file"]
        notes = json.loads(parquet.read_metadata(path).metadata[NOTES])
        pieces.append({"file": piece["file"], "sha256": file_hash(path), **notes})
    totals = {key: sum(piece[key] for piece in pieces) for key in ("rows", "scored", "rejected")}
    renewed = {**manifest, **totals, "pieces": pieces}
    if renewed != manifest:
        write_text(folder / MANIFEST, json.dumps(renewed, allow_nan=False) + "\n")


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
