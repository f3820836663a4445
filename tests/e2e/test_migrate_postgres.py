"""The tests of the log's migrations once more on PostgreSQL, and what its encoding and its rights decide."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from serve.log.database import connect
from serve.log.migrate import NEEDED, Unusable, migrate
from serve.log.prediction_log import PredictionLog
from serve.log.spool import Spool
from tests.e2e.servers import Postgres
from tests.serve.log.test_migrate import *  # noqa: F403
from tests.serve.log.test_migrate import content

pytestmark = pytest.mark.e2e


@pytest.fixture
def url(empty_database: str) -> str:
    return empty_database


def start(url: str, folder: Path) -> None:
    log = PredictionLog(url, Spool(folder / "spool.jsonl", 10**6))
    try:
        log.open()
    finally:
        log.close()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_of_another_encoding_stops_the_start_in_one_sentence(
    encoding: str, database: Postgres, tmp_path: Path
) -> None:
    admin = connect(database.url)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {encoding.lower()}"))
        settings = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        connection.execute(text(f"CREATE DATABASE {encoding.lower()} {settings}"))
    admin.dispose()
    url = make_url(database.url).set(database=encoding.lower()).render_as_string(hide_password=False)
    words = f"the log's database has the encoding {encoding}; make one with ENCODING 'UTF8'"
    with pytest.raises(Unusable, match=words):
        start(url, tmp_path)


@pytest.fixture
def service_user(engine: Engine) -> Iterator[str]:
    """The log's URL for a user that may create nothing."""
    with engine.begin() as connection:
        connection.execute(text("DROP ROLE IF EXISTS service"))
        connection.execute(text("CREATE ROLE service LOGIN PASSWORD 'service'"))
    own = engine.url.set(username="service", password="service", drivername="postgresql")
    yield own.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(text("DROP OWNED BY service"))
        connection.execute(text("DROP ROLE service"))


def test_a_user_that_may_not_create_the_tables_is_told_who_must(service_user: str, tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"permission denied .*; let a user that may create tables run `python -m serve"):
        start(service_user, tmp_path)


def test_a_user_needs_the_rights_that_are_named_and_no_more(service_user: str, engine: Engine, tmp_path: Path) -> None:
    migrate(engine)
    for table, rights in NEEDED.items():
        words = f"the log's user service has no right: GRANT {', '.join(rights)} ON {table} TO service"
        with pytest.raises(Unusable, match=words):
            start(service_user, tmp_path)
        with engine.begin() as connection:
            connection.execute(text(f"GRANT {', '.join(rights)} ON {table} TO service"))
    start(service_user, tmp_path)
    assert content(engine) == {"predictions": [], "outcomes": [], "checks": []}
