"""The input is divided into pieces that hold each row once, whole, in its order."""

import gzip
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from churn.script import InputError
from serve.score import pieces as module
from serve.score.pieces import Format, Piece, pieces_of

ROWS = 100


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 25)
    monkeypatch.setattr(module, "BYTES", 200)
    monkeypatch.setattr(module, "SCANNED", 64)
    monkeypatch.setattr(module, "BATCH", 7)


def rows(pieces: list[Piece]) -> list[list[str]]:
    tables = [batch for piece in pieces for batch in piece.batches()]
    assert all(len(table) <= 7 for table in tables)
    return [[str(cell) for cell in row.values()] for table in tables for row in table.to_pylist()]


FRAME = pd.DataFrame({"id": [f"C{i}" for i in range(ROWS)], "text": [f'say "{i}",\nthen go' for i in range(ROWS)]})


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "t.parquet"])
def test_each_row_is_in_one_piece(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "t.parquet":
        parquet.write_table(pa.Table.from_pandas(FRAME), path, row_group_size=10)
    else:
        FRAME.to_csv(path, index=False, sep="\t" if name == "t.tsv" else ",")
    found = pieces_of(str(path), Format())
    assert len(found) == {"t.csv.gz": 1, "t.parquet": 4}.get(name, len(found))
    assert len(found) > 3 or name == "t.csv.gz"
    assert rows(found) == FRAME.to_numpy().tolist()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(alphabet='ab",\n é', max_size=12), max_size=30), st.booleans())
def test_any_text_survives_the_division(tmp_path: Path, cells: list[str], ends_in_newline: bool) -> None:
    frame = pd.DataFrame({"id": range(len(cells)), "text": cells})
    content = frame.to_csv(index=False)
    path = tmp_path / "t.csv"
    path.write_text(content if ends_in_newline else content.rstrip("\n"), newline="")
    assert rows(pieces_of(str(path), Format())) == [[str(i), text] for i, text in enumerate(cells)]


def test_a_folder_s_files_follow_by_name_and_hidden_ones_do_not_count(tmp_path: Path) -> None:
    for name in ("month=2/b.csv", "month=1/a.csv", "_SUCCESS", ".tmp.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"id\n{name}\n")
    found = pieces_of(str(tmp_path), Format())
    assert [piece.source for piece in found] == ["month=1/a.csv", "month=2/b.csv"]
    assert rows(pieces_of(f"{tmp_path}/*/*.csv", Format())) == [["month=1/a.csv"], ["month=2/b.csv"]]


def test_an_edited_row_is_other_content(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    FRAME.to_csv(path, index=False)
    before = [piece.content() for piece in pieces_of(str(path), Format())]
    path.write_text(path.read_text().replace("C99", "D99"))
    after = [piece.content() for piece in pieces_of(str(path), Format())]
    assert before[:-1] == after[:-1]
    assert before[-1] != after[-1]


def test_other_headers_are_other_content(tmp_path: Path) -> None:
    one, other = FRAME, FRAME.rename(columns={"text": "words"})
    contents = []
    for frame in (one, other):
        frame.to_parquet(tmp_path / "t.parquet")
        contents.append(pieces_of(str(tmp_path / "t.parquet"), Format())[0].content())
    assert contents[0] != contents[1]


BAD = {
    "nothing": (lambda p: None, "x is missing; name a file, a folder or a pattern"),
    "empty folder": (lambda p: p.mkdir(), "x is an empty folder; name the tables to score"),
    "other suffix": (lambda p: (p.mkdir(), (p / "t.xlsx").write_text("")), "t.xlsx: only .parquet, .csv"),
    "mixed": (
        lambda p: (p.mkdir(), (p / "t.csv").write_text("a\n1\n"), FRAME.to_parquet(p / "u.parquet")),
        "x holds files of csv and parquet; name those of one kind: '",
    ),
    "empty file": (lambda p: (p.mkdir(), (p / "t.csv").write_text("")), "t.csv is empty; expected a header"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_table_is_one_line(tmp_path: Path, case: str) -> None:
    make, words = BAD[case]
    make(tmp_path / "x")
    with pytest.raises(InputError) as error:
        pieces_of(str(tmp_path / "x"), Format())
    (line,) = str(error.value).splitlines()
    assert words in line


def test_a_cut_file_is_one_line(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_bytes((tmp_path / "t.parquet").read_bytes()[:-20])
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3\n")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 99)[:-20])
    for name in ("t.parquet", "t.csv", "t.csv.gz"):
        with pytest.raises(InputError, match=rf"{name} can't be read: .+") as error:
            rows(pieces_of(str(tmp_path / name), Format()))
        assert len(str(error.value).splitlines()) == 1
