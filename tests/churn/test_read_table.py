"""Every kind of table is read to the same cells; what cannot be read is one line that says why and the way out."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.read_table import OLE, READERS, read_table, separator_hint
from churn.script import InputError
from churn.table import as_texts

ROWS = [["7590-VHVEG", "1", "29.85", "No"], ["5575-GNVDE", "34", "1889.5", "Yes"], ["0012", "", "0.1", "No"]]
HEADER = ["customerID", "tenure", "charges", "Churn"]
CSV = "\n".join(",".join(row) for row in [HEADER, *ROWS]) + "\n"
FRAME = pd.DataFrame(
    {
        "customerID": [row[0] for row in ROWS],
        "tenure": [1.0, 34.0, None],
        "charges": [29.85, 1889.5, 0.1],
        "Churn": [row[3] for row in ROWS],
    }
)


def as_csv(path: Path) -> None:
    path.write_text(CSV)


def as_gz(path: Path) -> None:
    path.write_bytes(gzip.compress(CSV.encode()))


def as_zip(path: Path) -> None:
    with ZipFile(path, "w") as archive:
        archive.writestr("inner.csv", CSV)


def as_jsonl(path: Path) -> None:
    FRAME.to_json(path, orient="records", lines=True)


WRITERS: dict[str, Callable[[Path], None]] = {
    ".csv": as_csv,
    ".csv.gz": as_gz,
    ".csv.zip": as_zip,
    ".parquet": lambda path: FRAME.to_parquet(path),
    ".xlsx": lambda path: FRAME.to_excel(path, index=False),
    ".jsonl": as_jsonl,
}


def refused(tmp_path: Path, content: str | bytes, name: str = "t.csv", options: dict[str, Any] | None = None) -> str:
    """The one line that refuses a table, with its path as `t.csv`."""
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError) as error:
        read_table(path, options or {})
    (line,) = str(error.value).splitlines()
    return line.replace(f"{tmp_path}/", "")


def test_every_reader_is_tried_here() -> None:
    assert list(WRITERS) == list(READERS)


@pytest.mark.parametrize("suffix", [*WRITERS, ".CSV"])
def test_a_table_has_the_same_cells_in_every_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    WRITERS[suffix.lower()](path)
    frame = read_table(path, {})
    cells = pd.DataFrame({header: as_texts(frame[header], ()) for header in frame})
    assert list(cells) == HEADER
    assert cells.fillna("").to_numpy().tolist() == ROWS


@pytest.mark.parametrize(
    ("options", "content"),
    [
        ({"sep": ";"}, CSV.replace(",", ";")),
        ({"sep": r"\s*;\s*", "engine": "python"}, CSV.replace(",", " ; ")),
        ({"encoding": "utf-16"}, CSV.encode("utf-16")),
        ({"header": None, "names": HEADER}, CSV.partition("\n")[2]),
        ({"skiprows": 1}, f"exported today\n{CSV}"),
        ({}, f"\ufeff{CSV}"),
        ({}, CSV.replace("\n", "\r\n")),
        ({}, CSV.rstrip("\n")),
    ],
    ids=["semicolon", "pattern", "utf-16", "no header", "title", "mark", "windows", "no last line end"],
)
def test_options_reach_the_pandas_reader(tmp_path: Path, options: dict[str, Any], content: str | bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    frame = read_table(tmp_path / "t.csv", options)
    assert frame.to_numpy().tolist() == ROWS
    assert [str(header).lstrip("\ufeff") for header in frame] == HEADER


def test_a_separator_may_be_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a b\n1   2\n")
    assert read_table(tmp_path / "t.csv", {"sep": r"\s+"}).to_numpy().tolist() == [["1", "2"]]


def test_texts_that_pandas_takes_for_missing_stay_texts(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("region,n\nNA,007\nNone,1\n")
    assert read_table(tmp_path / "t.csv", {}).to_numpy().tolist() == [["NA", "007"], ["None", "1"]]


@settings(max_examples=25, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False))
def test_numbers_in_json_lines_are_read_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, number: float
) -> None:
    path = tmp_path_factory.mktemp("exact") / "t.jsonl"
    path.write_text(json.dumps({"a": number}) + "\n")
    assert read_table(path, {})["a"].tolist() == [number]


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, "") == "t.csv is empty; expected a header and one row per customer"
    assert refused(tmp_path, "\n\n").startswith("t.csv cannot be read as a table: No columns")


def test_a_header_without_rows_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, ",".join(HEADER)) == "t.csv has a header of 4 columns but no rows"


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.csv.zip"])
def test_a_last_line_that_is_cut_off_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    cut = CSV.rstrip()[: -len(",0.1,No")]
    match name:
        case "t.csv":
            path.write_text(cut)
        case "t.csv.gz":
            path.write_bytes(gzip.compress(cut.encode()))
        case _:
            with ZipFile(path, "w") as archive:
                archive.writestr("t.csv", cut)
    with pytest.raises(InputError, match=r"1 rows have not the header's 4 fields, first line 4 with 2; .* cut off"):
        read_table(path, {})


def test_a_row_with_a_field_too_many_is_refused(tmp_path: Path) -> None:
    assert "Expected 4 fields in line 3, saw 5" in refused(tmp_path, CSV.replace("34,", "34,5,"))


@pytest.mark.filterwarnings("ignore:Length of header")
def test_a_header_with_a_name_too_few_is_refused(tmp_path: Path) -> None:
    # pandas would take the first column for an index, or drop the last
    line = refused(tmp_path, CSV.replace("customerID,", "", 1))
    assert line.startswith("t.csv: 3 rows have not the header's 3 fields, first line 2 with 4")


def test_a_quote_that_never_ends_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, CSV.replace("34,", '"34,')).startswith("t.csv cannot be read as a table: ")


def test_a_line_end_inside_quotes_is_no_short_row(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\n"x\ny",1\n')
    assert read_table(tmp_path / "t.csv", {}).to_numpy().tolist() == [["x\ny", "1"]]


def test_bytes_of_another_encoding_are_told_with_column_and_example(tmp_path: Path) -> None:
    line = refused(tmp_path, CSV.replace("34", "Zoë").encode("latin-1"))
    assert line.startswith("t.csv is not utf-8: byte 0xeb")
    assert "column 'tenure' has 1 such cells, in latin-1 the first is 'Zoë'; set data.options.encoding" in line


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet", "t.xlsx", "t.csv.gz", "t.csv.zip"])
def test_binary_junk_is_refused_whatever_the_suffix(tmp_path: Path, name: str) -> None:
    for junk in (bytes(range(256)) * 4, b"\x80\x81\xfe" * 50, b"\xff"):
        assert refused(tmp_path, junk, name).startswith(name)


def test_half_an_archive_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress((CSV * 50).encode())
    assert refused(tmp_path, whole[: len(whole) // 2], "t.csv.gz").startswith("t.csv.gz cannot be read as a table: ")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv is missing; set data\.path to a table"):
        read_table(tmp_path / "none.csv", {})
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=r"folder\.csv is a folder; set data\.path to a table"):
        read_table(tmp_path / "folder.csv", {})


def test_an_unknown_suffix_lists_the_known_ones(tmp_path: Path) -> None:
    assert refused(tmp_path, CSV, "t.sav").startswith("t.sav: no reader for this suffix; there are readers for ['.csv'")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"separator": ";"}, "data.options {'separator': ';'} do not fit the pandas reader"),
        (
            {"encoding": "utf-99"},
            "cannot be read as a table with data.options {'encoding': 'utf-99'}: unknown encoding: utf-99",
        ),
        ({"chunksize": 2}, "data.options {'chunksize': 2} read TextFileReader, not one table"),
        (
            {"usecols": ["nope"]},
            "cannot be read as a table with data.options {'usecols': ['nope']}: Usecols do not match columns",
        ),
    ],
)
def test_options_that_do_not_fit_are_told(tmp_path: Path, options: dict[str, Any], part: str) -> None:
    assert part in refused(tmp_path, CSV, options=options)


def test_a_cell_longer_than_the_csv_module_reads_is_no_traceback(tmp_path: Path) -> None:
    assert "field larger than field limit" in refused(tmp_path, f"a,b\n{'x' * 200_000},1\n")


def test_the_separator_is_guessed_from_an_only_header() -> None:
    assert separator_hint(["a;b;c"]) == "its only column is 'a;b;c': set data.options.sep to ';'"
    assert separator_hint(["a", "b"]) == "it has ['a', 'b']: check data.schema and data.options.header"


def test_a_workbook_with_a_password_is_told_from_a_broken_one(tmp_path: Path) -> None:
    words = "t.xlsx has a password or is of Excel before 2007; save it as .xlsx without a password"
    assert refused(tmp_path, OLE + bytes(504), "t.xlsx") == words


def test_what_pandas_only_warns_of_is_a_mistake_too(tmp_path: Path) -> None:
    line = refused(tmp_path, "a,b\n1,2,3\n4,5,6\n", options={"comment": "#"})
    assert line.startswith("t.csv cannot be read as a table with data.options {'comment': '#'}: Length of header")
