"""Tables beside the scores, by customer: more columns to plan with, and lists of customers to leave out."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from churn.script import InputError
from churn.text import listed, quoted

KINDS = "a Parquet file or folder (.parquet), or a CSV file (.csv)"


def headers_of(path: Path) -> list[str]:
    with readable(path):
        if is_parquet(path):
            return list(parquet.ParquetDataset(path).schema.names)
        return list(csv.open_csv(path).schema.names)


def read_columns(path: Path, id_header: str, names: Sequence[str], ids: pa.ChunkedArray) -> pa.Table:
    """The columns of these names in the order of the ids (n,), which differ; null where the table has no such id."""
    if lacking := [name for name in (id_header, *names) if name not in (has := headers_of(path))]:
        hint = "; name its id column with --id" if id_header in lacking else ""
        raise InputError(f"{path} has no column {listed(lacking)}; it has {listed(has)}{hint}")
    # the ids first, and alone: what finds them takes as much memory as all the columns
    rows = rows_of(ids, read(path, [id_header], id_header)[id_header], path)
    return read(path, names, id_header).take(pa.array(rows, mask=rows < 0))


def read(path: Path, names: Sequence[str], id_header: str) -> pa.Table:
    """The columns of these names; ids as texts, other texts by their different values."""
    with readable(path):
        if is_parquet(path):
            table = parquet.ParquetDataset(path, read_dictionary=[n for n in names if n != id_header]).read(names)
        else:
            options = csv.ConvertOptions(include_columns=names, column_types={id_header: pa.string()})
            table = csv.read_csv(path, convert_options=options).select(names)
        if id_header in names:
            table = table.set_column(0, id_header, table[id_header].cast(pa.string()))
        return table


def rows_of(ids: pa.ChunkedArray, of_table: pa.ChunkedArray, path: Path) -> np.ndarray:
    """int64 (n,), where each of the ids stands in a table's, which must have it once; -1: nowhere."""
    at = pc.index_in(of_table, value_set=ids)
    there, found = np.flatnonzero(at.is_valid().to_numpy()), at.drop_null().to_numpy()
    times = np.bincount(found, minlength=len(ids))
    if (again := np.flatnonzero(times > 1)).size:
        first, others = int(again[0]), f", as have {len(again) - 1} more" if len(again) > 1 else ""
        name = quoted(ids[first].as_py())
        raise InputError(f"{path}: customer {name} has {times[first]} rows{others}; leave one row for each customer")
    rows = np.full(len(ids), -1)
    rows[found] = there
    return rows


def read_ids(path: Path, id_header: str) -> pa.ChunkedArray:
    """Customers of a list: a text with an id on each line, or the ids of a table."""
    if path.suffix != ".txt":
        if id_header not in (has := headers_of(path)):
            raise InputError(f"{path} has no column {quoted(id_header)}; it has {listed(has)}")
        return read(path, [id_header], id_header)[id_header]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from None
    return pa.chunked_array([[line.strip() for line in lines if line.strip()]], pa.string())


def is_parquet(path: Path) -> bool:
    if path.suffix == ".parquet" or path.is_dir():
        return True
    if path.suffix == ".csv":
        return False
    raise InputError(f"{path} ends in {path.suffix!r}; expected {KINDS}")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read: {' '.join(str(error).split())[:300]}") from None


def as_numbers(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """float64 (n,), NaN where null."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)):
        raise InputError(f"column {quoted(name)} holds {column.type}, not numbers; name another one")
    return column.cast(pa.float64()).to_numpy()
