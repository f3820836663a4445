"""Every kind of table is read to the same cells; what cannot be read is one line that says why and the way out."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from churn.query import FINGERPRINT, fingerprint
from churn.read_table import OLE, READERS, read_table
from churn.script import InputError
from churn.table import as_texts, with_clean_headers

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


def as_sql(path: Path) -> None:
    """A query, and what the stage extract keeps of it beside."""
    path.write_text("SELECT * FROM customers ORDER BY 1")
    table = pa.Table.from_pandas(FRAME).replace_schema_metadata({FINGERPRINT: fingerprint(path)})
    parquet.write_table(table, path.with_name("extracted.parquet"))


WRITERS: dict[str, Callable[[Path], None]] = {
    ".csv": as_csv,
    ".csv.gz": as_gz,
    ".csv.zip": as_zip,
    ".tsv": lambda path: path.write_text(CSV.replace(",", "\t")) and None,
    ".txt": lambda path: path.write_text(CSV.replace(",", "|")) and None,
    ".parquet": lambda path: FRAME.to_parquet(path),
    ".xlsx": lambda path: FRAME.to_excel(path, index=False),
    ".json": lambda path: FRAME.to_json(path, orient="records"),
    ".jsonl": as_jsonl,
    ".sql": as_sql,
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
    frame = read_table(path, {}, tmp_path / "extracted.parquet")
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
    assert "column 'tenure' has 1 such cells, in cp1252 the first is 'Zoë'; set data.options.encoding" in line


@pytest.mark.parametrize(("cell", "encoding"), [(b"3 \x80", "cp1252"), (b"3 \x81", "latin-1")])
def test_the_encoding_that_is_proposed_reads_the_euro_and_any_byte(tmp_path: Path, cell: bytes, encoding: str) -> None:
    line = refused(tmp_path, CSV.encode().replace(b"34", cell))
    assert line.endswith(f"for instance to {encoding}")
    read = read_table(tmp_path / "t.csv", {"encoding": encoding})
    assert cell.decode(encoding) in read["tenure"].tolist()


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


@pytest.mark.parametrize("option", ["decimal", "thousands", "true_values", "false_values", "float_precision"])
def test_an_option_that_would_change_nothing_is_refused(tmp_path: Path, option: str) -> None:
    line = refused(tmp_path, CSV, options={option: ","})
    assert line.startswith(f"t.csv: data.options.{option} would change nothing: cells are read as text; columns of the")


def test_a_header_that_stands_twice_keeps_its_name_and_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,tenure,tenure\n1,2,3\n")
    FRAME.set_axis(["id", "tenure", "tenure", "churn"], axis=1).to_excel(tmp_path / "t.xlsx", index=False)
    for name in ("t.csv", "t.xlsx"):
        with pytest.raises(InputError, match="the table has the header 'tenure' twice; drop one"):
            with_clean_headers(read_table(tmp_path / name, {}))
    # a header that only looks like pandas' own
    (tmp_path / "t.csv").write_text("id,tenure.1,tenure\n1,2,3\n")
    assert list(read_table(tmp_path / "t.csv", {})) == ["id", "tenure.1", "tenure"]


def test_a_bom_of_utf_16_names_the_encoding(tmp_path: Path) -> None:
    line = refused(tmp_path, CSV.encode("utf-16"))
    assert line == "t.csv is not utf-8 but utf-16: set data.options.encoding to utf-16"


# JSON

NESTED = '{"id": "1", "bill": {"spend": 12.5, "by": {"card": true}}, "tags": ["a"]}'


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("t.jsonl", f"{NESTED}\n\n{NESTED}\n", {}),
        ("t.json", f"[{NESTED}, {NESTED}]", {}),
        ("t.json", f'{{"data": [{NESTED}, {NESTED}], "pages": 1}}', {"record_path": "data"}),
        ("t.jsonl", f"\ufeff{NESTED}\n{NESTED}", {}),
    ],
)
def test_objects_inside_objects_become_columns_by_dotted_names(
    tmp_path: Path, name: str, content: str, options: dict[str, Any]
) -> None:
    (tmp_path / name).write_text(content)
    frame = read_table(tmp_path / name, options)
    assert set(frame) == {"id", "bill.spend", "bill.by.card", "tags"}
    assert frame["bill.spend"].tolist() == [12.5, 12.5]
    assert frame["bill.by.card"].tolist() == [True, True]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.jsonl", '{"a": 1}\n{"a": }\n', "t.jsonl is no JSON: Expecting value in line 2"),
        ("t.json", '[{"a": 1},\n {"a": ]', "t.json is no JSON: Expecting value in line 2"),
        ("t.jsonl", '{"a": 1}\n[1, 2]\n', "t.jsonl: row 2 is [1, 2], not an object with a key for each column"),
        (
            "t.json",
            '{"data": [{"a": 1}]}',
            "t.json is one object; say where its rows are: data.options.record_path: data",
        ),
        ("t.json", '{"a": 1}', "t.json is one object; expected a list of them"),
    ],
)
def test_json_that_is_no_table_is_told(tmp_path: Path, name: str, content: str, words: str) -> None:
    assert refused(tmp_path, content, name) == words


LONG = 2**53 + 1


def test_whole_numbers_keep_all_digits_beside_missing_ones(tmp_path: Path) -> None:
    pd.DataFrame({"n": pd.array([LONG, None], "Int64")}).to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text(f'{{"n": {LONG}}}\n{{"n": null}}\n')
    (tmp_path / "t.csv").write_text(f"n,m\n{LONG},1\n,2\n")
    for name in ("t.parquet", "t.jsonl", "t.csv"):
        cells = as_texts(read_table(tmp_path / name, {})["n"], ())
        assert cells[0] == str(LONG)
        assert cells.isna().tolist() == [False, True]


# Parquet of warehouses


def test_parquet_of_any_kind_has_the_cells_it_shows(tmp_path: Path) -> None:
    from decimal import Decimal

    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        "levels": pa.array(["a", "b", None]).dictionary_encode(),
        "bytes": pa.array([b"\xc3\xa4", None, b"x"], pa.binary()),
        "flag": pa.array([Decimal("1.0"), Decimal("0.0"), None], pa.decimal128(3, 1)),
        "money": pa.array([Decimal("1.50"), Decimal("2.25"), None], pa.decimal128(9, 2)),
        "bill": pa.array([{"spend": 1.5}, {"spend": 2.0}, None]),
        "is_new": pa.array([True, False, None]),
        "price": pa.array([29.85, 5, None], pa.float32()),
    }
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    frame = read_table(tmp_path / "t.parquet", {})
    cells = {header: as_texts(frame[header], ()).fillna("-").tolist() for header in frame}
    assert cells == {
        "levels": ["a", "b", "-"], "bytes": ["ä", "-", "x"], "flag": ["1", "0", "-"], "money": ["1.50", "2.25", "-"],
        "bill.spend": ["1.5", "2", "-"], "is_new": ["True", "False", "-"],
        "price": ["29.85", "5", "-"],
    }  # fmt: skip


def test_an_index_of_pandas_is_a_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"tenure": [1, 2]}, index=pd.Index(["a", "b"], name="customer"))
    frame.to_parquet(tmp_path / "t.parquet")
    assert list(read_table(tmp_path / "t.parquet", {})) == ["customer", "tenure"]
    frame.reset_index(drop=True).to_parquet(tmp_path / "t.parquet")
    assert list(read_table(tmp_path / "t.parquet", {})) == ["tenure"]


# workbooks


def test_formulas_without_values_are_told_from_empty_cells(tmp_path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    for row in (["id", "sum", "note"], ["1", "=1+1", None], ["2", "=1+2", None]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(
        InputError, match=r"column 'sum' holds formulas without values, e.g. =1\+1 in B2; open the file in"
    ):
        read_table(tmp_path / "t.xlsx", {})


def test_formulas_with_their_values_are_no_mistake_beside_an_empty_column(tmp_path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    for row in (["id", "sum", "note"], ["1", 2, None], ["2", 3, None]):
        book.active.append(row)
    book.save(tmp_path / "plain.xlsx")
    with ZipFile(tmp_path / "plain.xlsx") as plain, ZipFile(tmp_path / "t.xlsx", "w") as computed:
        for name in plain.namelist():  # as a spreadsheet program saves them
            cells = plain.read(name).replace(b"<v>2</v>", b"<f>1+1</f><v>2</v>")
            computed.writestr(name, cells.replace(b"<v>3</v>", b"<f>1+2</f><v>3</v>"))
    assert read_table(tmp_path / "t.xlsx", {})["sum"].tolist() == [2, 3]


def test_a_workbook_with_a_password_is_told_from_a_broken_one(tmp_path: Path) -> None:
    words = "t.xlsx has a password or is of Excel before 2007; save it as .xlsx without a password"
    assert refused(tmp_path, OLE + bytes(504), "t.xlsx") == words


def test_what_pandas_only_warns_of_is_a_mistake_too(tmp_path: Path) -> None:
    line = refused(tmp_path, "a,b\n1,2,3\n4,5,6\n", options={"comment": "#"})
    assert line.startswith("t.csv cannot be read as a table with data.options {'comment': '#'}: Length of header")
