"""The prediction log keeps every row once, whatever its database does, and knows the outcomes."""

import json
import multiprocessing
import os
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, event, func, insert, select

from demo.processes import until
from serve.log import prediction_log as module
from serve.log.database import connect
from serve.log.prediction_log import LogFull, PredictionLog
from serve.log.prune import prune
from serve.log.refused import ReportsRefused
from serve.log.spool import Spool
from serve.log.tables import COLUMNS, Check, Row, as_line, checks, db_time, first_id, new_id, outcomes, predictions
from tests.factories import allow, refuse, refuse_all, refuse_outcomes

Each = Callable[..., list[Any]]

NOW = datetime(2026, 11, 1, 12, 30, 15, 250_000, tzinfo=UTC)
FEATURES = {"tenure": 2.5, "contract": "Zwölf Monate 🙂", "total_charges": None, "partner": True}


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.log.prediction_log.RETRY_SECONDS", 0.02)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture
def log(url: str, tmp_path: Path) -> Iterator[PredictionLog]:
    opened = PredictionLog(url, Spool(tmp_path / "spool.jsonl", 100_000))
    opened.open()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def each() -> Iterator[Each]:
    """What a function gives for each of two arguments, in two processes side by side."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as one, context.Pool(1) as other:

        def call(function: Callable[..., Any], first: tuple[Any, ...], second: tuple[Any, ...]) -> list[Any]:
            begun = [one.apply_async(function, first), other.apply_async(function, second)]
            return [result.get() for result in begun]

        yield call


def row(request_id: str = "r", customer_id: str | None = "c", **more: Any) -> Row:
    values = {
        "id": new_id(), "request_id": request_id, "at": db_time(NOW), "customer_id": customer_id,
        "features": json.dumps(FEATURES), "churn_probability": 0.1 + 0.2, "prediction": "churn", "threshold": 0.25,
        "model_version": "v", "arm": "champion", "latency_ms": 1.5,
    }  # fmt: skip
    return tuple((values | more)[name] for name in COLUMNS)


def rows(log: PredictionLog) -> list[Any]:
    with log.engine.connect() as connection:
        return list(connection.execute(select(predictions).order_by(predictions.c.id)))


def outcome(churned: bool = True, days: int = 0, **name: str) -> dict[str, Any]:
    at = NOW + timedelta(days=days)
    return {"customer_id": "", "request_id": "", "observed_at": at, "churned": churned} | name


def test_a_row_comes_back_as_it_was_written(log: PredictionLog) -> None:
    log.write([row(customer_id=None)])
    (found,) = rows(log)
    assert (found.request_id, found.customer_id, found.at) == ("r", None, NOW)
    assert (found.features, found.churn_probability, found.latency_ms) == (FEATURES, 0.1 + 0.2, 1.5)


def test_a_group_of_any_size_is_one_commit(log: PredictionLog) -> None:
    group = [row(str(i)) for i in range(1201)]
    log.write(group)
    assert [found.request_id for found in rows(log)] == [str(i) for i in range(1201)]
    log.write([])
    assert len(rows(log)) == 1201


def test_a_row_that_comes_twice_is_kept_once(log: PredictionLog) -> None:
    one = row()
    log.write([one, row("other")])
    log.write([one])
    assert len(rows(log)) == 2


def opened(url: str, path: Path) -> str:
    log = PredictionLog(url, Spool(path, 10_000))
    log.open()
    problem = log.problem
    log.close()
    return problem


@pytest.mark.slow
def test_processes_make_the_tables_side_by_side(url: str, tmp_path: Path, each: Each) -> None:
    path = tmp_path / "spool.jsonl"
    assert each(opened, (url, path), (url, path)) == ["", ""]


def test_what_waits_in_the_spool_goes_first(log: PredictionLog) -> None:
    log.problem = "for the test"
    log.write([row("1")])
    log.problem = ""
    log.write([row("2")])  # the spool is not empty
    assert log.spool.size > 0
    until(lambda: not log.spool.size)
    log.write([row("3")])
    assert [found.request_id for found in rows(log)] == ["1", "2", "3"]


def test_a_crash_between_the_commit_and_the_emptied_spool_doubles_nothing(log: PredictionLog) -> None:
    one = row()
    log.write([one])
    log.spool.append([dict(zip(COLUMNS, one, strict=True))])
    until(lambda: not log.spool.size)
    assert len(rows(log)) == 1


def aside(log: PredictionLog) -> list[dict[str, Any]]:
    file = log.spool.refused_path
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_row_that_can_not_be_inserted_is_set_aside_and_holds_up_no_other(
    log: PredictionLog, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(log.engine, "poison")
    log.problem = "for the test"
    log.write([row("1"), row("2", "poison"), row("3")])
    log.spool.append([{"id": "of another version", "customer_id": "secret"}])
    log.write([row("4")])
    until(lambda: not log.problem and not log.spool.size)
    assert [found.request_id for found in rows(log)] == ["1", "3", "4"]
    assert [line["customer_id"] for line in aside(log)] == ["secret", "poison"]
    assert log.state() == ("ready", "")
    assert re.search("the log's database refuses 1 of . rows: (IntegrityError|CheckViolation)", caplog.text)
    assert "poison" not in caplog.text and "secret" not in caplog.text


def test_of_a_group_only_the_rows_that_are_refused_are_not_committed(log: PredictionLog) -> None:
    refuse(log.engine, "poison", "venom")
    group = [row(str(i), "poison" if i in (0, 7, 600) else "venom" if i == 8 else "c") for i in range(601)]
    written = log.write(group, [row("beside", "poison"), row("beside")])
    assert written == (1, {0, 7, 8, 600})
    assert {found.request_id for found in rows(log)} == {str(i) for i in range(601)} - {"0", "7", "8", "600"} | {
        "beside"
    }
    assert [line["request_id"] for line in aside(log)] == ["0", "7", "8", "600"]
    assert not log.problem


def test_what_is_set_aside_is_there_once_however_often_it_comes(log: PredictionLog) -> None:
    refuse(log.engine, "poison")
    one = row("1", "poison")
    for _ in range(2):
        log.spool.append([as_line(one)])
        until(lambda: not log.spool.size)
    assert [line["request_id"] for line in aside(log)] == ["1"]


def test_what_was_set_aside_is_brought_in_once_the_database_takes_it(log: PredictionLog) -> None:
    refuse(log.engine, "poison", "venom")
    log.write([row("1", "poison"), row("2", "venom"), row("3")])
    allow(log.engine, "poison")
    assert log.retry() == (1, 1)
    assert {found.request_id for found in rows(log)} == {"1", "3"}
    assert [line["request_id"] for line in aside(log)] == ["2"]
    assert log.retry() == (0, 1)


def test_a_line_that_a_crash_left_torn_is_written_again(log: PredictionLog) -> None:
    refuse(log.engine, "poison")
    log.write([row("1", "poison")])
    whole = log.spool.refused_path.read_bytes()
    for torn in range(0, len(whole), 40):
        log.spool.refused_path.write_bytes(whole + whole[:torn].replace(b'"1"', b'"2"'))
        log.write([row("2", "poison")])
        assert [line["request_id"] for line in aside(log)] == ["1", "2"]


def test_an_outcome_that_the_database_refuses_is_named_and_the_others_are_kept(log: PredictionLog) -> None:
    refuse_outcomes(log.engine, "poison", "venom")
    names = ["a", "poison", "b", "venom", *(f"c{i}" for i in range(600)), "poison"]
    with pytest.raises(ReportsRefused) as error:
        log.record([outcome(customer_id=name) for name in names])
    assert error.value.places == [1, 3, 604]
    with log.engine.connect() as connection:
        kept = set(connection.scalars(select(outcomes.c.customer_id)))
    assert kept == set(names) - {"poison", "venom"}


def test_a_table_that_takes_no_row_at_all_is_a_database_that_is_down(log: PredictionLog) -> None:
    refuse_all(log.engine)
    assert log.write([row("1")]) == (0, frozenset())
    assert log.state()[0] == "degraded"
    assert log.spool.size and not aside(log)
    allow(log.engine, "all")
    until(lambda: not log.problem and not log.spool.size)
    assert [found.request_id for found in rows(log)] == ["1"]


def written(url: str, path: Path, name: str) -> None:
    module.RETRY_SECONDS = 0.02
    log = PredictionLog(url, Spool(path, 10**7))
    log.open()
    for i in range(60):
        if i % 7 == 3:
            log.problem = "for the test"
        log.write([row(f"{name}-{i}-{n}") for n in range(3)])
        if i % 10 == 5:
            log.record([outcome(customer_id=f"{name}-{i}")])
    log.close()


@pytest.mark.slow
def test_processes_that_write_spool_drain_and_record_at_once_lose_and_double_nothing(
    url: str, tmp_path: Path, each: Each
) -> None:
    path = tmp_path / "spool.jsonl"
    each(written, (url, path, "a"), (url, path, "b"))
    log = PredictionLog(url, Spool(path, 10**7))
    log.open()
    until(lambda: not log.spool.size)
    found = [found.request_id for found in rows(log)]
    assert sorted(found) == sorted(f"{name}-{i}-{n}" for name in "ab" for i in range(60) for n in range(3))
    log.close()


def test_a_crowd_s_outcomes_take_one_connection_and_predictions_are_written_in_between(log: PredictionLog) -> None:
    said = [[outcome(customer_id=f"c{i}-{n}") for i in range(700)] for n in range(8)]
    crowd = [threading.Thread(target=log.record, args=(part,)) for part in said]
    taken: list[int] = []
    event.listen(log.engine, "checkout", lambda *_: taken.append(log.engine.pool.checkedout()))
    for thread in crowd:
        thread.start()
    while any(thread.is_alive() for thread in crowd):
        log.write([row()])
    assert not log.problem
    assert max(taken) <= 3  # of outcomes, of predictions, of the watcher
    with log.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(outcomes)) == 5600


def test_an_outcome_said_twice_changes_nothing(log: PredictionLog) -> None:
    log.write([row("r1", "c1")])
    said = [outcome(customer_id="c1"), outcome(request_id="r1"), outcome(customer_id="unknown")]
    assert log.record(said) == 2
    with log.engine.connect() as connection:
        before = connection.execute(select(outcomes)).all()
    assert log.record(said) == 2
    with log.engine.connect() as connection:
        assert connection.execute(select(outcomes)).all() == before
    assert len(before) == 3


def test_the_last_word_on_a_moment_counts(log: PredictionLog) -> None:
    log.record([outcome(True, customer_id="c"), outcome(False, customer_id="c"), outcome(True, 1, customer_id="c")])
    with log.engine.connect() as connection:
        query = select(outcomes.c.observed_at, outcomes.c.churned).order_by(outcomes.c.observed_at)
        assert [tuple(found) for found in connection.execute(query)] == [(NOW, False), (NOW + timedelta(days=1), True)]
    log.record([outcome(True, customer_id="c")])
    with log.engine.connect() as connection:
        assert connection.scalar(select(outcomes.c.churned).where(outcomes.c.observed_at == NOW)) is True


def test_a_moment_is_one_in_every_zone(log: PredictionLog) -> None:
    there = NOW.astimezone(timezone(timedelta(hours=9)))
    log.record([outcome(customer_id="c"), outcome(customer_id="c") | {"observed_at": there}])
    with log.engine.connect() as connection:
        assert connection.scalars(select(outcomes.c.observed_at)).all() == [NOW]


def test_thousands_of_outcomes_are_matched(log: PredictionLog) -> None:
    log.write([row(f"r{i}", f"c{i}") for i in range(0, 1500, 2)])
    assert log.record([outcome(customer_id=f"c{i}") for i in range(1500)]) == 750


def test_the_past_is_removed_and_nothing_else(log: PredictionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.log.prune.STEP_ROWS", 10)
    old = [row(f"old{i}", id=first_id(NOW - timedelta(microseconds=1 + i)) + "f") for i in range(25)]
    log.write([*old, row("kept", id=first_id(NOW))])
    log.record([outcome(customer_id="c"), outcome(customer_id="d")])
    with log.engine.begin() as connection:
        past = {"customer_id": "e", "request_id": "", "observed_at": NOW, "churned": True}
        connection.execute(insert(outcomes), [past | {"received_at": NOW - timedelta(days=1)}])
        report = {"model_version": "v", "verdict": "healthy", "found": {}}
        connection.execute(insert(checks), [report | {"at": NOW - timedelta(days=days)} for days in (0, 1, 2)])
    assert prune(log.engine, NOW) == {"predictions": 25, "outcomes": 1, "contacts": 0, "checks": 2}
    assert [found.request_id for found in rows(log)] == ["kept"]
    assert set(prune(log.engine, NOW).values()) == {0}


def test_the_newest_check_is_seen_and_stays_while_the_database_is_away(
    log: PredictionLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("serve.log.prediction_log.CHECK_SECONDS", 0.02)
    row = {"model_version": "v", "verdict": "healthy", "found": {"customers": None}}
    newest = Check(NOW, **row)
    with log.engine.begin() as connection:
        connection.execute(insert(checks), [row | {"at": NOW - timedelta(days=days)} for days in (1, 0, 2, -3650)])
    until(lambda: log.check == newest)
    checks.drop(log.engine)
    until(lambda: "the last check can't be read" in caplog.text)
    assert log.check == newest
    checks.create(log.engine)
    until(lambda: log.check is None)


def test_close_leaves_every_row(url: str, tmp_path: Path) -> None:
    log = PredictionLog(url, Spool(tmp_path / "spool.jsonl", 100_000))
    log.open()
    log.write([row()])
    log.close()
    with connect(url).connect() as connection:
        assert connection.scalar(select(func.count()).select_from(predictions)) == 1


def test_a_trial_of_the_database_leaves_nothing(log: PredictionLog) -> None:
    log.problem = "for the test"
    until(lambda: not log.problem)
    assert rows(log) == []


def test_when_the_spool_is_full_too_nothing_is_promised(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = PredictionLog(url, Spool(tmp_path / "spool.jsonl", 100))
    log.problem = "for the test"
    with pytest.raises(LogFull, match="is full: 0 of 100 bytes"):
        log.write([row()])
    assert not log.accepts
    assert "neither the log's database nor the spool takes rows: spool " in caplog.text
    log.open()
    assert log.accepts
    log.write([row()])
    assert len(rows(log)) == 1
    with log.engine.begin() as connection:
        connection.execute(delete(predictions))
    log.close()


def test_a_spool_that_fails_in_another_way_promises_nothing_either(url: str, tmp_path: Path) -> None:
    log = PredictionLog(url, Spool(tmp_path / "spool.jsonl", 100_000))
    log.problem = "for the test"
    only_to_read = os.open(tmp_path / "spool.jsonl", os.O_RDONLY)
    os.dup2(only_to_read, log.spool.file, inheritable=False)
    with pytest.raises(LogFull):
        log.write([row()])
    assert not log.accepts
    os.close(only_to_read)
    log.spool.close()


def ids(count: int) -> list[str]:
    return [new_id() for _ in range(count)]


@pytest.mark.slow
def test_ids_ascend_and_never_meet(each: Each) -> None:
    one, other = each(ids, (10_000,), (10_000,))
    assert one == sorted(one)
    assert other == sorted(other)
    assert len({*one, *other}) == 20_000


def test_an_id_tells_its_moment() -> None:
    before = datetime.now(UTC) - timedelta(microseconds=1)
    made = new_id()
    after = datetime.now(UTC) + timedelta(microseconds=1)
    assert first_id(before) < made < first_id(after)
