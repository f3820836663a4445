"""The tests of the checks once more, on a log in PostgreSQL."""

import pytest

from tests.e2e.test_snapshot_postgres import engine  # noqa: F401
from tests.serve.log.test_checks import *  # noqa: F403

pytestmark = pytest.mark.e2e
