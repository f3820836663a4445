"""The tests of the snapshot once more, on a log in PostgreSQL."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from serve.log.database import connect, create_tables
from tests.monitoring.check.test_snapshot import *  # noqa: F403

pytestmark = pytest.mark.e2e


@pytest.fixture
def engine(empty_database: str) -> Iterator[Engine]:
    """An empty log."""
    log = connect(empty_database)
    create_tables(log)
    yield log
    log.dispose()
