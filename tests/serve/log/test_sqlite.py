"""What the prediction log does when its SQLite file is locked, gone or foreign; and the command line."""

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, event, select

from churn.script import InputError
from demo.processes import until
from serve.log import database, prediction_log, spool
from serve.log.__main__ import main
from serve.log.database import connect, scrub
from serve.log.migrate import migrate
from serve.log.outcomes import labelled, matched
from serve.log.prediction_log import LogDown, LogFull, PredictionLog
from serve.log.spool import Spool
from serve.log.tables import predictions
from tests.conftest import ROOT
from tests.serve.log.test_prediction_log import outcome, row, rows


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PredictionLog]:
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.05)
    monkeypatch.setattr(prediction_log, "RETRY_SECONDS", 0.02)
    opened = PredictionLog(f"sqlite:///{tmp_path / 'folder/log.db'}", Spool(tmp_path / "spool.jsonl", 100_000))
    opened.open()
    yield opened
    opened.close()


def test_while_another_program_holds_the_file_rows_wait_in_the_spool(log: PredictionLog, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "folder/log.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    log.write([row("1")])
    until(lambda: "lock" in log.problem)  # SQLite's, or the turn that the watcher holds meanwhile
    assert log.accepts
    with pytest.raises(LogDown):
        log.record([outcome(customer_id="c")])
    other.execute("ROLLBACK")
    other.close()
    until(lambda: not log.problem)
    assert [found.request_id for found in rows(log)] == ["1"]


def test_a_turn_that_never_ends_holds_nobody_for_long(log: PredictionLog, tmp_path: Path) -> None:
    code = "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX); print(flush=True); input()"
    words = [sys.executable, "-c", code, str(tmp_path / "folder/log.db.turn")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        log.write([row("1")])
        until(lambda: log.problem == "another process holds the lock")  # a look that began before may say otherwise
        other.kill()
    until(lambda: not log.problem)
    assert len(rows(log)) == 1


def test_a_process_that_writes_on_and_on_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, others = (database.write_lock(connect(f"sqlite:///{tmp_path / 'log.db'}")) for _ in range(2))
    turns, waits = list[str](), threading.Event()
    monkeypatch.setattr(spool.time, "sleep", lambda _: waits.set())

    def write() -> None:
        with others():
            turns.append("other")

    with ours():
        thread = threading.Thread(target=write)
        thread.start()
        assert waits.wait(30)
    for _ in range(100):
        with ours():
            turns.append("we")
    thread.join()
    assert "other" in turns[:2]


def test_where_the_folder_is_gone_nothing_is_promised_until_it_is_back(tmp_path: Path, log: PredictionLog) -> None:
    folder = tmp_path / "folder"
    log.spool.close()
    log.spool = Spool(folder / "spool.jsonl", 100_000)
    log.write([row("1")])
    shutil.rmtree(folder)
    with pytest.raises(LogFull, match="was removed"):
        log.write([row("2")])
    assert log.state()[0] == "unready"
    with pytest.raises(LogDown):
        log.record([outcome(customer_id="c")])
    folder.mkdir()
    until(lambda: log.state()[0] == "ready")
    log.write([row("3")])
    with sqlite3.connect(folder / "log.db") as other:
        assert other.execute("SELECT request_id FROM predictions").fetchall() == [("3",)]


@pytest.mark.parametrize("seen_by", ["write", "watcher"])
def test_after_a_file_took_its_place_rows_go_there(
    seen_by: str, log: PredictionLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write([row("1")])
    assert log.record([outcome(customer_id="c")]) == 1
    path = tmp_path / "folder/log.db"
    with sqlite3.connect(path) as original, sqlite3.connect(tmp_path / "backup") as backup:
        original.backup(backup)
    original.close()
    backup.close()
    if seen_by == "watcher":
        monkeypatch.setattr(prediction_log, "PING_SECONDS", 0)
        recover, seen = log._recover, list[str]()
        monkeypatch.setattr(log, "_recover", lambda: (recover(), seen.append(log.problem)))
    for left in path.parent.glob("log.db-*"):
        left.unlink()
    (tmp_path / "backup").replace(path)
    if seen_by == "watcher":
        until(lambda: any(seen))
    for request_id in "23456":
        log.write([row(request_id)])
        until(lambda: not log.problem and not log.spool.size)
    with sqlite3.connect(path) as other:
        query = "SELECT request_id FROM predictions ORDER BY id"
        assert [found for (found,) in other.execute(query)] == list("123456")
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_whoever_comes_and_goes_does_not_take_the_journal_along(log: PredictionLog, tmp_path: Path) -> None:
    log.write([row("1")])
    migrate(log.engine)
    path = tmp_path / "folder/log.db"
    code = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM predictions').fetchone()"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    log.write([row("2")])
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert path.with_name("log.db-wal").exists()
    with sqlite3.connect(path) as other:
        assert len(other.execute("SELECT * FROM predictions").fetchall()) == 2


def test_what_holds_customers_is_for_one_user_s_eyes(log: PredictionLog, tmp_path: Path) -> None:
    log.write([row()])
    files = [*(tmp_path / "folder").iterdir(), *tmp_path.glob("spool*")]
    assert len(files) >= 5
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_removed_row_leaves_its_bytes_behind_until_the_file_is_scrubbed(
    log: PredictionLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def traces() -> list[str]:
        return [path.name for path in (tmp_path / "folder").iterdir() if b"its bytes" in path.read_bytes()]

    monkeypatch.setattr(database, "SCRUB_SECONDS", 0.1)
    log.write([row("its bytes")])
    with log.engine.begin() as connection:
        connection.execute(delete(predictions))
    assert traces()
    with log.engine.connect() as reader:
        reader.exec_driver_sql("BEGIN")
        reader.execute(select(predictions)).all()
        with pytest.raises(TimeoutError, match="a reader holds the journal; it still has removed rows"):
            scrub(log.engine)
    scrub(log.engine)
    assert traces() == []


def test_a_file_that_is_no_database_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_text("some text, and not a little of it" * 100)
    log = PredictionLog(f"sqlite:///{tmp_path / 'log.db'}", Spool(tmp_path / "spool.jsonl", 100_000))
    log.open()
    assert log.problem == "file is not a database"
    log.write([row()])
    assert log.spool.size > 0
    log.close()
    assert "some text" in (tmp_path / "log.db").read_text()


WRONG = ["", "nonsense", "postgresql://u:a-secret@h:port/d", "mysql://u:a-secret@h/d", "sqlite+nothing:///x"]
WRONG += ["sqlite://", "sqlite:///:memory:", "sqlite:///file:log.db?uri=true", "postgres://u:a-secret@h/d"]
WRONG += ["sqlite+aiosqlite:///x", "sqlite+pysqlcipher://:a-secret@/x"]


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_url_is_refused_in_one_line_without_its_password(url: str) -> None:
    with pytest.raises(InputError) as error:
        connect(url)
    assert str(error.value).startswith("CHURN_LOG_URL ")
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def command(folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "serve.log", *words],
        cwd=ROOT, env=os.environ | {"CHURN_RELEASES": str(folder), "CHURN_LOG_URL": ""}, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.slow
def test_the_command_removes_what_is_old(tmp_path: Path) -> None:
    log = PredictionLog(f"sqlite:///{tmp_path / 'log.db'}", Spool(tmp_path / "spool.jsonl", 100_000))
    log.open()
    log.write([row("old", id="0" * 30), row("new")])
    assert command(tmp_path, "prune", "--days", "400") == (
        0, "serve.log: removed 1 predictions, 0 outcomes, 0 contacts, 0 checks older than 400 days\n",
    )  # fmt: skip
    assert [found.request_id for found in rows(log)] == ["new"]
    log.close()


@pytest.mark.slow
def test_the_command_names_what_is_wrong(tmp_path: Path) -> None:
    status, said = command(tmp_path, "prune", "--days", "400")
    assert (status, len(said.splitlines())) == (1, 1)
    assert f"there is no log {tmp_path}/log.db" in said
    assert not list(tmp_path.iterdir())
    assert command(tmp_path, "prune", "--days", "-1") == (1, "serve.log: --days is -1; expected 0 to 36500\n")
    sqlite3.connect(tmp_path / "log.db").close()
    status, said = command(tmp_path, "prune", "--days", "400")
    assert (status, len(said.splitlines())) == (1, 1)
    assert "no such table: predictions" in said


def test_a_log_that_is_in_use_or_away_is_one_line_without_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(url: str) -> str:
        monkeypatch.setenv("CHURN_LOG_URL", url)
        monkeypatch.setattr(sys, "argv", ["serve.log", "prune", "--days", "1"])
        with pytest.raises(InputError) as error:
            main()
        return str(error.value)

    monkeypatch.setattr(database, "LOCK_SECONDS", 0.02)
    sqlite3.connect(tmp_path / "log.db").close()
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with (tmp_path / "log.db.turn").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert said(url) == f"the log {url}: another process holds the lock"
    away = said("postgresql://u:a-secret@127.0.0.1:1/d?sslpassword=a-secret")
    assert away.startswith("the log postgresql+psycopg://u:***@127.0.0.1:1/d: ")
    assert "refused" in away
    assert "secret" not in away
    assert "\n" not in away


def test_what_is_looked_for_by_name_is_found_by_an_index(tmp_path: Path) -> None:
    """The indexes leave the shadow's rows out, and a query that does not say so would read the whole log."""
    engine = connect(f"sqlite:///{tmp_path / 'log.db'}")
    migrate(engine)
    said: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda c, cursor, sql, values, *_: said.append((sql, values)))
    with engine.connect() as connection:
        matched(connection, [{"customer_id": "a", "request_id": "b"}])
    labelled(engine, datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=90))
    queries = [one for one in said if one[0].startswith(("SELECT", "WITH")) and "FROM contacts" not in one[0]]
    assert len(queries) == 3
    with sqlite3.connect(tmp_path / "log.db") as connection:
        for sql, values in queries:
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
            assert any("predictions USING" in step and "INDEX predictions_" in step for step in plan), plan
            assert not [step for step in plan if step.startswith("SCAN predictions")]
