"""Reading a table from a file by its suffix; what cannot be read is one line that says why and the way out."""

import csv
import gzip
import warnings
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

import pandas as pd
from pandas.errors import ParserWarning

from churn.script import InputError

Options = dict[str, Any]

OLE = bytes.fromhex("d0cf11e0a1b11ae1")  # how files of old Office programs begin, and encrypted ones of any

# a reader returns Any: with some options pandas gives something else than one frame


def read_csv(path: Path, options: Options) -> Any:
    # index_col: else a header with one name too few would silently shift every column
    options = Options({"dtype": "str", "keep_default_na": False, "index_col": False}) | options
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", ParserWarning)
        try:
            frame = pd.read_csv(path, **options)
        except UnicodeDecodeError as error:
            raise InputError(_undecodable(path, options, error)) from None
    if isinstance(frame, pd.DataFrame):
        _refuse_short_rows(path, options, frame)
    # that a slower engine is taken is no matter
    if lost := [str(one.message) for one in warned if "Falling back to the 'python' engine" not in str(one.message)]:
        raise ValueError(lost[0])
    return frame


def read_jsonl(path: Path, options: Options) -> Any:
    # precise_float: else the last bits of long numbers are lost
    exact = Options({"lines": True, "dtype": False, "convert_dates": False, "precise_float": True})
    return pd.read_json(path, **exact | options)


def read_xlsx(path: Path, options: Options) -> Any:
    if _start(path).startswith(OLE):
        raise InputError(f"{path} has a password or is of Excel before 2007; save it as .xlsx without a password")
    # the engine: else pandas chooses one by the content, which may not be installed
    return pd.read_excel(path, **Options({"dtype": object, "keep_default_na": False, "engine": "openpyxl"}) | options)


READERS: dict[str, Callable[[Path, Options], Any]] = {
    ".csv": read_csv,
    ".csv.gz": read_csv,
    ".csv.zip": read_csv,
    ".parquet": lambda path, options: pd.read_parquet(path, **options),
    ".xlsx": read_xlsx,
    ".jsonl": read_jsonl,
}


def read_table(path: Path, options: Options) -> pd.DataFrame:
    """The table in `path`, read by its suffix; what cannot be read as a table is an InputError that says why."""
    reader = next((reader for suffix, reader in READERS.items() if path.name.lower().endswith(suffix)), None)
    if reader is None:
        raise InputError(f"{path}: no reader for this suffix; there are readers for {list(READERS)}")
    if not path.is_file():
        raise InputError(f"{path} is {'a folder' if path.is_dir() else 'missing'}; set data.path to a table")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; expected a header and one row per customer")
    if path.suffix.lower() in {".csv", ".jsonl"} and "encoding" not in options and b"\0" in _start(path):
        raise InputError(f"{path} is not text: it holds zero bytes; is it of another format than its suffix says?")
    given = f" with data.options {options}" if options else ""
    try:
        frame = reader(path, options)
    except InputError:
        raise
    except TypeError as error:
        raise InputError(f"{path}: data.options {options} do not fit the pandas reader: {error}") from None
    except (ValueError, OSError, EOFError, BadZipFile, LookupError, ImportError, csv.Error) as error:
        # ValueError covers pandas' ParserError and EmptyDataError, json's and arrow's errors
        raise InputError(f"{path} cannot be read as a table{given}: {' '.join(str(error).split())}") from None
    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"{path}: data.options {options} read {type(frame).__name__}, not one table")
    if frame.empty:
        raise InputError(f"{path} has a header of {frame.shape[1]} columns but no rows")
    return frame


def separator_hint(headers: list[str]) -> str:
    if len(headers) == 1 and (found := [s for s in (";", "\t", "|", ",") if s in headers[0]]):
        return f"its only column is {headers[0][:60]!r}: set data.options.sep to {found[0]!r}"
    return f"it has {headers[:8]}: check data.schema and data.options.header"


def _opened(path: Path) -> IO[bytes] | gzip.GzipFile:
    """The bytes of `path`, unpacked."""
    match path.suffix.lower():
        case ".gz":
            return gzip.open(path)
        case ".zip":
            archive = ZipFile(path)
            return archive.open(archive.namelist()[0])
    return path.open("rb")


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(65536)


def _undecodable(path: Path, options: Options, error: UnicodeDecodeError) -> str:
    encoding = options.get("encoding", "utf-8")
    sentence = f"{path} is not {encoding}: byte 0x{error.object[error.start]:02x} ({error.reason})"
    frame: Any = pd.read_csv(path, **Options(options | {"encoding": "latin-1"}))
    for header in frame:
        cells = frame[header].dropna().astype(str)
        foreign = cells[~cells.map(str.isascii)]
        if len(foreign):
            example = f"in latin-1 the first is {foreign.iloc[0]!r}"
            sentence += f"; column '{header}' has {len(foreign)} such cells, {example}"
            break
    return f"{sentence}; set data.options.encoding, for instance to latin-1"


def _refuse_short_rows(path: Path, options: Options, frame: pd.DataFrame) -> None:
    """pandas fills rows that end early with blanks; here they are a mistake of the file."""
    if set(options) - {"dtype", "keep_default_na", "index_col", "sep", "delimiter", "encoding", "quotechar"}:
        return
    separator = options.get("sep", options.get("delimiter", ",")) or ""
    if len(separator) != 1:  # a pattern, or left to pandas to find
        return
    with TextIOWrapper(_opened(path), encoding=options.get("encoding", "utf-8-sig"), newline="") as lines:
        rows = csv.reader(lines, delimiter=separator, quotechar=options.get("quotechar", '"'))
        width = len(next(row for row in rows if row))
        short = [(rows.line_num, row) for row in rows if row and len(row) != width]
    if short:
        line, row = short[0]
        cause = "; the file seems to be cut off" if len(short) == 1 and line == rows.line_num else ""
        raise InputError(
            f"{path}: {len(short)} rows have not the header's {width} fields, first line {line} with {len(row)}; "
            f"it ends in {row[-1]!r}, column '{frame.columns[min(len(row), width) - 1]}'{cause}"
        )
