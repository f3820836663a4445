"""Large tables: what is written in blocks is read back whole, in blocks or a column at a time."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from churn import blocks
from churn.blocks import ColumnsOf, RowsOf, blocks_of, read_blocks, write_blocks

FRAME = pd.DataFrame(
    {
        "name": pd.Series(["a", None, "c", "a", "e"], dtype="str"),
        "number": [1.0, 2.0, np.nan, 4.0, 5.0],
        "flag": pd.array([True, None, False, True, True], "boolean"),
    }
)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """FRAME in blocks of two rows."""
    monkeypatch.setattr(blocks, "BLOCK", 2)
    assert write_blocks(tmp_path / "t.parquet", blocks_of(FRAME.astype({"name": "category"}))) == 5
    return tmp_path / "t.parquet"


def test_blocks_make_one_table_whose_categories_are_texts(path: Path) -> None:
    pd.testing.assert_frame_equal(pd.read_parquet(path), FRAME)


def test_a_table_is_read_in_blocks_in_its_types(path: Path) -> None:
    read = list(read_blocks(path))
    assert [len(block) for block in read] == [2, 2, 1]
    pd.testing.assert_frame_equal(pd.concat(read, ignore_index=True), FRAME)


def test_a_table_without_rows_is_one_block_with_its_columns(tmp_path: Path) -> None:
    write_blocks(tmp_path / "t.parquet", blocks_of(FRAME.head(0)))
    (block,) = read_blocks(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(block, FRAME.head(0))


def test_columns_of_a_file_are_those_of_its_frame(path: Path) -> None:
    columns = ColumnsOf(path)
    assert (len(columns), list(columns), "flag" in columns, "other" in columns) == (5, list(FRAME), True, False)
    for name in columns:
        pd.testing.assert_series_equal(columns[name], FRAME[name])


def test_some_rows_of_a_table_keep_their_numbers(path: Path) -> None:
    kept = np.array([False, True, False, True, True])
    rows = RowsOf(ColumnsOf(path), kept)
    assert len(rows) == 3
    pd.testing.assert_series_equal(rows["number"], FRAME["number"][kept])
