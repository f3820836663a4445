"""Checks in the log: what was found comes back, and old logs take them too."""

import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from serve.log.checks import latest, record
from serve.log.prune import prune
from serve.log.tables import Check, checks
from tests.factories import empty_log

AT = datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return empty_log(tmp_path)


def report(verdict: str = "healthy", **more: Any) -> dict[str, Any]:
    return {"verdict": verdict, "reasons": [], "window": {"model_version": "v"}, "customers": 600, **more}


def kept(engine: Engine, since: datetime = AT - timedelta(days=1)) -> list[Check]:
    with engine.connect() as connection:
        return latest(connection, since)


def test_what_was_found_comes_back_oldest_first(engine: Engine) -> None:
    later, found = AT + timedelta(hours=1), report("breach", drift={"features": {"Größe 🙂": {"distance": 0.1}}})
    with engine.connect() as connection:
        record(connection, later.astimezone(timezone(timedelta(hours=5))), found)
        record(connection, AT, report())
    assert kept(engine) == [Check(AT, "v", "healthy", report()), Check(later, "v", "breach", found)]
    assert kept(engine, later) == [Check(later, "v", "breach", found)]
    assert kept(engine, later + timedelta(microseconds=1)) == []


def test_of_the_same_moment_the_last_word_counts(engine: Engine) -> None:
    with engine.connect() as connection:
        record(connection, AT, report("breach"))
        record(connection, AT, report("warn", window={"model_version": "w"}))
    assert [check[1:3] for check in kept(engine)] == [("w", "warn")]


def test_a_check_of_the_future_hides_no_other(engine: Engine) -> None:
    with engine.connect() as connection:
        record(connection, AT, report())
        record(connection, datetime.now(UTC) + timedelta(days=3650), report("breach"))
    assert kept(engine) == [Check(AT, "v", "healthy", report())]


def test_what_is_no_number_is_null(engine: Engine) -> None:
    with engine.connect() as connection:
        record(connection, AT, report(estimated={"roc_auc": math.nan, "low": [-math.inf], "high": 0.1}))
    assert kept(engine)[0].found["estimated"] == {"roc_auc": None, "low": [None], "high": 0.1}


def test_a_log_from_before_there_were_checks_takes_one(engine: Engine) -> None:
    checks.drop(engine)
    assert kept(engine) == []
    assert prune(engine, AT) == {"predictions": 0, "outcomes": 0, "contacts": 0}
    with engine.connect() as connection:
        record(connection, AT, report())
    assert [check.at for check in kept(engine)] == [AT]
