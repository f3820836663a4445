"""The tests of the rule for outcomes once more, on a log in PostgreSQL."""

import pytest

from tests.serve.log.test_outcomes import *  # noqa: F403

pytestmark = pytest.mark.e2e


@pytest.fixture
def url(empty_database: str) -> str:
    return empty_database
