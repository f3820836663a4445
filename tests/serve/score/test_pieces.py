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


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1"])
@pytest.mark.parametrize("name", ["t.csv", "T.CSV.GZ"])
def test_every_row_is_there_whatever_the_encoding_and_the_end_of_lines(
    tmp_path: Path, name: str, encoding: str, end: str
) -> None:
    lines = ["", '"id\nof a customer",size', *(f"ä{i},{i}" for i in range(ROWS)), ""]
    content = end.join(lines).encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(content) if name == "T.CSV.GZ" else content)
    found = pieces_of(str(tmp_path / name), Format(encoding=encoding))
    assert found[0].headers == ("id\nof a customer", "size")
    assert rows(found) == [[f"ä{i}", str(i)] for i in range(ROWS)]


@pytest.mark.parametrize("where", [0, 1, 50])
def test_a_quote_inside_a_cell_is_a_letter(tmp_path: Path, where: int) -> None:
    texts = [["id", "text"], *([f"C{i}", "a\nb"] for i in range(ROWS))]
    texts[where][1] = 'size 5"'
    lines = [f'{cell},"{text}"' if "\n" in text else f"{cell},{text}" for cell, text in texts]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    found = pieces_of(str(tmp_path / "t.csv"), Format())
    assert (len(found) > 1) == (where == 50)
    assert [list(found[0].headers), *rows(found)] == texts


def test_a_quote_that_is_not_closed_swallows_no_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('id,text\n1,a\n2,"b\n3,c\n')
    with pytest.raises(InputError, match=r"t\.csv: a quoted cell has no end; close its quote"):
        pieces_of(str(tmp_path / "t.csv"), Format())


def test_a_header_of_another_encoding_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("id,Gerät\n1,2\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"t\.csv can't be read: 'utf-8' codec can't decode"):
        pieces_of(str(tmp_path / "t.csv"), Format())


def test_rows_behind_links_count_and_a_link_to_nothing_is_no_secret(tmp_path: Path) -> None:
    for name in ("elsewhere/a.csv", "x/b.csv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f"id\n{name}\n")
    (tmp_path / "x/linked").symlink_to(tmp_path / "elsewhere")
    assert rows(pieces_of(str(tmp_path / "x"), Format())) == [["x/b.csv"], ["elsewhere/a.csv"]]
    (tmp_path / "x/c.csv").symlink_to(tmp_path / "nothing.csv")
    with pytest.raises(FileNotFoundError, match=r"c\.csv"):
        pieces_of(str(tmp_path / "x"), Format())


def test_views_are_read_as_the_texts_that_they_are(tmp_path: Path) -> None:
    columns = {"id": pa.array(["A"], pa.string_view()), "text": pa.array([b"a"], pa.binary_view())}
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    (table,) = pieces_of(str(tmp_path / "t.parquet"), Format())[0].batches()
    assert table.schema.types == [pa.string(), pa.binary()]


def test_pieces_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    monkeypatch.chdir(tmp_path)
    found = pieces_of("t.csv", Format())
    monkeypatch.chdir("/")
    assert len(rows(found)) == ROWS


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


def test_a_row_of_megabytes_is_read_and_one_of_more_than_eight_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"a,b\n1,2\n3,{'x' * 3 * 2**20}\n4,5\n")
    assert sum(len(table) for piece in pieces_of(str(path), Format()) for table in piece.batches()) == 3
    path.write_text(f"a,b\n1,2\n3,{'x' * 2**25}\n4,5\n")
    with pytest.raises(InputError, match=r"t\.csv can't be read: a row of more than 8 MB; shorten it"):
        rows(pieces_of(str(path), Format()))


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_a_file_without_rows_still_has_columns(tmp_path: Path, name: str) -> None:
    empty = FRAME.head(0)
    empty.to_parquet(tmp_path / name) if name == "t.parquet" else empty.to_csv(tmp_path / name, index=False)
    (piece,) = pieces_of(str(tmp_path / name), Format())
    (table,) = piece.batches()
    assert (table.column_names, len(table)) == (list(FRAME), 0)
