"""Tables beside the scores: each customer's row is found by id, in Parquet as in CSV."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv, parquet

from campaigns.plan.tables import as_numbers, read_columns, read_ids
from churn.script import InputError

names = st.lists(st.text("AB01", min_size=1, max_size=3), max_size=12, unique=True)


def write(path: Path, table: pa.Table) -> Path:
    (csv.write_csv if path.suffix == ".csv" else parquet.write_table)(table, path)
    return path


@given(names.filter(bool), names.filter(bool), st.sampled_from([".csv", ".parquet"]))
def test_each_customer_gets_the_columns_of_its_row(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str], of_table: list[str], suffix: str
) -> None:
    values = {name: float(i) for i, name in enumerate(of_table)}
    table = pa.table({"value": list(values.values()), "Id": of_table, "kind": [f"is {name}" for name in of_table]})
    path = write(tmp_path_factory.getbasetemp() / f"beside{suffix}", table)
    read = read_columns(path, "Id", ["kind", "value"], pa.chunked_array([ids]))
    assert read["value"].to_pylist() == [values.get(name) for name in ids]
    assert read["kind"].to_pylist() == [f"is {name}" if name in values else None for name in ids]


def test_ids_that_are_numbers_are_texts(tmp_path: Path) -> None:
    of_numbers = write(tmp_path / "a.parquet", pa.table({"customer_id": [7, 8], "value": [1.0, 2.0]}))
    (tmp_path / "b.csv").write_text("customer_id,value\n007,1\n8,2\n")
    for path, name in ((of_numbers, "7"), (tmp_path / "b.csv", "007")):
        read = read_columns(path, "customer_id", ["value"], pa.chunked_array([["8", name]]))
        assert read["value"].to_pylist() == [2, 1]


def test_a_customer_with_two_rows_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", pa.table({"customer_id": list("ABABC"), "value": [1.0] * 5}))
    with pytest.raises(InputError, match=r"a\.csv: customer 'A' has 2 rows, as have 1 more; leave one row for each"):
        read_columns(path, "customer_id", ["value"], pa.chunked_array([["A", "B", "C"]]))
    assert len(read_columns(path, "customer_id", ["value"], pa.chunked_array([["C"]]))) == 1  # the others do not matter


@pytest.mark.parametrize(
    ("content", "ids"),
    [("list.txt", ["A", "007", "=B"]), ("list.csv", ["A", "007"]), ("list.parquet", ["A", "007"])],
    ids=lambda value: str(value),
)
def test_a_list_of_customers_is_lines_or_a_table(tmp_path: Path, content: str, ids: list[str]) -> None:
    path = tmp_path / content
    if path.suffix == ".txt":
        path.write_text("A\n\n 007 \n=B\n")
    else:
        write(path, pa.table({"customer_id": ids, "why": ["said no"] * len(ids)}))
    assert read_ids(path, "customer_id").to_pylist() == ids


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            "a.csv",
            b"id,value\nA,1\n",
            "has no column 'customer_id'; it has 'id', 'value'; name its id column with --id",
        ),
        ("a.csv", b"customer_id\nA\n", "has no column 'value'; it has 'customer_id'"),
        ("a.csv", b"customer_id,value\nA,1,2\n", "can't be read: CSV parse error"),
        ("a.csv", b"", "can't be read: Empty CSV file"),
        ("a.parquet", b"PAR1", "can't be read: "),
        ("a.xlsx", b"", "ends in '.xlsx'; expected a Parquet file or folder"),
        ("gone.csv", None, "gone.csv can't be read: .*No such file"),
    ],
    ids=str,
)
def test_what_is_no_such_table_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=reason) as refused:
        read_columns(tmp_path / name, "customer_id", ["value"], pa.chunked_array([["A"]]))
    assert "\n" not in str(refused.value)


def test_a_column_of_texts_holds_no_numbers() -> None:
    with pytest.raises(InputError, match="column 'value' holds string, not numbers"):
        as_numbers(pa.chunked_array([["1"]]), "value")
    assert as_numbers(pa.chunked_array([[1, 2]]), "value").tolist() == [1, 2]
