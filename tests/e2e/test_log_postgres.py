"""The tests of the prediction log once more, on PostgreSQL."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text

from serve.log import connect
from tests.e2e.servers import Postgres, postgres
from tests.test_log import *  # noqa: F403

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture
def url(database: Postgres) -> str:
    """An empty database."""
    engine = connect(database.url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS predictions, outcomes, checks"))
    engine.dispose()
    return database.url
