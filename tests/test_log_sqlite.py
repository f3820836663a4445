"""What the prediction log does when its SQLite file is locked, gone or foreign; and the command line."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from churn.script import InputError
from serve import log as module
from serve.log import PredictionLog, connect, create_tables
from serve.spool import Spool
from tests.conftest import ROOT
from tests.e2e.servers import until
from tests.test_log import row, rows


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PredictionLog]:
    monkeypatch.setattr(module, "WAIT", 0.05)
    monkeypatch.setattr(module, "RETRY", 0.02)
    opened = PredictionLog(f"sqlite:///{tmp_path / 'folder/log.db'}", Spool(tmp_path / "spool.jsonl", 100_000))
    opened.open()
    yield opened
    opened.close()


def test_while_another_program_holds_the_file_rows_wait_in_the_spool(log: PredictionLog, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "folder/log.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    log.write([row("1")])
    assert "locked" in log.problem
    assert log.accepts
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
        assert "is locked by another process" in log.problem
        other.kill()
    until(lambda: not log.problem)
    assert len(rows(log)) == 1


def test_whoever_comes_and_goes_does_not_take_the_journal_along(log: PredictionLog, tmp_path: Path) -> None:
    log.write([row("1")])
    create_tables(log.engine)
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
WRONG += ["sqlite://", "sqlite:///:memory:"]


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


def test_the_command_removes_what_is_old(tmp_path: Path) -> None:
    log = PredictionLog(f"sqlite:///{tmp_path / 'log.db'}", Spool(tmp_path / "spool.jsonl", 100_000))
    log.open()
    log.write([row("old", id="0" * 30), row("new")])
    assert command(tmp_path, "prune", "--days", "400") == (
        0, "serve.log: removed 1 predictions and 0 outcomes older than 400 days\n",
    )  # fmt: skip
    assert [found.request_id for found in rows(log)] == ["new"]
    log.close()


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
