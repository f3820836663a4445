"""Reading .csv, .tsv and .txt, every cell as the text that it is."""

import csv
import gzip
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

import pandas as pd
from pandas.errors import ParserWarning

from churn.script import InputError

Options = dict[str, Any]

# index_col: else a header with one name too few would silently shift every column
CELLS: Options = {"dtype": "str", "keep_default_na": False, "index_col": False}

SEPARATORS = (",", ";", "\t", "|")


def read_csv(path: Path, options: Options) -> Any:
    options = as_texts_of(path, options)
    with catching() as warned:
        try:
            frame = pd.read_csv(path, **options)
        except UnicodeDecodeError as error:
            raise InputError(_undecodable(path, options, error)) from None
    if isinstance(frame, pd.DataFrame):
        refuse_short_rows(path, options, frame)
        frame = headers_as_they_are(frame, lambda: pd.read_csv(path, **options | {"header": None, "nrows": 1}), options)
    refuse_lost(warned)
    return frame


def read_csv_parts(path: Path, options: Options, rows: int) -> Iterator[pd.DataFrame]:
    """The table of a CSV file in frames of so many rows."""
    options = as_texts_of(path, options)
    head = read_csv(path, options | {"nrows": 1})
    refuse_short_rows(path, options, head)
    with pd.read_csv(path, **options, chunksize=rows) as parts:
        while True:
            with catching() as warned:
                try:
                    part = next(parts, None)
                except UnicodeDecodeError as error:
                    raise InputError(_undecodable(path, options, error)) from None
            refuse_lost(warned)
            if part is None:
                return
            yield part.set_axis(head.columns, axis=1).reset_index(drop=True)


@contextmanager
def catching() -> Iterator[list[warnings.WarningMessage]]:
    """What pandas warns of while it reads."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", ParserWarning)
        yield warned


def refuse_lost(warned: list[warnings.WarningMessage]) -> None:
    # that a slower engine is taken is no matter
    if lost := [str(one.message) for one in warned if "Falling back to the 'python' engine" not in str(one.message)]:
        raise ValueError(lost[0])


def as_texts_of(path: Path, options: Options) -> Options:
    """pandas' options: those given, and those with which cells stay what they are."""
    suffix, separator = path.suffix.lower(), Options()
    if suffix in {".tsv", ".txt"} and "delimiter" not in options:
        separator = {"sep": "\t" if suffix == ".tsv" else separator_of(path, options)}
    return CELLS | separator | options


def separator_of(path: Path, options: Options) -> str:
    """The separator that stands most often in the first line."""
    with path.open(encoding=options.get("encoding", "utf-8-sig"), errors="replace") as lines:
        first = lines.readline()
    return max(SEPARATORS, key=first.count)


def headers_as_they_are(frame: pd.DataFrame, first_row: Callable[[], pd.DataFrame], options: Options) -> pd.DataFrame:
    """pandas calls the second `tenure` tenure.1; here it keeps its name, and whoever cleans headers refuses it."""
    headers = [str(header) for header in frame.columns]
    mangled = [h for h in headers if (base := re.sub(r"\.\d+$", "", h)) != h and base in headers]
    if not mangled or set(options) & {"header", "names", "skiprows", "usecols"}:
        return frame
    row = first_row().iloc[0].astype(str).str.strip().tolist()
    return frame.set_axis(row, axis=1) if len(row) == len(headers) else frame


def _opened(path: Path) -> IO[bytes] | gzip.GzipFile:
    """The bytes of `path`, unpacked."""
    match path.suffix.lower():
        case ".gz":
            return gzip.open(path)
        case ".zip":
            archive = ZipFile(path)
            return archive.open(archive.namelist()[0])
    return path.open("rb")


def _undecodable(path: Path, options: Options, error: UnicodeDecodeError) -> str:
    encoding = options.get("encoding", "utf-8")
    sentence = f"{path} is not {encoding}: byte 0x{error.object[error.start]:02x} ({error.reason})"
    # latin-1 takes every byte, and Windows' euro and quotes for control characters
    for likely in ("cp1252", "latin-1"):
        with suppress(UnicodeDecodeError):
            frame: Any = pd.read_csv(path, **Options(options | {"encoding": likely, "nrows": None}))
            break
    for header in frame:
        cells = frame[header].dropna().astype(str)
        foreign = cells[~cells.map(str.isascii)]
        if len(foreign):
            example = f"in {likely} the first is {foreign.iloc[0]!r}"
            sentence += f"; column '{header}' has {len(foreign)} such cells, {example}"
            break
    return f"{sentence}; set data.options.encoding, for instance to {likely}"


def refuse_short_rows(path: Path, options: Options, frame: pd.DataFrame) -> None:
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
