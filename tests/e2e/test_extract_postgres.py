"""extract on a real PostgreSQL: cells arrive whole, nothing is written there, and DVC asks only when it should."""

import csv
import shutil
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pandas as pd
import psycopg
import pytest

from churn.read_table import read_table
from churn.script import InputError
from churn.table import as_texts
from stages.extract import ROWS, main
from tests.e2e.conftest import command, ran, set_knobs
from tests.e2e.servers import Postgres

pytestmark = pytest.mark.e2e

SNAPSHOT = Path("data/extracted.parquet")
SET_UP = """
DROP SCHEMA public CASCADE;
CREATE SCHEMA public;
CREATE TYPE plan AS ENUM ('basic', 'full');
CREATE DOMAIN euro AS numeric(12, 2);
CREATE SEQUENCE numbers;
CREATE TABLE customers (
    id uuid, big bigint, small smallint, price numeric, bill euro, charge float8, ratio real, word text, code char(3),
    plan plan, joined date, seen timestamp, changed timestamptz, at time, notes jsonb
);
INSERT INTO customers VALUES
    ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 9007199254740993, 1, 12345678901234567890.00012, 29.85, 0.1, 1.1,
     'Zoë, "the" 1', 'ab', 'full', '2024-02-29', '2024-01-01 10:00:00', '2024-01-01 10:00:00+02', '10:00', '{"a": 1}'),
    (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12', -9223372036854775808, -1, -0.00000001, 0.01, 1e300, 16777216.5, 'a;b', '',
     'basic', '1900-01-01', '2024-01-01 10:00:00.123456', '1999-12-31 23:59:59.999999+00', '23:59:59', '[1, "x"]');
"""


def execute(url: str, statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements.encode())


@pytest.fixture(scope="module")
def filled(database: Postgres) -> str:
    execute(database.url, SET_UP)
    return database.url


@pytest.fixture
def ask(filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], pd.DataFrame]]:
    """Run main() on a query in an empty folder; its cells as texts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHURN_DATA_URL", filled)
    Path("params.yaml").write_text("data: {path: q.sql}\n")

    def extracted(query: str) -> pd.DataFrame:
        Path("q.sql").write_text(query)
        main()
        return as_cells(Path("q.sql"))

    yield extracted


def as_cells(path: Path) -> pd.DataFrame:
    frame = read_table(path, {})
    return pd.DataFrame({header: as_texts(frame[header], ()) for header in frame}).fillna("null")


def test_cells_are_those_of_a_csv_of_the_same_rows(ask: Callable[[str], pd.DataFrame], filled: str) -> None:
    cells = ask("SELECT * FROM customers ORDER BY small;\n-- as they are")
    with psycopg.connect(filled, options="-c timezone=utc") as connection, connection.cursor() as cursor:
        query = "COPY (SELECT * FROM customers ORDER BY small) TO STDOUT (FORMAT csv, HEADER)"
        with cursor.copy(query) as copied:
            content = b"".join(copied).decode()
    header, *rows = csv.reader(StringIO(content))
    assert list(cells) == header
    expected = pd.DataFrame([[cell.strip() or "null" for cell in row] for row in rows], columns=header)
    numbers = ["charge", "ratio"]  # 1e300 is written out there
    assert (
        cells[numbers]
        .replace("null", "nan")
        .astype(float)
        .equals(expected[numbers].replace("null", "nan").astype(float))
    )
    zone = {"changed": expected["changed"].str.replace("+00", "+00:00")}
    exact = expected.assign(**zone).drop(columns=numbers)
    assert cells.drop(columns=numbers).to_dict("list") == exact.to_dict("list")


def test_booleans_and_whole_decimals_are_those_of_any_other_table(ask: Callable[[str], pd.DataFrame]) -> None:
    assert ask("SELECT true AS a, false AS b, 1.00::numeric AS c, 'NaN'::numeric AS d").to_numpy().tolist() == [
        ["True", "False", "1", "nan"]
    ]


def test_decimals_of_any_length_arrive_whole(ask: Callable[[str], pd.DataFrame]) -> None:
    number = "sign((g - 500)::numeric) * (g * 7919 % 997) * 10::numeric ^ (g % 50 - 25)::numeric + 0.5"
    cells = ask(f"SELECT n, n::text AS written FROM (SELECT {number} AS n FROM generate_series(1, 1000) AS g) AS t")
    written = cells["written"].str.replace(r"\.0+$", "", regex=True)
    assert cells["n"].tolist() == written.tolist()


def test_many_rows_give_the_same_bytes_again(ask: Callable[[str], pd.DataFrame]) -> None:
    query = f"SELECT g AS id, md5(g::text) AS word FROM generate_series(1, {5 * ROWS}) AS g ORDER BY 1"
    assert ask(query)["id"].tolist() == [str(n) for n in range(1, 5 * ROWS + 1)]
    first = SNAPSHOT.read_bytes()
    ask(query)
    assert SNAPSHOT.read_bytes() == first


REFUSED = {
    "SELECT * FROM none": 'relation "none" does not exist; correct the query',
    "SELECT 100000 / (g - 90000) AS a FROM generate_series(1, 100000) AS g": "division by zero; correct the query",
    "SELECT nextval('numbers') AS a": "cannot execute nextval() in a read-only transaction; correct the query",
    "WITH t AS (DELETE FROM customers RETURNING *) SELECT id FROM t": "cannot execute SELECT in a read-only "
    "transaction; correct the query",
    "SELECT set_config('transaction_read_only', 'off', false), 1 AS a": "transaction read-write mode must be set "
    "before any query; correct the query",
    "SELECT 5::money AS a": "q.sql: column 'a' is of the type money, which is no cell of a table; cast it in the "
    "query, for instance CAST(a AS text)",
    "SELECT inet '10.0.0.1' AS a": "q.sql: column 'a' is of the type inet, which is no cell of a table; cast it in "
    "the query, for instance CAST(a AS text)",
    "SELECT date 'infinity' AS a": "q.sql: column 'a' holds a time outside the years 1 to 9999, perhaps infinity; "
    "replace it in the query, for instance by NULLIF(a, 'infinity')",
    "SELECT id FROM customers WHERE false": "q.sql: the query returned no rows; expected one row per customer",
}


@pytest.mark.parametrize(("query", "said"), REFUSED.items())
def test_what_cannot_be_kept_or_would_write_is_refused(
    ask: Callable[[str], pd.DataFrame], filled: str, query: str, said: str
) -> None:
    with pytest.raises(InputError) as error:
        ask(query)
    (line,) = str(error.value).splitlines()
    where = filled.replace("secret", "***")
    assert line == (said if said.startswith("q.sql") else f"q.sql: {where} says: {said}")
    assert not list(Path("data").glob("*"))
    assert len(ask("SELECT * FROM customers")) == 3


def test_a_wrong_password_is_said_and_not_shown(
    ask: Callable[[str], pd.DataFrame], filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHURN_DATA_URL", filled.replace("secret", "hidden"))
    with pytest.raises(InputError, match='password authentication failed for user "u"') as error:
        ask("SELECT 1 AS a")
    assert "hidden" not in str(error.value)


def test_a_password_may_hold_what_ends_other_parts_of_a_url(
    ask: Callable[[str], pd.DataFrame], filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(filled, "DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD 'a/b@c: ''\\d'")
    monkeypatch.setenv("CHURN_DATA_URL", filled.replace("u:secret", "reader:a%2Fb%40c%3A%20'%5Cd"))
    assert ask("SELECT current_user AS a").to_numpy().tolist() == [["reader"]]


def test_dvc_asks_when_the_query_changes_or_when_it_is_forced_to(original: Path, filled: str, tmp_path: Path) -> None:
    clone = shutil.copytree(original, tmp_path / "repository")
    execute(filled, "CREATE TABLE book (id int, tenure int, churn text)")
    execute(filled, "INSERT INTO book SELECT g, g % 70, 'Yes' FROM generate_series(1, 10) AS g")
    (clone / "my.yaml").write_text(
        'id: {name: customer_id, source: id}\ntarget: {name: churned, source: churn, positive: "Yes", negative: "No"}\n'
        "columns:\n  - {name: tenure, type: number}\n"
    )
    (clone / "my.sql").write_text("SELECT * FROM book ORDER BY id")
    set_knobs(clone, data__path="my.sql", data__schema="my.yaml")

    def rows() -> int:
        return len(pd.read_parquet(clone / "data/loaded.parquet"))

    failed = command(clone, "dvc", "repro", "load", status=None)
    assert "extract: CHURN_DATA_URL is not set, and data.path is a query" in failed
    repro = ("dvc", "repro", "load")
    assert ran(command(clone, *repro, CHURN_DATA_URL=filled)) == ["extract", "load"]
    assert rows() == 10

    execute(filled, "INSERT INTO book VALUES (11, 1, 'No')")
    with (clone / "stages/extract.py").open("a") as file:
        file.write("\nPROBE = 1\n")
    assert ran(command(clone, *repro)) == []  # without a database
    assert rows() == 10

    force = ("dvc", "repro", "--force", "--single-item", "extract")
    assert ran(command(clone, *force, CHURN_DATA_URL=filled)) == ["extract"]
    assert ran(command(clone, *repro)) == ["load"]
    assert rows() == 11

    assert ran(command(clone, *force, CHURN_DATA_URL=filled)) == ["extract"]  # the same rows
    assert ran(command(clone, *repro)) == []

    (clone / "my.sql").write_text("SELECT * FROM book WHERE id > 5 ORDER BY id")
    assert ran(command(clone, *repro, CHURN_DATA_URL=filled)) == ["extract", "load"]
    assert rows() == 6
