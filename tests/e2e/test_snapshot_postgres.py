"""The tests of the snapshot once more, on a log in PostgreSQL."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from serve.log.database import connect
from serve.log.migrate import migrate
from tests.monitoring.check.test_snapshot import *  # noqa: F403

pytestmark = pytest.mark.e2e


@pytest.fixture
def engine(empty_database: str) -> Iterator[Engine]:
    """An empty log."""
    log = connect(empty_database)
    migrate(log)
    yield log
    log.dispose()
