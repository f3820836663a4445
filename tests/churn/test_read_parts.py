"""A large table comes in parts, with the cells, headers and refusals that it has when it is read at once."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from churn import read_table as module
from churn.read_table import read_parts, read_table
from churn.script import InputError
from churn.table import as_texts
from tests.churn.test_read_table import WRITERS

ROWS = 25


@pytest.fixture(autouse=True)
def _three_rows_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE", 0)
    monkeypatch.setattr(module, "BLOCK", 3)


def cells(frames: list[pd.DataFrame]) -> list[list[Any]]:
    texts = [pd.DataFrame({header: as_texts(frame[header], ()) for header in frame}) for frame in frames]
    return pd.concat(texts).fillna("").to_numpy().tolist()


@pytest.mark.parametrize("suffix", WRITERS)
def test_parts_have_the_cells_of_the_whole_in_every_format(tmp_path: Path, suffix: str) -> None:
    path, snapshot = tmp_path / f"t{suffix}", tmp_path / "extracted.parquet"
    WRITERS[suffix](path)
    assert cells(list(read_parts(path, {}, snapshot))) == cells([read_table(path, {}, snapshot)])


def table(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"id": [f"C{i}" for i in range(ROWS)], "n": range(ROWS)} | columns)


def test_csv_and_flat_parquet_are_divided(tmp_path: Path) -> None:
    table().to_csv(tmp_path / "t.csv", index=False)
    table().to_parquet(tmp_path / "t.parquet")
    table(bill=[{"spend": i} for i in range(ROWS)]).to_parquet(tmp_path / "nested.parquet")
    lengths = {name: [len(part) for part in read_parts(tmp_path / name, {})] for name in ("t.csv", "t.parquet")}
    assert lengths == dict.fromkeys(lengths, [3] * 8 + [1])
    (whole,) = read_parts(tmp_path / "nested.parquet", {})
    assert list(whole) == ["id", "n", "bill.spend"]


@pytest.mark.parametrize("options", [{"sep": ";"}, {"header": None, "names": ["a", "b"]}, {"skipfooter": 2}])
def test_options_hold_in_parts(tmp_path: Path, options: dict[str, Any]) -> None:
    table().to_csv(tmp_path / "t.csv", index=False, sep=options.get("sep", ","))
    read = list(read_parts(tmp_path / "t.csv", options))
    whole = read_table(tmp_path / "t.csv", options)
    assert cells(read) == cells([whole])
    assert all(list(part) == list(whole) for part in read)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (b"C9\n", "1 rows have not the header's 2 fields, first line 27 with 1"),
        (b"C9,1,2\n", "1 rows have not the header's 2 fields, first line 27 with 3"),
        (b'"C9,1\n', "1 rows have not the header's 2 fields, first line 27 with 1"),
        (b"C\xe99,1\n", "is not utf-8: byte 0xe9 (invalid continuation byte); column 'id' has 1 such cells"),
    ],
)
def test_a_broken_row_far_down_is_refused_in_one_line(tmp_path: Path, broken: bytes, words: str) -> None:
    (tmp_path / "t.csv").write_bytes(table().to_csv(index=False).encode() + broken)
    with pytest.raises(InputError) as error:
        list(read_parts(tmp_path / "t.csv", {}))
    (line,) = str(error.value).splitlines()
    assert words in line


def test_a_header_that_stands_twice_is_as_the_whole_has_it(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,a,b\n" + "1,2,3\n" * ROWS)
    assert [list(part) for part in read_parts(tmp_path / "t.csv", {})] == [["a", "a", "b"]] * 9
