"""Parquet tables that may be larger than memory: written and read block by block, or read a column at a time."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

BLOCK = 100_000  # rows


class Table(Protocol):
    """What a frame and a `ColumnsOf` a file share."""

    def __len__(self) -> int:
        """Rows."""

    def __iter__(self) -> Iterator[str]: ...

    def __contains__(self, name: object, /) -> bool: ...

    def __getitem__(self, name: str, /) -> pd.Series: ...


class ColumnsOf:
    """The table in a Parquet file, of which each column is read whenever it is asked for."""

    def __init__(self, path: Path):
        with parquet.ParquetFile(path) as file:
            self._path, self._names, self._rows = path, file.schema_arrow.names, file.metadata.num_rows

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> pd.Series:
        with parquet.ParquetFile(self._path) as file:  # half the time of pd.read_parquet, which looks for a data set
            return file.read(columns=[name]).to_pandas()[name]


class RowsOf:
    """Those rows of a table for which `kept` (n,) holds."""

    def __init__(self, table: Table, kept: np.ndarray):
        self._table, self._kept = table, kept

    def __len__(self) -> int:
        return int(self._kept.sum())

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __contains__(self, name: object) -> bool:
        return name in self._table

    def __getitem__(self, name: str) -> pd.Series:
        return self._table[name][self._kept]


def read_blocks(path: Path, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
    """The table in frames of at most BLOCK rows, in one without rows where it has none."""
    with parquet.ParquetFile(path) as file:
        if not file.metadata.num_rows:
            yield file.read(columns=columns).to_pandas()
        for batch in file.iter_batches(BLOCK, columns=columns):
            yield pa.Table.from_batches([batch]).to_pandas()


def write_blocks(path: Path, frames: Iterable[pd.DataFrame]) -> int:
    """Frames with the same columns as one Parquet table, texts of categories as texts; how many rows they have."""
    rows, writer = 0, None
    with ExitStack() as stack:
        for frame in frames:
            texts = {name: "str" for name in frame if isinstance(frame[name].dtype, pd.CategoricalDtype)}
            table = pa.Table.from_pandas(frame.astype(texts), preserve_index=False)
            if writer is None:
                writer = stack.enter_context(parquet.ParquetWriter(path, table.schema))
            writer.write_table(table)
            rows += len(frame)
    return rows


def blocks_of(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """A frame in blocks of BLOCK rows."""
    for start in range(0, max(1, len(frame)), BLOCK):
        yield frame.iloc[start : start + BLOCK]
