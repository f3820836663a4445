"""extract: a query's rows become a snapshot, of a real DuckDB file here; PostgreSQL is in tests/e2e."""

import logging
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

import stages.extract as stage
from churn.read_table import read_table
from churn.script import InputError, run
from churn.table import as_texts
from stages.extract import main, statement
from tests.test_house import ROOT

SNAPSHOT = Path("data/extracted.parquet")
EXAMPLES = stage.EXAMPLES
CELLS = """
CREATE TABLE customers AS FROM (VALUES
    (9007199254740993, 'A1', 12345678901234567890.123::DECIMAL(30, 3), TIMESTAMP '2024-01-01 10:00:00', 1.5::DOUBLE),
    (NULL,             NULL, NULL,                                     NULL,                            NULL),
    (-1,               '',   0.001,                                    TIMESTAMP '2024-01-01 10:00:00.123456', 0.1)
) AS t(big, word, price, seen, charge)
"""


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Run main() on a query in a folder with the database w.duckdb, which it may not write; the snapshot."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHURN_DATA_URL", "duckdb:///w.duckdb")
    Path("params.yaml").write_text("data: {path: q.sql}\n")
    with duckdb.connect("w.duckdb") as connection:
        connection.execute(CELLS)
        connection.execute("CREATE TABLE many AS SELECT range AS id, md5(range::TEXT) AS word FROM range(1000)")

    def extracted(query: str) -> Path:
        Path("q.sql").write_text(query)
        main()
        return SNAPSHOT

    return extracted


@pytest.fixture
def refused(ask: Callable[[str], Path], caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    """The lines with which a query ends, with exit status 1 and nothing written."""

    def lines(query: str) -> list[str]:
        with pytest.raises(SystemExit) as end:
            run(lambda: ask(query) and None, "extract")
        assert end.value.code == 1
        assert not list(Path("data").glob("*")), "a part of the rows was left"
        return caplog.messages

    return lines


def texts(query: Path = Path("q.sql")) -> pd.DataFrame:
    frame = read_table(query, {})
    return pd.DataFrame({header: as_texts(frame[header], ()) for header in frame}).fillna("null")


def test_cells_are_those_of_a_csv_of_the_same_rows(ask: Callable[[str], Path]) -> None:
    ask("SELECT * FROM customers")
    with duckdb.connect("w.duckdb", read_only=True) as connection:
        connection.execute("COPY customers TO 't.csv'")
    assert texts().equals(texts(Path("t.csv")))
    assert texts()["big"].tolist() == ["9007199254740993", "null", "-1"]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("true", "True"),
        ("1.00::DECIMAL(10, 2)", "1"),
        ("170141183460469231731687303715884105727::HUGEINT", "170141183460469231731687303715884105727"),
        ("1.1::FLOAT", "1.1"),
        ("'open'::ENUM('open', 'shut')", "open"),
        ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::UUID", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("DATE '2024-02-29'", "2024-02-29"),
        ("TIME '10:00:00'", "10:00:00"),
        ("TIMESTAMP_NS '2024-01-01 10:00:00.123456789'", "2024-01-01 10:00:00.123456789"),
        ("NULL", "null"),
        ("''", "null"),
    ],
)
def test_a_cell_of_every_type_is_text_that_the_schema_reads(ask: Callable[[str], Path], cell: str, text: str) -> None:
    ask(f"SELECT {cell} AS a")
    assert texts().to_numpy().tolist() == [[text]]


def test_times_with_a_zone_come_in_utc_on_every_machine(ask: Callable[[str], Path]) -> None:
    ask("SELECT TIMESTAMPTZ '2024-01-01 10:00:00+02' AS a")
    here = SNAPSHOT.read_bytes()
    again = [sys.executable, "-m", "stages.extract"]
    subprocess.run(again, env={**os.environ, "TZ": "Asia/Tokyo", "PYTHONPATH": str(ROOT)}, check=True)
    assert SNAPSHOT.read_bytes() == here
    assert texts().to_numpy().tolist() == [["2024-01-01 08:00:00+00:00"]]


def test_a_table_that_is_no_query_leaves_a_file_without_columns(ask: Callable[[str], Path]) -> None:
    ask("SELECT 1 AS a")
    Path("params.yaml").write_text("data: {path: t.csv}\n")
    main()
    assert parquet.read_table(SNAPSHOT).shape == (0, 0)


def test_it_starts_without_pandas_and_without_a_database() -> None:
    code = (
        "import sys, stages.extract; print(*{'pandas', 'sqlalchemy', 'duckdb', 'psycopg', 'tqdm'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_the_same_rows_give_the_same_bytes_however_the_database_cuts_them(
    ask: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "ROWS", 300)
    first = ask("SELECT * FROM many ORDER BY id").read_bytes()
    groups = parquet.ParquetFile(SNAPSHOT).metadata
    assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)] == [300, 300, 300, 100]
    batches = stage._stream

    def in_crumbs(reader: pa.RecordBatchReader, refusal: object) -> pa.RecordBatchReader:
        table = batches(reader, refusal).read_all()
        return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=7))

    monkeypatch.setattr(stage, "_stream", in_crumbs)
    assert ask("SELECT * FROM many ORDER BY id").read_bytes() == first


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(ask: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []  # tracemalloc does not see what Arrow holds
    cells = stage.cells

    def watched(column: pa.ChunkedArray, name: str, path: Path) -> pa.ChunkedArray:
        held.append(pa.total_allocated_bytes())
        return cells(column, name, path)

    monkeypatch.setattr(stage, "cells", watched)
    monkeypatch.setattr(stage, "ROWS", 10_000)

    def peak(rows: int) -> int:
        held.clear()
        tracemalloc.start()
        try:
            ask(f"SELECT range AS id, md5(range::TEXT) AS word FROM range({rows})")
            return tracemalloc.get_traced_memory()[1] + max(held)
        finally:
            tracemalloc.stop()

    peak(10)  # what is imported on the first call does not count
    assert peak(800_000) < 1.5 * peak(100_000)


def test_a_long_run_says_how_far_it_is(
    ask: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stage, "ROWS", 200)
    monkeypatch.setattr(stage, "LOG_EVERY", 400)
    with caplog.at_level(logging.INFO, logger="extract"):
        ask("SELECT * FROM many")
    assert caplog.messages == ["400 rows", "800 rows", f"wrote {SNAPSHOT}: 1000 rows, 2 columns of q.sql"]


# the query


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1 AS a;",
        "select 1 as a -- the end",
        "SELECT 1 AS a;\n-- ; the end ;\n;",
        "/* ; */ WITH t AS (SELECT 1 AS a) SELECT * FROM t",
        "(SELECT 1 AS a)",
        "FROM (VALUES (1)) AS t(a)",
        "\ufeffSELECT 1 AS a",
    ],
)
def test_comments_and_semicolons_around_a_query_do_not_matter(ask: Callable[[str], Path], query: str) -> None:
    ask(query)
    assert texts().to_dict("list") == {"a": ["1"]}


@pytest.mark.parametrize("text", ["';'", "'--'", "'it''s; so'", "$$;'$$", "'/* '", "E'\\';'"])
def test_a_semicolon_within_a_text_ends_no_statement(tmp_path: Path, text: str) -> None:
    (tmp_path / "q.sql").write_text(f"SELECT {text} AS a -- it's; so\n")
    assert statement(tmp_path / "q.sql") == f"SELECT {text} AS a"


WHERE = "q.sql: duckdb:///w.duckdb says: "
QUERIES = {
    "": "q.sql is empty; expected a query that returns one row per customer",
    "-- later\n;": "q.sql is empty; expected a query that returns one row per customer",
    "SELECT 1; SELECT 2": "q.sql holds 2 statements; expected one query",
    "DROP TABLE many": "q.sql begins with 'DROP'; a query only reads and begins with select, with, values, table, from",
    "COPY many TO 'x.csv'": "q.sql begins with 'COPY'; a query only reads and begins with select, with, values, "
    "table, from",
    "SELECT * FROM none": f"{WHERE}Catalog Error: Table with name none does not exist!; correct the query",
    "SELECT * FORM many": f'{WHERE}Parser Error: syntax error at or near "many"; correct the query',
    "SELECT * FROM many WHERE id < 0": "q.sql: the query returned no rows; expected one row per customer",
    "SELECT IF(id = 900, error('later'), id) AS a FROM many": f"{WHERE}Invalid Input Error: later; correct the query",
    "SELECT 1 AS a, 2 AS a": "q.sql: the query has the column 'a' twice; name one otherwise by AS",
    "SELECT [1] AS a": "q.sql: column 'a' is of the type list<l: int32>, which is no cell of a table; cast it in the "
    "query, for instance CAST(a AS text)",
    "SELECT TIMESTAMP 'infinity' AS a": "q.sql: column 'a' holds a time outside the years 1 to 9999, perhaps "
    "infinity; replace it in the query, for instance by NULLIF(a, 'infinity')",
    "WITH t AS (SELECT 1) INSERT INTO many VALUES (1, 'a')": f"{WHERE}Invalid Input Error: Cannot execute statement "
    'of type "INSERT" on database "w" which is attached in read-only mode!; correct the query',
}


@pytest.mark.parametrize(("query", "line"), QUERIES.items())
def test_a_query_that_cannot_be_kept_is_refused_in_one_line(
    refused: Callable[[str], list[str]], query: str, line: str
) -> None:
    assert refused(query) == [line]


def test_every_column_that_is_no_cell_is_named(refused: Callable[[str], list[str]]) -> None:
    assert [line.partition(" is of")[0] for line in refused("SELECT [1] AS a, 1 AS b, {'x': 1} AS c")] == [
        "q.sql: column 'a'",
        "q.sql: column 'c'",
    ]


def test_a_refused_query_leaves_the_last_snapshot(ask: Callable[[str], Path]) -> None:
    before = ask("SELECT 1 AS a").read_bytes()
    with pytest.raises(InputError):
        ask("SELECT IF(id = 900, error('later'), id) AS a FROM many")
    assert SNAPSHOT.read_bytes() == before
    assert [path.name for path in SNAPSHOT.parent.iterdir()] == [SNAPSHOT.name]


def test_a_query_that_is_missing_or_of_another_encoding_is_said(tmp_path: Path) -> None:
    (tmp_path / "q.sql").write_bytes("SELECT 'ü'".encode("latin-1"))
    with pytest.raises(InputError, match=r"q\.sql is not utf-8: invalid start byte; save it as utf-8"):
        statement(tmp_path / "q.sql")
    with pytest.raises(InputError, match=r"none\.sql is missing; set data\.path"):
        statement(tmp_path / "none.sql")


# the database


URLS = {
    "": f"CHURN_DATA_URL is not set, and data.path is a query; {EXAMPLES}",
    "hidden": f"CHURN_DATA_URL is no URL of a database (ArgumentError); {EXAMPLES}",
    "mysql://u:hidden@h/d": f"CHURN_DATA_URL names the database 'mysql'; {EXAMPLES}",
    "postgresql://u:hidden@h:port/d": f"CHURN_DATA_URL is no URL of a database (ValueError); {EXAMPLES}",
    "duckdb://": f"CHURN_DATA_URL names no file; {EXAMPLES}",
    "duckdb:///none.duckdb": f"CHURN_DATA_URL: there is no file none.duckdb; {EXAMPLES}",
    "duckdb:///q.sql": "CHURN_DATA_URL: duckdb:///q.sql cannot be reached: IO Error: The file",
    "postgresql://u:hidden@127.0.0.1:1/d?password=hidden": "CHURN_DATA_URL: postgresql://u:***@127.0.0.1:1/d cannot "
    'be reached: connection to server at "127.0.0.1", port 1 failed: Connection refused; correct the URL',
    "postgresql://u:hid%2Fden@127.0.0.1:1/d?nonsense=hidden": "CHURN_DATA_URL: postgresql://u:***@127.0.0.1:1/d "
    'cannot be reached: invalid connection option "nonsense"; correct the URL',
}


@pytest.mark.parametrize(("url", "line"), URLS.items())
def test_a_database_that_cannot_be_asked_is_refused_without_its_password(
    refused: Callable[[str], list[str]], url: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN_DATA_URL", url)
    (told,) = refused("SELECT 1 AS a")
    assert told.startswith(line)
    assert "hid" not in told
