"""The list in a file: whole in both kinds, and no formula in a spreadsheet."""

import csv
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.plan.lists import read_list, write_csv, write_parquet
from churn.script import InputError

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
dangerous = st.builds(str.__add__, st.sampled_from(["=", "+", "-", "@", "\t", "\r", "\n", "'", "＝", "''="]), texts)
cells = st.lists(texts | dangerous | st.sampled_from(["NA", "null", "", "007", "1e5", "true"]), min_size=1, max_size=9)


def as_list(ids: list[str], reasons: list[str | None]) -> pa.Table:
    n = len(ids)
    return pa.table(
        {
            "customer_id": ids,
            "offer": pa.array(["=offer"] * n),
            "offered": [i % 2 == 0 for i in range(n)],
            "share": [0.9] * n,
            "churn_probability": [i / 7 for i in range(n)],
            "expected_profit": [10 / (i + 3) for i in range(n)],
            "value": [400.0] * n,
            "reason_1": pa.array(reasons, pa.string()),
        }
    )


@given(cells, st.booleans())
def test_both_files_give_back_the_list(tmp_path_factory: pytest.TempPathFactory, ids: list[str], some: bool) -> None:
    folder = tmp_path_factory.getbasetemp()
    table = as_list(ids, [name if some else None for name in ids])
    for name, write in (("list.parquet", write_parquet), ("list.csv", write_csv)):
        write(table, folder / name)
        assert read_list(folder / name).equals(table)


@given(cells)
def test_no_cell_is_a_formula(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "formulas.csv"
    write_csv(as_list(ids, list(ids)), path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert len(rows) == len(ids) + 1
    assert not [cell for row in rows for cell in row if cell.startswith(tuple("=+-@＝＋－＠\t\r\n"))]
    assert [row[0].removeprefix("'") for row in rows[1:]] == ids


def test_another_table_is_no_list(tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    path.write_text("customer_id,tenure\nA,1\n")
    with pytest.raises(InputError, match="is no list of a plan: it lacks"):
        read_list(path)
