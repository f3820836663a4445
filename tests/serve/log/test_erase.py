"""An erased customer is nowhere any more, whatever is killed in between; all others are where they were."""

import fcntl
import io
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Table, Text, insert, select

from churn.script import InputError
from demo.processes import until
from monitoring.check import snapshot_files
from monitoring.retrain import clone
from serve.log import erase as module
from serve.log import receipts as receipts_module
from serve.log.__main__ import main
from serve.log.erase import SNAPSHOT, TRAINING, Erasure, NeverSeen, Places, belongs_to, erase
from serve.log.prediction_log import PredictionLog
from serve.log.receipts import Receipts, digest
from serve.log.spool import Spool
from serve.log.tables import as_line, contacts, metadata, outcomes, predictions
from tests.serve.log.test_prediction_log import NOW, outcome, row

ID = "cust-Zoë"
OWN_LEVEL = "a-level-that-Zoë-alone-has"  # among the features
TRACES = [ID.encode(), OWN_LEVEL.encode(), *(json.dumps(text)[1:-1].encode() for text in (ID, OWN_LEVEL))]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts_module, "COST", 2**4)
    monkeypatch.setattr("serve.log.prediction_log.RETRY_SECONDS", 0.02)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture
def log(url: str, tmp_path: Path) -> Iterator[PredictionLog]:
    opened = PredictionLog(url, Spool(tmp_path / "spool.jsonl", 1_000_000))
    opened.open()
    yield opened
    opened.close()


@pytest.fixture
def places(log: PredictionLog, tmp_path: Path) -> Places:
    """Beside a service that is at work."""
    return Places(log.engine, Spool(log.spool.path, 1_000_000), tmp_path / "pipeline", [])


@pytest.fixture
def erased(places: Places, tmp_path: Path) -> Callable[..., Erasure]:
    return lambda customer_id=ID: erase(customer_id, places, Receipts(tmp_path / "erasures"))


def theirs(request_id: str = "r", **more: Any) -> Any:
    return row(request_id, ID, features=json.dumps({"plan": OWN_LEVEL}, ensure_ascii=False), **more)


def fill(log: PredictionLog) -> None:
    """Three customers everywhere, in turns, more than a page of SQLite's file has room for."""
    others = [row(f"{name}{i}", name) for i in range(30) for name in ("a", "b")]
    log.write([*others[:20], *(theirs(f"r{i}") for i in range(30)), *others[20:], row("nobody", None)])
    log.write([], [theirs("r0", arm="shadow")])
    log.record([outcome(customer_id=ID), outcome(customer_id="a"), outcome(request_id="r1"), outcome(request_id="a1")])
    contact = {"campaign": "spring", "at": NOW, "offered": True, "share": 1.0, "received_at": NOW}
    with log.engine.begin() as connection:
        connection.execute(insert(contacts), [contact | {"customer_id": name} for name in (ID, "a")])
    log.spool.set_aside([as_line(theirs("aside")), as_line(row("other aside", "b"))])
    log.spool.unreadable_path.write_bytes(f'{{"customer_id": "{ID}", "feat\n{{"customer_id": "b", "f\n'.encode())


def traces(folder: Path) -> list[Path]:
    """The files that hold the customer's id or what is known of them."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if any(trace in path.read_bytes() for trace in TRACES)]


def held(log: PredictionLog) -> list[tuple[Any, ...]]:
    """All that the tables hold, as text."""
    with log.engine.connect() as connection:
        return [
            tuple(map(str, found)) for table in metadata.sorted_tables for found in connection.execute(select(table))
        ]


def others(log: PredictionLog) -> list[tuple[Any, ...]]:
    return [found for found in held(log) if not any(ID in cell or OWN_LEVEL in cell for cell in found)]


def test_an_erased_customer_is_in_no_file_and_no_table(
    log: PredictionLog, erased: Callable[..., Erasure], tmp_path: Path
) -> None:
    fill(log)
    for path in SNAPSHOT:
        (tmp_path / "pipeline" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pipeline" / path).write_text(OWN_LEVEL)
    if log.is_file:
        assert traces(tmp_path)[0].name.startswith("log.db")
    kept = [found for found in others(log) if "r1" not in found]
    receipt = erased().receipt
    assert receipt["found"] == {
        "predictions": 31, "outcomes": 2, "contacts": 1,
        "spool.jsonl": 0, "spool.jsonl.refused": 1, "spool.jsonl.unreadable": 1,
    }  # fmt: skip
    assert held(log) == kept
    assert traces(tmp_path) == []
    assert [line["request_id"] for line in lines(log.spool.refused_path)] == ["other aside"]
    assert any("1 lines that can't be read" in place for place in receipt["not_reached"])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_outcome_of_a_request_that_others_share_stays(log: PredictionLog, erased: Callable[..., Erasure]) -> None:
    log.write([*map(theirs, ("shared", "own", "own", "unnamed")), row("shared", "a"), row("unnamed", None)])
    log.record([outcome(request_id=name) for name in ("shared", "own", "unnamed")])
    assert erased().receipt["found"]["outcomes"] == 1
    with log.engine.connect() as connection:
        assert {*connection.scalars(select(outcomes.c.request_id))} == {"shared", "unnamed"}


def test_a_table_that_is_added_later_is_looked_at(log: PredictionLog, erased: Callable[..., Erasure]) -> None:
    later = Table(
        "later", metadata, Column("campaign", Text, primary_key=True), Column("customer_id", Text, primary_key=True)
    )
    try:
        log.write([theirs()])
        assert "later" not in erased().receipt["found"]  # which the database does not have yet
        later.create(log.engine)
        with log.engine.begin() as connection:
            connection.execute(insert(later), [{"campaign": "x", "customer_id": name} for name in (ID, "a")])
        assert erased().receipt["found"]["later"] == 1
        with log.engine.connect() as connection:
            assert connection.scalars(select(later.c.customer_id)).all() == ["a"]
        later.drop(log.engine)
    finally:
        metadata.remove(later)


def test_more_rows_than_a_step_has_are_removed(
    log: PredictionLog, erased: Callable[..., Erasure], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.log.customer_rows.STEP_ROWS", 7)
    log.write([theirs(f"r{i}") for i in range(20)])
    log.record([outcome(days=day, customer_id=ID) for day in range(-20, -5)])
    found = erased().receipt["found"]
    assert (found["predictions"], found["outcomes"], held(log)) == (20, 15, [])


@given(st.lists(st.sampled_from(["a", ID, "b"]), max_size=12), st.booleans())
def test_the_spool_keeps_all_others_in_their_order(customers: list[str], is_torn: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder, "spool"), 10**6)
        rows = [{"customer_id": name, "number": number} for number, name in enumerate(customers)]
        spool.append(rows)
        if is_torn:
            os.pwrite(spool.file, f'{{"customer_id": "{ID}"'.encode(), spool.size)
        other, drained = Spool(spool.path, 10**6), []
        other.erase(belongs_to(ID))
        assert ID.encode() not in spool.path.read_bytes()
        spool.append([{"customer_id": "after"}])  # by a service that has the file open
        spool.drain(drained.extend)
        assert drained == [one for one in rows if one["customer_id"] != ID] + [{"customer_id": "after"}]
        assert not spool.unreadable_path.exists()
        for opened in (spool, other):
            opened.close()


def test_rows_that_wait_for_the_database_are_erased_and_the_others_come_in(
    log: PredictionLog, erased: Callable[..., Erasure], tmp_path: Path
) -> None:
    fcntl.flock(log.spool.drain_lock, fcntl.LOCK_EX)  # so that nothing drains until the spool holds all
    log.problem = "for the test"
    log.write([row("1", "a"), theirs("2"), row("3", "b")])
    log.spool.append([as_line(row("4", "a"))])
    fcntl.flock(log.spool.drain_lock, fcntl.LOCK_UN)
    erased()
    until(lambda: not log.problem and not log.spool.size)
    with log.engine.connect() as connection:
        assert connection.scalars(select(predictions.c.request_id).order_by(predictions.c.id)).all() == ["1", "3", "4"]
    assert traces(tmp_path) == []


def test_a_customer_that_was_never_seen_is_refused_in_one_line_and_has_a_receipt(
    log: PredictionLog, erased: Callable[..., Erasure], tmp_path: Path
) -> None:
    log.write([row("r", "a")])
    for _ in range(2):
        with pytest.raises(NeverSeen, match="no row of that customer is known") as error:
            erased()
        assert "\n" not in str(error.value) and ID not in str(error.value)
    (file,) = (tmp_path / "erasures").iterdir()
    receipt = json.loads(file.read_text())
    assert receipt["ended"] and not any(receipt["found"].values())
    for wrong in ("", "a\0", "\udcff"):
        with pytest.raises(InputError, match="CUSTOMER_ID is empty or holds bytes that no id has"):
            erased(wrong)
    assert len(held(log)) == 1


def test_to_erase_twice_changes_nothing_and_a_customer_who_came_back_has_a_second_receipt(
    log: PredictionLog, erased: Callable[..., Erasure], tmp_path: Path
) -> None:
    log.write([theirs()])
    first = erased()
    content = first.file.read_bytes()
    assert erased() == Erasure(first.receipt, first.file, False)
    log.write([theirs(), theirs()])
    second = erased()
    assert second.is_new and second.receipt["found"]["predictions"] == 2
    assert first.file.read_bytes() == content
    assert {*(tmp_path / "erasures").iterdir()} == {first.file, second.file}


def test_a_receipt_is_known_by_the_id_alone(log: PredictionLog, erased: Callable[..., Erasure], tmp_path: Path) -> None:
    log.write([theirs(), row("r", "a")])
    receipt, file, _ = erased()
    assert not any(trace in file.read_bytes() for trace in TRACES)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    customer = receipt["customer"]
    assert digest(ID, customer["salt"], customer["cost"]) == customer["scrypt"]
    receipts = Receipts(tmp_path / "erasures")
    assert (len(receipts.of(ID)), receipts.of("a"), receipts.of(ID.lower())) == (1, [], [])
    assert erased("a").receipt["customer"]["salt"] == customer["salt"]
    assert receipts_module.COST == 2**4 and digest(ID, "00", 2**4) != customer["scrypt"]


MOMENTS = [*(("before", step) for step in ("_blank", "remove_rows", "remove_training", "scrub")), ("after", "scrub")]


@pytest.mark.parametrize(("moment", "step"), MOMENTS)
def test_what_was_killed_is_completed_by_the_next_run(
    log: PredictionLog, erased: Callable[..., Erasure], tmp_path: Path, moment: str, step: str
) -> None:
    fill(log)
    kept = [found for found in others(log) if "r1" not in found]
    log.engine.dispose()
    pid = os.fork()
    if not pid:  # no exception comes further than this
        owner: Any = Spool if step == "_blank" else module
        real = getattr(owner, step)

        def killed(*arguments: Any) -> None:
            if moment == "after":
                real(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(owner, step, killed)
        erased()
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    receipt = erased().receipt
    assert (receipt["found"]["predictions"], receipt["found"]["outcomes"]) == (31, 2)
    assert held(log) == kept
    assert traces(tmp_path) == []
    assert len([*(tmp_path / "erasures").iterdir()]) == 1


def test_of_two_erasures_at_once_one_is_refused(erased: Callable[..., Erasure], tmp_path: Path) -> None:
    with Receipts(tmp_path / "erasures").reserved(), pytest.raises(InputError, match="another erasure is at work"):
        erased()


def test_a_retraining_at_work_is_waited_for_and_what_a_killed_one_left_goes(
    log: PredictionLog, places: Places, erased: Callable[..., Erasure], tmp_path: Path
) -> None:
    log.write([theirs()])
    table = places.pipeline / TRAINING / "data/retrain/customers.parquet"
    table.parent.mkdir(parents=True)
    table.write_text(ID)
    with (places.pipeline / TRAINING).with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="a retraining is at work on customers of the log; run the same command"):
            erased()
    assert erased().receipt["found"]["predictions"] == 1
    assert traces(tmp_path) == []


def test_the_copies_are_where_the_monitoring_puts_them() -> None:
    names = (snapshot_files.ANSWERS, snapshot_files.COHORT, snapshot_files.SAMPLE)
    assert tuple(Path("monitoring/data", name) for name in names) == SNAPSHOT
    assert TRAINING == clone.WORK


def test_the_command_names_what_was_removed_and_what_was_not_reached(
    log: PredictionLog, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CHURN_RELEASES", str(tmp_path))
    monkeypatch.setenv("CHURN_LOG_URL", url)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{ID}\n"))
    caplog.set_level("INFO", "serve.log")

    def command(*words: str) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["serve.log", "erase", *words])
        caplog.clear()
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = int(str(ended.code))
        return status, caplog.messages

    log.write([theirs()])
    status, lines = command("-")
    assert (status, lines[0].partition(" of spool")[0]) == (
        0,
        "erased: 1 of predictions, 0 of outcomes, 0 of contacts, 0",
    )
    assert lines[1:] and all(line.startswith("not reached: ") for line in lines[1:])
    assert not any(ID in line for line in lines)
    status, again = command(ID)
    assert (status, again[0].replace("was erased before", "erased"), again[1:]) == (0, lines[0], lines[1:])
    status, lines = command("never seen")
    assert (status, len(lines)) == (1, 1)
    nowhere = tmp_path / "nowhere"
    assert command(ID, "--scores", str(nowhere)) == (2, [f"{nowhere} is no folder; name one that holds scores"])
