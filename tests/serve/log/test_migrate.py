"""The log's tables are brought to this version, whoever made them and however many start at once; nothing is lost."""

import json
import multiprocessing
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, make_url, select, text
from sqlalchemy.exc import DBAPIError

from demo.processes import until
from serve.log.database import connect
from serve.log.migrate import HEAD, VERSIONS, Unusable, migrate, version_of
from serve.log.prediction_log import PredictionLog
from serve.log.spool import Spool
from serve.log.tables import COLUMNS, Check, checks, db_time, metadata, new_id, outcomes, predictions
from tests.conftest import ROOT

AT = datetime(2026, 11, 1, 12, 30, 15, 250_000, tzinfo=UTC)
TABLES = (predictions, outcomes, checks)  # of the first version


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of an empty database; PostgreSQL's in tests/e2e/test_migrate_postgres.py."""
    return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture
def before_versions(url: str) -> str:
    """Of a log that the service wrote before its tables had a version; the dump is of that service's own making."""
    backend = make_url(url).get_backend_name()
    dump = (Path(__file__).parent / f"log_before_versions.{backend}.sql").read_text(encoding="utf-8")
    driver = make_url(url).set(drivername="postgresql+psycopg") if backend == "postgresql" else url
    engine = create_engine(driver)
    raw = engine.raw_connection()
    if backend == "sqlite":
        raw.executescript(dump)  # type: ignore[attr-defined]
    else:
        raw.cursor().execute(dump)
        raw.commit()
    raw.close()
    engine.dispose()
    return url


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    opened = connect(url)
    yield opened
    opened.dispose()


def content(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    with engine.connect() as connection:
        return {table.name: [tuple(row) for row in connection.execute(select(table))] for table in TABLES}


def differences(engine: Engine) -> list[Any]:
    """Between the database and serve/log/tables.py, as Alembic sees them."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSIONS, "compare_type": False})
        return list(compare_metadata(context, metadata))


def test_the_newest_migration_is_the_version_of_this_code() -> None:
    assert ScriptDirectory(str(ROOT / "serve/log/migrations")).get_heads() == [HEAD]


def test_an_empty_database_gets_the_tables_of_this_code(engine: Engine) -> None:
    migrate(engine)
    assert differences(engine) == []
    assert {*metadata.tables, VERSIONS} == set(inspect(engine).get_table_names())
    with engine.connect() as connection:
        assert version_of(connection) == HEAD


def test_a_log_of_before_is_opened_and_all_its_rows_are_there(before_versions: str, engine: Engine) -> None:
    before = content(engine)
    assert [len(rows) for rows in before.values()] == [3, 2, 1]
    migrate(engine)
    assert differences(engine) == []
    assert content(engine) == before
    migrate(engine)
    assert content(engine) == before


def keep_writing(url: str, spool: str, name: str) -> str:
    """Open the log and write to it, as a worker that starts; why it could not, if so."""
    log = PredictionLog(url, Spool(Path(spool), 10**7))
    log.open()
    problem = log.problem
    for number in range(50):
        values = {
            "id": new_id(),
            "request_id": f"{name}-{number}",
            "at": db_time(AT),
            "customer_id": "c-1",
            "features": json.dumps({"tenure": 1.0}),
            "churn_probability": 0.5,
            "prediction": "churn",
            "threshold": 0.25,
            "model_version": "v",
            "arm": "champion",
            "latency_ms": 1.5,
        }
        log.write([tuple(values[column] for column in COLUMNS)])
    log.record([{"customer_id": "", "request_id": f"{name}-0", "observed_at": AT, "churned": True}])
    log.close()
    return problem


@pytest.mark.slow
def test_two_workers_that_start_at_once_upgrade_it_and_go_on_writing(
    before_versions: str, engine: Engine, tmp_path: Path
) -> None:
    before = content(engine)
    spool = str(tmp_path / "spool.jsonl")
    with multiprocessing.get_context("spawn").Pool(2) as workers:
        begun = [workers.apply_async(keep_writing, (before_versions, spool, name)) for name in "ab"]
        assert [one.get(60) for one in begun] == ["", ""]
    log = PredictionLog(before_versions, Spool(Path(spool), 10**7))
    log.open()  # brings in what had to wait in the spool
    until(lambda: not log.spool.size)
    log.close()
    after = content(engine)
    for table, rows in before.items():
        assert set(map(repr, rows)) <= set(map(repr, after[table]))
    names = [row[COLUMNS.index("request_id")] for row in after["predictions"]]
    assert sorted(names) == sorted([f"request-{i}" for i in range(3)] + [f"{n}-{i}" for n in "ab" for i in range(50)])
    assert len(after["outcomes"]) == 4


def test_the_last_check_of_a_log_of_before_is_read(before_versions: str, tmp_path: Path) -> None:
    log = PredictionLog(before_versions, Spool(tmp_path / "spool.jsonl", 10**6))
    log.open()
    log._look()
    assert isinstance(log.check, Check)
    assert log.check.verdict == "healthy"
    log.close()


def test_tables_of_a_later_version_stop_the_start_and_stay_so(engine: Engine, url: str, tmp_path: Path) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSIONS} SET version_num = '9999'"))
    log = PredictionLog(url, Spool(tmp_path / "spool.jsonl", 10**6))
    words = f"the log's tables have version 9999, this service knows them up to {HEAD}; start a newer one"
    with pytest.raises(Unusable, match=words):
        log.open()
    log.close()
    with engine.connect() as connection:
        assert version_of(connection) == "9999"


def test_a_migration_that_fails_leaves_the_database_as_it_was(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE VIEW outcomes AS SELECT 1 AS received_at"))  # which can have no index
    with pytest.raises(DBAPIError, match=r"views may not be indexed|cannot create index on relation"):
        migrate(engine)
    assert inspect(engine).get_table_names() == []
