"""The tests of erasure once more, on PostgreSQL; and the bytes in its files, once its owner did what is named."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from serve.log.erase import Erasure
from serve.log.prediction_log import PredictionLog
from tests.e2e.servers import Postgres
from tests.serve.log.test_erase import *  # noqa: F403
from tests.serve.log.test_erase import fill, theirs, traces

pytestmark = pytest.mark.e2e


@pytest.fixture
def url(empty_database: str) -> str:
    return empty_database


def test_no_file_of_the_server_has_the_customer_once_what_is_named_was_run(
    log: PredictionLog, erased: Callable[..., Erasure], database: Postgres
) -> None:
    def run(*statements: str) -> None:
        with log.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in statements:
                connection.execute(text(statement))

    base = Path(database.data, "base")
    fill(log)
    log.write([theirs(f"often{i}") for i in range(50)])
    run("ANALYZE", "CHECKPOINT")
    assert len(traces(base)) > 2  # rows, an index, statistics
    ways = "; ".join(erased().receipt["not_reached"].values())
    statements = re.findall(r"VACUUM[^;]*", ways)
    assert statements == ["VACUUM (FULL, ANALYZE) contacts, outcomes, predictions", "VACUUM FULL pg_statistic"]
    run(*statements, "CHECKPOINT")
    assert traces(base) == []
