"""The tests of scored files in the log once more, on a log in PostgreSQL."""

import pytest

from tests.serve.score.test_log import *  # noqa: F403

pytestmark = pytest.mark.e2e


@pytest.fixture
def url(empty_database: str) -> str:
    return empty_database
