"""A hint names the options with which the table is the one that was meant, since it tried them."""

import gzip
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from openpyxl import Workbook

from churn.read_csv import Options
from churn.read_hints import hint
from churn.read_table import read_table
from churn.table import with_clean_headers

SOUGHT = ["Customer", "Churn"]
CSV = "Customer,Churn\nA,Yes\nB,No\n"


def hinted(path: Path, options: Options | None = None) -> str:
    return hint(path, options or {}, list(read_table(path, options or {}).columns), SOUGHT)


@pytest.mark.parametrize(
    ("content", "words", "options"),
    [
        (CSV.replace(",", ";"), "set data.options to {sep: ';'}, which finds 2 of them", {"sep": ";"}),
        (CSV.replace(",", "\t"), 'set data.options to {sep: "\\t"}, which finds 2 of them', {"sep": "\t"}),
        (
            "sep=;\n" + CSV.replace(",", ";"),
            "set data.options to {sep: ';', header: 1}, which finds 2",
            {"sep": ";", "header": 1},
        ),
        (
            "Customers of May,\n,\n" + CSV,
            "set data.options to {sep: ',', header: 2}, which finds 2",
            {"sep": ",", "header": 2},
        ),
        (
            "A,Yes,12\nB,No,13\n",
            "its first row ['A', 'Yes', '12'] looks like values: set data.options.header to null",
            None,
        ),
        ("x,y\nA,Yes\n", "it has ['x', 'y']: check data.schema and data.options.header", None),
    ],
    ids=["semicolons", "tabs", "Excel's first line", "a title above", "no header", "another table"],
)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_file_of_texts(content: str, words: str, options: dict[str, Any] | None, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"t{suffix}"
    path.write_bytes(content.encode() if suffix == ".csv" else gzip.compress(content.encode()))
    assert hinted(path).startswith(words)
    if options:
        assert list(with_clean_headers(read_table(path, options))) == SOUGHT


def test_the_sheet_and_the_row_of_the_header(tmp_path: Path) -> None:
    book = Workbook()
    book.active.append(["Meaning", "Column"])
    book.active.append(["who it is", "Customer"])
    data = book.create_sheet("Data 2024")
    for row in (["Customers of May", None], SOUGHT, ["A", "Yes"], ["B", "No"]):
        data.append(row)
    book.save(tmp_path / "t.xlsx")
    assert (
        hinted(tmp_path / "t.xlsx") == "set data.options to {sheet_name: 'Data 2024', header: 1}, which finds 2 of them"
    )


def test_a_data_dictionary_that_names_the_column_is_not_taken_for_the_table(tmp_path: Path) -> None:
    book = Workbook()
    for row in (["Column", "Meaning"], ["Churn", "did the customer leave?"], ["Customer", "who it is"]):
        book.active.append(row)
    data = book.create_sheet("Data")
    for row in (SOUGHT, ["A", "Yes"], ["B", "No"]):
        data.append(row)
    book.save(path := tmp_path / "t.xlsx")
    assert hint(path, {}, ["Column", "Meaning"], ["Churn"]).startswith("set data.options to {sheet_name: 'Data'}, ")


def test_a_table_that_has_most_already_is_not_talked_about(tmp_path: Path) -> None:
    pd.DataFrame({"Customer": ["A"], "other": [1]}).to_parquet(tmp_path / "t.parquet")
    assert hinted(tmp_path / "t.parquet").startswith("it has ['Customer', 'other']: check data.schema")
