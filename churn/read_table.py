"""Reading a table from a file by its suffix; what cannot be read is one line that says why and the way out."""

import codecs
import csv
import gzip
import json
import re
import warnings
from collections.abc import Callable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

import pandas as pd
from pandas.errors import ParserWarning

from churn.query import SNAPSHOT, table_file
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
        frame = _with_headers_as_they_are(
            frame, lambda: pd.read_csv(path, **options | {"header": None, "nrows": 1}), options
        )
    # that a slower engine is taken is no matter
    if lost := [str(one.message) for one in warned if "Falling back to the 'python' engine" not in str(one.message)]:
        raise ValueError(lost[0])
    return frame


def read_parquet(path: Path, options: Options) -> Any:
    # nullable types: else whole numbers above 2^53 lose digits beside a missing one
    frame = pd.read_parquet(path, **Options({"dtype_backend": "numpy_nullable"}) | options)
    if not isinstance(frame.index, pd.RangeIndex):  # pandas keeps an id there
        frame = frame.reset_index()
    for header in frame:
        if isinstance(frame[header].dtype, pd.CategoricalDtype):
            frame[header] = frame[header].astype(frame[header].cat.categories.dtype)
        if frame[header].dtype == object and isinstance(frame[header].dropna().head(1).squeeze(), bytes):
            frame[header] = frame[header].str.decode("utf-8")
    return flat(frame)


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
        frame = _with_headers_as_they_are(
            frame, lambda: pd.read_excel(path, **options | {"header": None, "nrows": 1}), options
        )
    return frame


READERS: dict[str, Callable[[Path, Options], Any]] = {
    ".csv": read_csv,
    ".csv.gz": read_csv,
    ".csv.zip": read_csv,
    ".tsv": lambda path, options: read_csv(path, Options({"sep": "\t"}) | options),
    ".txt": lambda path, options: read_csv(path, Options({"sep": separator_of(path, options)}) | options),
    ".parquet": read_parquet,
    ".xlsx": read_xlsx,
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".sql": read_parquet,  # of its snapshot
}
SEPARATORS = (",", ";", "\t", "|")
# of pandas' options, those that change nothing where every cell is read as text
USELESS = ("decimal", "thousands", "true_values", "false_values", "float_precision")


def read_table(path: Path, options: Options, snapshot: Path = SNAPSHOT) -> pd.DataFrame:
    """The table in `path`, read by its suffix; what cannot be read as a table is an InputError that says why.

    The rows of a query (.sql) are in its `snapshot`, which the stage extract wrote.
    """
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
    given = f" with data.options {options}" if options else ""
    try:
        frame = reader(table_file(path, snapshot), options)
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


def separator_of(path: Path, options: Options) -> str:
    """The separator that stands most often in the first line."""
    with path.open(encoding=options.get("encoding", "utf-8-sig"), errors="replace") as lines:
        first = lines.readline()
    return max(SEPARATORS, key=first.count)


def _with_headers_as_they_are(
    frame: pd.DataFrame, first_row: Callable[[], pd.DataFrame], options: Options
) -> pd.DataFrame:
    """pandas calls the second `tenure` tenure.1; here it keeps its name, and whoever cleans headers refuses it."""
    headers = [str(header) for header in frame.columns]
    mangled = [h for h in headers if (base := re.sub(r"\.\d+$", "", h)) != h and base in headers]
    if not mangled or set(options) & {"header", "names", "skiprows", "usecols"}:
        return frame
    row = first_row().iloc[0].astype(str).str.strip().tolist()
    return frame.set_axis(row, axis=1) if len(row) == len(headers) else frame


def _refuse_formulas(path: Path, options: Options, frame: pd.DataFrame) -> None:
    """A program that writes formulas without their values leaves cells that look empty."""
    # keep_default_na: empty cells come as NaN or as ""
    empty = [header for header in frame if frame[header].isin(["", None]).all() or frame[header].isna().all()]
    if not empty:
        return
    from openpyxl import load_workbook  # a fifth of a second

    sheet = options.get("sheet_name", 0)
    book = load_workbook(path, read_only=True)
    cells = book[sheet] if isinstance(sheet, str) else book.worksheets[sheet]
    formula = next((cell for row in cells.iter_rows() for cell in row if cell.data_type == "f"), None)
    if formula is not None:
        raise InputError(
            f"{path}: column {empty[0]!r} holds formulas without values, e.g. {str(formula.value)[:40]} in "
            f"{formula.coordinate}; open the file in a spreadsheet program and save it, or save the sheet as .csv"
        )


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
        header = next(row for row in rows if row)
        width, likelier = len(header), max(SEPARATORS, key=",".join(header).count)
        short = [(rows.line_num, row) for row in rows if row and len(row) != width]
    if short and width == 1 and likelier in header[0]:
        raise InputError(f"{path}: its only header is {header[0][:60]!r}; set data.options.sep to {likelier!r}")
    if short:
        line, row = short[0]
        cause = "; the file seems to be cut off" if len(short) == 1 and line == rows.line_num else ""
        raise InputError(
            f"{path}: {len(short)} rows have not the header's {width} fields, first line {line} with {len(row)}; "
            f"it ends in {row[-1]!r}, column '{frame.columns[min(len(row), width) - 1]}'{cause}"
        )
