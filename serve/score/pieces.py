"""The input in pieces: row groups of Parquet files, ranges of CSV files, which workers score independently."""

import codecs
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from typing import Literal

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from churn.script import InputError
from serve.score.files import File, files_of, kind_of, packing, suffix_of

ROWS = 500_000  # of a piece of Parquet, at least, as far as the file has them
BYTES = 2**26  # of a piece of CSV, about
BATCH = 2**17  # rows that are scored at once; other batches could change the last digit
ROW_BYTES = 2**23  # of a row of CSV, at most
SCANNED = 2**23  # bytes at once, in search of a row's end
WITHOUT_VIEWS = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}  # views can't be taken or compared
QUOTE, LINE, RETURN = ord('"'), ord("\n"), ord("\r")


@dataclass(frozen=True)
class Format:
    """How the CSV files are written."""

    separator: str = ""  # empty: a tab in .tsv, else a comma
    encoding: str = "utf-8"


@dataclass(frozen=True)
class Piece:
    """Row groups, or bytes, from start up to stop of one file."""

    number: int  # in the order of the input
    file: File
    source: str  # what the manifest calls it: the path below the input
    kind: Literal["parquet", "csv"]
    start: int
    stop: int
    headers: tuple[str, ...] = ()
    form: Format = Format()

    def batches(self, as_levels: Collection[str] = ()) -> Iterator[pa.Table]:
        """The rows, in their order, in tables of at most BATCH rows, at least one; texts where the file has no types.

        Text columns of Parquet with these headers come as dictionaries.
        """
        try:
            tables = self._parquet(as_levels) if self.kind == "parquet" else self._csv()
            first = next(tables, None)
            yield self._empty() if first is None else first
            yield from tables
        except (pa.ArrowInvalid, pa.ArrowTypeError, OSError, EOFError, UnicodeDecodeError) as error:
            raise InputError(f"{self.file} can't be read: {reason(error)}") from None

    def content(self) -> str:
        """sha256 of the bytes that it is read from."""
        digest = sha256(repr((self.headers, self.form)).encode())
        with self.file.open() as file:
            start, stop = self._range if self.kind == "parquet" else (self.start, self.stop)
            file.seek(start)
            while start < stop and (block := file.read(min(SCANNED, stop - start))):
                digest.update(block)
                start += len(block)
        return digest.hexdigest()

    @cached_property
    def _range(self) -> tuple[int, int]:
        """The bytes of the row groups."""
        with self.file.open() as stream:
            metadata = parquet.read_metadata(stream)
        groups = [metadata.row_group(i) for i in range(self.start, self.stop)]
        chunks = [group.column(j) for group in groups for j in range(group.num_columns)]
        starts = [chunk.dictionary_page_offset or chunk.data_page_offset for chunk in chunks]
        ends = [start + chunk.total_compressed_size for start, chunk in zip(starts, chunks, strict=True)]
        return min(starts, default=0), max(ends, default=0)

    def _empty(self) -> pa.Table:
        if self.kind == "parquet":
            with self.file.open() as stream:
                return parquet.read_schema(stream).empty_table()
        return pa.table([pa.array([], pa.string())] * len(self.headers), self.headers)

    def _parquet(self, as_levels: Collection[str]) -> Iterator[pa.Table]:
        with self.file.open() as stream:
            metadata = parquet.read_metadata(stream)
            levels = texts_of(metadata.schema.to_arrow_schema(), as_levels)
            file = parquet.ParquetFile(
                stream, metadata=metadata, read_dictionary=levels, pre_buffer=self.file.is_remote
            )
            for batch in file.iter_batches(BATCH, row_groups=list(range(self.start, self.stop)), use_threads=False):
                types = [field.with_type(WITHOUT_VIEWS.get(field.type, field.type)) for field in batch.schema]
                yield pa.Table.from_batches([batch]).cast(pa.schema(types, batch.schema.metadata))

    def _csv(self) -> Iterator[pa.Table]:
        if self.start >= self.stop:  # a header alone
            return
        with self.file.open() as raw:
            if compression := packing(self.file):
                stream = pa.input_stream(raw, compression=compression)
            else:
                stream = raw.get_stream(self.start, self.stop - self.start)
            yield from self._rows(stream)

    def _rows(self, stream: pa.NativeFile) -> Iterator[pa.Table]:
        """Of a CSV file's bytes."""
        options = csv.ReadOptions(
            column_names=self.headers if self.start else (),  # the first piece has the header
            encoding=self.form.encoding,
            use_threads=False,
            block_size=ROW_BYTES,
        )
        texts = csv.ConvertOptions(column_types=dict.fromkeys(self.headers, pa.string()), strings_can_be_null=False)
        waiting: list[pa.RecordBatch] = []
        for batch in csv.open_csv(stream, options, parsing(self.file, self.form), texts):
            waiting.append(batch)
            while sum(map(len, waiting)) >= BATCH:  # the reader's own batches hang on the bytes of a row
                table = pa.Table.from_batches(waiting).combine_chunks()
                yield table.slice(0, BATCH)
                waiting = table.slice(BATCH).to_batches()
        if waiting:
            yield pa.Table.from_batches(waiting)


def pieces_of(given: str, form: Format) -> list[Piece]:
    """The pieces of a file, of a folder's files or of those that a pattern names, in the order of their names."""
    files = files_of(given)
    base = os.path.commonpath([file.path.parent for file in files])
    found: list[Piece] = []
    for file in files:
        source = str(file.path.relative_to(base))
        for start, stop, headers in spans(file, form):
            found.append(Piece(len(found), file, source, kind_of(file), start, stop, headers, form))
    return found


def spans(file: File, form: Format) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """(start, stop, headers) of a file's pieces."""
    if (size := file.size) == 0:
        raise InputError(f"{file} is empty; expected a header and a row for each customer")
    try:
        if kind_of(file) == "parquet":
            with file.open() as stream:
                metadata = parquet.read_metadata(stream)
            headers = tuple(metadata.schema.to_arrow_schema().names)
            yield from ((start, stop, headers) for start, stop in grouped(metadata))
            return
        options, parse = (
            csv.ReadOptions(encoding=form.encoding, use_threads=False, block_size=ROW_BYTES),
            parsing(file, form),
        )
        with file.open() as raw, pa.input_stream(raw, compression=packing(file)) as stream:
            first = stream.read(SCANNED)
        if len(first) < SCANNED and not {LINE, RETURN} & {*first}:  # a header alone, which Arrow reads as no line
            table = csv.read_csv(BytesIO(first + b"\n"), options, parse)
            yield size, size, tuple(table.column_names)
            return
        with file.open() as raw, pa.input_stream(raw, compression=packing(file)) as stream:
            headers = tuple(csv.open_csv(stream, options, parse).schema.names)
        if packing(file) or '"\n'.encode(form.encoding) != b'"\n':
            yield 0, size, headers
        else:
            yield from ((start, stop, headers) for start, stop in ranges(file, ord(parse.delimiter)))
    except (pa.ArrowInvalid, OSError, EOFError, LookupError, UnicodeError) as error:
        raise InputError(f"{file} can't be read: {reason(error)}") from None


def reason(error: Exception) -> str:
    """In one line."""
    words = " ".join(str(error).split())[:300]
    too_long = f"a row of more than {ROW_BYTES >> 20} MB; shorten it, or close a quote that has no end"
    return too_long if "straddling object" in words else words


def grouped(metadata: parquet.FileMetaData) -> Iterator[tuple[int, int]]:
    """Consecutive row groups with at least ROWS rows together, the last ones perhaps with fewer."""
    start, rows = 0, 0
    for i in range(metadata.num_row_groups):
        rows += metadata.row_group(i).num_rows
        if rows >= ROWS:
            yield start, i + 1
            start, rows = i + 1, 0
    if rows or not start:
        yield start, metadata.num_row_groups


def ranges(file: File, separator: int) -> Iterator[tuple[int, int]]:
    """Ranges of about BYTES bytes, each of whole rows; an InputError where a quoted cell has no end.

    Counts of quotes tell rows apart as long as each opening one begins its cell. From a quote inside a cell on, where
    readers take it as it is, the rest of the file is one range.
    """
    begun, quotes, last = 0, 0, LINE
    with file.open() as stream:
        place = stream.seek(len(codecs.BOM_UTF8) if stream.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else 0)
        while block := stream.read(SCANNED):
            content = np.frombuffer(block, "u1")
            found = np.flatnonzero(content == QUOTE)
            before = np.where(found, content[found - 1], last)[quotes % 2 :: 2]
            if not np.isin(before, [separator, LINE, RETURN, QUOTE]).all():
                quotes = 0
                break
            ends = np.flatnonzero(content == LINE)
            ends = ends[(np.searchsorted(found, ends) + quotes) % 2 == 0]  # outside quotes
            if place + len(block) - begun >= BYTES and len(ends):
                yield begun, place + int(ends[-1]) + 1
                begun = place + int(ends[-1]) + 1
            quotes, place, last = quotes + len(found), place + len(block), int(content[-1])
    if quotes % 2:
        raise InputError(f"{file}: a quoted cell has no end; close its quote")
    if begun < file.size:
        yield begun, file.size


def parsing(file: File, form: Format) -> csv.ParseOptions:
    separator = form.separator or ("\t" if suffix_of(file) == ".tsv" else ",")
    return csv.ParseOptions(delimiter=separator, newlines_in_values=True)


def texts_of(schema: pa.Schema, headers: Collection[str]) -> list[str]:
    """The text columns with these headers."""
    is_text = (pa.types.is_string, pa.types.is_large_string)
    return [f.name for f in schema if f.name in headers and any(kind(f.type) for kind in is_text)]
