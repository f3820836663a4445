"""The tests of the prediction log once more, on PostgreSQL."""

import pytest
from sqlalchemy import text

from demo.processes import until
from serve.log.prediction_log import PredictionLog
from tests.serve.log.test_prediction_log import *  # noqa: F403
from tests.serve.log.test_prediction_log import aside, row, rows

pytestmark = pytest.mark.e2e


@pytest.fixture
def url(empty_database: str) -> str:
    return empty_database


def test_a_row_that_is_refused_only_at_the_commit_is_set_aside_too(log: PredictionLog) -> None:
    with log.engine.begin() as connection:
        deferred = "UNIQUE (customer_id) DEFERRABLE INITIALLY DEFERRED"
        connection.execute(text(f"ALTER TABLE predictions ADD CONSTRAINT once {deferred}"))
    group = [row(str(i), name) for i, name in enumerate("abca")]
    assert log.write(group) == (0, {3})
    log.problem = "for the test"
    log.write([row("4", "d"), row("5", "b"), row("6", "e")])
    until(lambda: not log.problem and not log.spool.size)
    assert [found.request_id for found in rows(log)] == ["0", "1", "2", "4", "6"]
    assert [line["request_id"] for line in aside(log)] == ["3", "5"]
