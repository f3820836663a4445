"""The spool keeps rows in order, all or none, whatever is killed or full in between."""

import errno
import fcntl
import multiprocessing
import os
import shutil
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.log import spool as module
from serve.log.spool import CHUNK_BYTES, PROBE, Spool, SpoolFull

Rows = list[dict[str, Any]]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "folder/spool.jsonl", 10_000)


def rows(*numbers: int) -> Rows:
    return [{"id": number, "text": "é\n\u2028"} for number in numbers]


def drained(spool: Spool) -> Rows:
    found: Rows = []
    spool.drain(found.extend)
    return found


def test_what_was_appended_is_drained_in_order_once(spool: Spool) -> None:
    spool.append(rows(1, 2))
    spool.append(rows(3))
    assert spool.size > 0
    assert drained(spool) == rows(1, 2, 3)
    assert spool.size == 0
    assert drained(spool) == []


@given(steps=st.lists(st.one_of(st.integers(1, 4), st.sampled_from(["drain", "fail", "tear", "reopen"]))))
def test_no_row_is_lost_or_changes_its_place(steps: list[int | str]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "spool")
        spool, waiting, number = Spool(path, 10**6), [], 0
        for step in steps:
            if isinstance(step, int):
                new = rows(*range(number, number + step))
                number += step
                spool.append(new)
                waiting += new
            elif step == "drain":
                assert drained(spool) == waiting
                waiting = []
            elif step == "fail" and waiting:
                with pytest.raises(ZeroDivisionError):
                    spool.drain(lambda _: 1 // 0)
            elif step == "tear":  # what a process leaves that is killed while it writes
                with path.open("ab") as file:
                    file.write(b'{"id": 7, "te')
            elif step == "reopen":
                spool.close()
                spool = Spool(path, 10**6)
        assert drained(spool) == waiting
        spool.close()


def test_at_its_bound_it_takes_nothing_of_a_group(spool: Spool) -> None:
    spool.append(rows(1))
    size = spool.size
    with pytest.raises(SpoolFull, match=f"spool .+ is full: {size} of 10000 bytes"):
        spool.append(rows(*range(1000)))
    assert spool.size == size
    assert drained(spool) == rows(1)


def test_a_full_disk_leaves_no_half_row(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.append(rows(1))
    write = os.pwrite

    def half(file: int, content: bytes, offset: int) -> int:
        if len(content) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, content[: len(content) // 2], offset)

    monkeypatch.setattr(os, "pwrite", half)
    with pytest.raises(SpoolFull, match="No space left on device"):
        spool.append(rows(2, 3))
    assert not spool.accepts()
    monkeypatch.undo()
    assert spool.accepts()
    assert drained(spool) == rows(1)


def test_a_trial_leaves_nothing_and_needs_room(spool: Spool) -> None:
    assert spool.accepts()
    assert spool.size == 0
    assert not Spool(spool.path, len(PROBE) - 1).accepts()


def test_rows_that_come_while_it_drains_are_drained_too(spool: Spool) -> None:
    spool.append(rows(1))
    found: Rows = []

    def insert(chunk: Rows) -> None:
        if not found:
            spool.append(rows(2))
        found.extend(chunk)

    spool.drain(insert)
    assert found == rows(1, 2)
    assert spool.size == 0


def test_one_drains_at_a_time(spool: Spool) -> None:
    spool.append(rows(1))
    other = Spool(spool.path, 10_000)
    seen: list[Rows] = []
    spool.drain(lambda chunk: seen.append(drained(other)))
    assert seen == [[]]


def test_a_large_spool_is_drained_in_parts(tmp_path: Path) -> None:
    spool, chunks = Spool(tmp_path / "spool", 10**8), []
    large = [{"id": i, "text": "x" * 1000} for i in range(2000)]
    spool.append(large)
    spool.drain(chunks.append)
    assert len(chunks) > 2
    assert [row for chunk in chunks for row in chunk] == large


def test_a_line_of_any_length_is_handed_on(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 10**8)
    long = {"id": 0, "text": "x" * (3 * CHUNK_BYTES)}
    spool.append([long, *rows(1)])
    assert drained(spool) == [long, *rows(1)]


def test_a_line_that_cannot_be_read_is_put_aside_alone(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    spool.append(rows(1))
    with spool.path.open("ab") as file:  # what a power cut leaves of pages that were not on disk yet
        file.write(b"\0" * 20 + b'secret"}\n\n')
    spool.append(rows(2))
    assert drained(spool) == rows(1, 2)
    assert spool.size == 0
    assert "a line of 28 bytes can't be read" in caplog.text
    aside = spool.path.with_name(f"{spool.path.name}.unreadable")
    assert aside.read_bytes() == b"\0" * 20 + b'secret"}\n'  # an empty line is nothing
    assert "secret" not in caplog.text


def test_what_may_still_be_taken_back_is_not_handed_on(spool: Spool) -> None:
    spool.append(rows(1))
    found, handed = Rows(), threading.Event()

    def insert(chunk: Rows) -> None:
        found.extend(chunk)
        handed.set()

    with spool.path.open("ab", buffering=0) as writer:  # another process, whose disk gets full
        fcntl.flock(writer, fcntl.LOCK_EX)
        writer.write(b'{"id": 2}\n')
        drainer = threading.Thread(target=spool.drain, args=(insert,), daemon=True)
        drainer.start()
        assert not handed.wait(0.1)
        writer.truncate(spool.size - len(b'{"id": 2}\n'))
    drainer.join(5)
    assert not drainer.is_alive()
    assert found == rows(1)


def test_a_file_that_somebody_emptied_is_drained_from_its_start(spool: Spool) -> None:
    spool.append(rows(1, 2))
    found: Rows = []

    def insert(chunk: Rows) -> None:
        if not found:
            os.truncate(spool.path, 0)
            spool.append(rows(3))
        found.extend(chunk)

    spool.drain(insert)
    assert found == rows(1, 2, 3)


def test_a_removed_file_takes_no_rows_but_gives_those_it_has(spool: Spool) -> None:
    spool.append(rows(1))
    spool.path.unlink()
    with pytest.raises(SpoolFull, match="was removed"):
        spool.append(rows(2))
    assert not spool.accepts()
    assert drained(spool) == rows(1)
    spool.append(rows(3))
    assert drained(Spool(spool.path, 10_000)) == rows(3)


def test_a_removed_folder_takes_no_rows_until_it_is_back(spool: Spool) -> None:
    shutil.rmtree(spool.path.parent)
    assert not spool.accepts()
    spool.path.parent.mkdir()
    spool.append(rows(1))
    assert drained(Spool(spool.path, 10_000)) == rows(1)


def test_nobody_waits_long_for_a_process_that_stands_still(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.02)
    with spool.path.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(SpoolFull, match="another process holds the lock"):
            spool.append(rows(1))
        assert not spool.accepts()
    spool.append(rows(2))
    assert drained(spool) == rows(2)


def test_a_process_that_writes_on_and_on_keeps_nobody_out(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Spool(spool.path, 10_000)  # as of another process: its locks are its own
    waits = threading.Event()
    monkeypatch.setattr(module.time, "sleep", lambda _: waits.set())
    with spool._alone():
        thread = threading.Thread(target=other.append, args=(rows(2),))
        thread.start()
        assert waits.wait(30)
    for _ in range(100):
        spool.append(rows(1))
    thread.join()
    assert rows(2)[0] in drained(spool)[:2]


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a lock however slow the disk is."""
    monkeypatch.setattr(module, "LOCK_SECONDS", 60)


@pytest.mark.usefixtures("patience")
def test_threads_append_while_another_drains(tmp_path: Path) -> None:
    spool, found = Spool(tmp_path / "spool", 10**7), []

    def append(name: str) -> None:
        for i in range(300):
            spool.append([{"name": name, "id": i}])

    threads = [threading.Thread(target=append, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        spool.drain(found.extend)
    spool.drain(found.extend)
    for name in "ab":
        assert [row["id"] for row in found if row["name"] == name] == list(range(300))


def appending(path: Path, name: str) -> None:
    module.LOCK_SECONDS = 60
    spool = Spool(path, 10**7)
    for i in range(200):
        spool.append([{"name": name, "id": i}, {"name": name, "id": i + 0.5}])


@pytest.mark.slow
@pytest.mark.usefixtures("patience")
def test_processes_append_side_by_side_while_one_drains(tmp_path: Path) -> None:
    spool, found = Spool(tmp_path / "spool", 10**7), []
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=appending, args=(spool.path, name)) for name in "ab"]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        spool.drain(found.extend)
    spool.drain(found.extend)
    assert [worker.exitcode for worker in workers] == [0, 0]
    for name in "ab":
        assert [row["id"] for row in found if row["name"] == name] == [i / 2 for i in range(400)]
