"""The tests of the prediction log once more, on PostgreSQL."""

import pytest

from tests.serve.log.test_writer import *  # noqa: F403

pytestmark = pytest.mark.e2e


@pytest.fixture
def url(empty_database: str) -> str:
    return empty_database
