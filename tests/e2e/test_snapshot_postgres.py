"""The tests of the snapshot once more, on a log in PostgreSQL."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from serve.log import connect, create_tables
from tests.e2e.servers import Postgres, postgres
from tests.test_snapshot import *  # noqa: F403

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture
def engine(database: Postgres) -> Iterator[Engine]:
    """An empty log."""
    log = connect(database.url)
    with log.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS predictions, outcomes, checks"))
    create_tables(log)
    yield log
    log.dispose()
