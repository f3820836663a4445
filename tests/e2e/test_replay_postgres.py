"""The tests of replays once more, on a log in PostgreSQL."""

import pytest

from tests.serve.releases.test_replay import *  # noqa: F403

pytestmark = pytest.mark.e2e


@pytest.fixture
def url(empty_database: str) -> str:
    return empty_database
