"""query: the rows of a query are those of its snapshot, which must be of this query."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from churn.query import FINGERPRINT, fingerprint, is_query, table_file
from churn.script import InputError


@pytest.fixture
def query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("q.sql").write_text("SELECT 1")
    return Path("q.sql")


def keep(query: Path) -> None:
    table = pa.table({"a": [1]}).replace_schema_metadata({FINGERPRINT: fingerprint(query)})
    parquet.write_table(table, "s.parquet")


def test_only_sql_is_a_query() -> None:
    assert [is_query(Path(name)) for name in ("q.sql", "Q.SQL", "sql", "q.sql.csv")] == [True, True, False, False]


def test_any_other_table_is_its_own_file(query: Path) -> None:
    assert table_file(Path("t.csv"), Path("none.parquet")) == Path("t.csv")


def test_a_query_s_cells_are_in_its_snapshot(query: Path) -> None:
    keep(query)
    assert table_file(query, Path("s.parquet")) == Path("s.parquet")


WAY_OUT = "set data.path to q.sql and ask the database: dvc repro extract"


def test_a_missing_snapshot_is_named_with_the_way_out(query: Path) -> None:
    with pytest.raises(InputError) as error:
        table_file(query, Path("s.parquet"))
    assert str(error.value) == f"s.parquet, the rows of q.sql, is missing; {WAY_OUT}"


def test_the_snapshot_of_another_query_is_refused(query: Path) -> None:
    keep(query)
    query.write_text("SELECT 2")
    with pytest.raises(InputError) as error:
        table_file(query, Path("s.parquet"))
    assert str(error.value) == f"s.parquet is not of q.sql as it is now; {WAY_OUT}"
    parquet.write_table(pa.table({}), "s.parquet")  # as extract leaves it where data.path is no query
    with pytest.raises(InputError, match=r"is not of q\.sql"):
        table_file(query, Path("s.parquet"))
