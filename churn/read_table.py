"""Reading a table from a file by its suffix; what cannot be read is one line that says why and the way out."""

import codecs
import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from churn.blocks import BLOCK
from churn.query import SNAPSHOT, table_file
from churn.read_csv import Options, headers_as_they_are, read_csv, read_csv_parts
from churn.script import InputError

OLE = bytes.fromhex("d0cf11e0a1b11ae1")  # how files of old Office programs begin, and encrypted ones of any

# a reader returns Any: with some options pandas gives something else than one frame


def read_parquet(path: Path | BytesIO, options: Options) -> Any:
    # nullable types: else whole numbers above 2^53 lose digits beside a missing one
    frame = pd.read_parquet(path, **Options({"dtype_backend": "numpy_nullable"}) | options)
    if not isinstance(frame.index, pd.RangeIndex):  # pandas keeps an id there
        frame = frame.reset_index()
    for header in frame:
        if isinstance(frame[header].dtype, pd.CategoricalDtype):
            frame[header] = frame[header].astype(frame[header].cat.categories.dtype)
        if frame[header].dtype == object and isinstance(frame[header].dropna().head(1).squeeze(), bytes):
            frame[header] = frame[header].str.decode("utf-8")
        if frame[header].dtype == "Float32":  # by its text: 1.1 of four bytes is 1.100000023841858 of eight
            exact = frame[header].map(lambda cell: float(str(np.float32(cell))), na_action="ignore")
            frame[header] = exact.astype("Float64")
    return flat(frame)


def read_parquet_parts(path: Path, options: Options, rows: int) -> Iterator[pd.DataFrame]:
    """The table of a Parquet file in frames of so many rows, in one where columns hold objects or lists."""
    with parquet.ParquetFile(path) as file:
        if any(pa.types.is_nested(field.type) for field in file.schema_arrow):
            yield read_parquet(path, options)
            return
        for batch in file.iter_batches(rows):
            parquet.write_table(pa.Table.from_batches([batch]), part := BytesIO())
            yield read_parquet(part, options)


def read_jsonl(path: Path, options: Options) -> Any:
    with path.open(encoding=options.get("encoding", "utf-8-sig")) as lines:
        return of_records(path, [_parsed(path, line, n) for n, line in enumerate(lines, 1) if line.strip()], options)


def read_json(path: Path, options: Options) -> Any:
    content = _parsed(path, path.read_text(encoding=options.get("encoding", "utf-8-sig")), 1)
    for key in str(options["record_path"]).split(".") if "record_path" in options else ():
        if not isinstance(content, dict) or key not in content:
            raise InputError(f"{path}: data.options.record_path {options['record_path']!r} is not there")
        content = content[key]
    if isinstance(content, dict):
        lists = [key for key, value in content.items() if isinstance(value, list)]
        way_out = (
            f"say where its rows are: data.options.record_path: {lists[0]}" if lists else "expected a list of them"
        )
        raise InputError(f"{path} is one object; {way_out}")
    return of_records(path, content, {key: value for key, value in options.items() if key != "record_path"})


def of_records(path: Path, rows: list[Any], options: Options) -> pd.DataFrame:
    """Objects as rows, those inside them by dotted names: {"bill": {"spend": 1}} has the header bill.spend."""
    if unknown := set(options) - {"encoding"}:
        raise TypeError(f"unexpected keyword {sorted(unknown)[0]!r}")
    if wrong := next((n for n, row in enumerate(rows, 1) if not isinstance(row, dict)), None):
        raise InputError(
            f"{path}: row {wrong} is {str(rows[wrong - 1])[:60]}, not an object with a key for each column"
        )
    # object: else pandas makes whole numbers beside a missing one to floats
    return pd.DataFrame([dict(_dotted(row)) for row in rows], dtype=object)


def _dotted(row: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns that hold objects become a column for each of their keys, by dotted names."""
    parts = []
    for header in frame:
        cells = frame[header]
        if cells.dtype == object and cells.map(lambda cell: isinstance(cell, dict)).any():
            inside = [dict(_dotted(cell, f"{header}.")) if isinstance(cell, dict) else {} for cell in cells]
            parts.append(pd.DataFrame(inside, cells.index, dtype=object))
        else:
            parts.append(cells)
    return pd.concat(parts, axis=1)


def _parsed(path: Path, text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is no JSON: {error.msg} in line {line + error.lineno - 1}") from None


def read_xlsx(path: Path, options: Options) -> Any:
    if _start(path).startswith(OLE):
        raise InputError(f"{path} has a password or is of Excel before 2007; save it as .xlsx without a password")
    # the engine: else pandas chooses one by the content, which may not be installed
    options = Options({"dtype": object, "keep_default_na": False, "engine": "openpyxl"}) | options
    frame = pd.read_excel(path, **options)
    if isinstance(frame, pd.DataFrame):
        _refuse_formulas(path, options, frame)
        frame = headers_as_they_are(
            frame, lambda: pd.read_excel(path, **options | {"header": None, "nrows": 1}), options
        )
    return frame


READERS: dict[str, Callable[[Path, Options], Any]] = {
    ".csv": read_csv,
    ".csv.gz": read_csv,
    ".csv.zip": read_csv,
    ".tsv": read_csv,
    ".txt": read_csv,
    ".parquet": read_parquet,
    ".xlsx": read_xlsx,
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".sql": read_parquet,  # of its snapshot
}
PARTS = {read_csv: read_csv_parts, read_parquet: read_parquet_parts}
LARGE = 2**26  # bytes of a file that is read in parts
UNDIVIDED = {"chunksize", "iterator", "skipfooter", "columns", "filters", "engine"}  # options that go not with parts
# of pandas' options, those that change nothing where every cell is read as text
USELESS = ("decimal", "thousands", "true_values", "false_values", "float_precision")


def read_table(path: Path, options: Options, snapshot: Path = SNAPSHOT) -> pd.DataFrame:
    """The table in `path`, read by its suffix; what cannot be read as a table is an InputError that says why.

    The rows of a query (.sql) are in its `snapshot`, which the stage extract wrote.
    """
    reader = reader_of(path, options)
    with explaining(path, options):
        frame = reader(table_file(path, snapshot), options)
    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"{path}: data.options {options} read {type(frame).__name__}, not one table")
    if frame.empty:
        raise InputError(f"{path} has a header of {frame.shape[1]} columns but no rows")
    return frame


def read_parts(path: Path, options: Options, snapshot: Path = SNAPSHOT) -> Iterator[pd.DataFrame]:
    """The table as `read_table` gives it; a large one of CSV or Parquet in parts, which fit into memory."""
    reader, file = reader_of(path, options), table_file(path, snapshot)
    if reader not in PARTS or file.stat().st_size <= LARGE or set(options) & UNDIVIDED:
        yield read_table(path, options, snapshot)
        return
    with explaining(path, options):
        yield from PARTS[reader](file, options, BLOCK)


def reader_of(path: Path, options: Options) -> Callable[[Path, Options], Any]:
    """The reader for the suffix of `path`; an InputError where there is none, or where the file can't be its table."""
    reader = next((reader for suffix, reader in READERS.items() if path.name.lower().endswith(suffix)), None)
    if useless := [option for option in USELESS if option in options]:
        raise InputError(
            f"{path}: data.options.{useless[0]} would change nothing: cells are read as text; columns of the schema "
            "take decimal, thousands, positive, negative"
        )
    if reader is None:
        raise InputError(f"{path}: no reader for this suffix; there are readers for {list(READERS)}")
    if not path.is_file():
        raise InputError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; set data.path to a table")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; expected a header and one row per customer")
    if path.suffix.lower() in {".csv", ".tsv", ".txt", ".json", ".jsonl"} and "encoding" not in options:
        start = _start(path)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise InputError(f"{path} is not utf-8 but utf-16: set data.options.encoding to utf-16")
        if b"\0" in start:
            raise InputError(f"{path} is not text: it holds zero bytes; is it of another format than its suffix says?")
    return reader


@contextmanager
def explaining(path: Path, options: Options) -> Iterator[None]:
    """What readers raise, as one line."""
    given = f" with data.options {options}" if options else ""
    try:
        yield
    except InputError:
        raise
    except TypeError as error:
        raise InputError(f"{path}: data.options {options} do not fit the pandas reader: {error}") from None
    except (ValueError, OSError, EOFError, BadZipFile, LookupError, ImportError, csv.Error) as error:
        # ValueError covers pandas' ParserError and EmptyDataError, json's and arrow's errors
        raise InputError(f"{path} cannot be read as a table{given}: {' '.join(str(error).split())}") from None


def _refuse_formulas(path: Path, options: Options, frame: pd.DataFrame) -> None:
    """A program that writes formulas without their values leaves cells that look empty."""
    # keep_default_na: empty cells come as NaN or as ""
    empty = [header for header in frame if frame[header].isin(["", None]).all() or frame[header].isna().all()]
    if not empty:
        return
    from openpyxl import load_workbook  # a fifth of a second

    sheet = options.get("sheet_name", 0)
    books = [load_workbook(path, read_only=True, data_only=data_only) for data_only in (False, True)]
    sheets = [book[sheet] if isinstance(sheet, str) else book.worksheets[sheet] for book in books]
    rows = zip(*(one.iter_rows() for one in sheets), strict=True)
    pairs = (pair for row in rows for pair in zip(*row, strict=True))
    formula = next((cell for cell, value in pairs if cell.data_type == "f" and value.value is None), None)
    if formula is not None:
        raise InputError(
            f"{path}: column {empty[0]!r} holds formulas without values, e.g. {str(formula.value)[:40]} in "
            f"{formula.coordinate}; open the file in a spreadsheet program and save it, or save the sheet as .csv"
        )


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(65536)
