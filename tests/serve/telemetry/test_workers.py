"""The workers of one server find one folder, and only they."""

import multiprocessing
import os
from pathlib import Path

import pytest

from serve.telemetry.workers import VARIABLE, is_alive, shared_folder


def told(home: str, result: str) -> None:
    os.environ["TMPDIR"] = home
    os.environ.pop(VARIABLE, None)
    Path(result).write_text(str(shared_folder()))


def folders(tmp_path: Path, workers: int) -> list[str]:
    context = multiprocessing.get_context("spawn")
    results = [tmp_path / f"result-{i}" for i in range(workers)]
    processes = [context.Process(target=told, args=(str(tmp_path), str(result))) for result in results]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [result.read_text() for result in results]


def test_the_children_of_one_process_share_a_folder_that_is_theirs_alone(tmp_path: Path) -> None:
    one, other = folders(tmp_path, 2)
    assert one == other
    assert Path(one).stat().st_mode & 0o777 == 0o700
    assert f"-{os.getpid()}-" in one


def test_what_a_dead_server_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=int)
    process.start()
    process.join()
    left = tmp_path / f"churn-workers-{process.pid}-0123456789abcdef"
    foreign = [tmp_path / name for name in ("churn-workers-", "churn-workers-x-y", f"churn-workers-{os.getpid()}-z")]
    for folder in (left, *foreign):
        folder.mkdir()
    folders(tmp_path, 1)
    assert not left.exists()
    assert all(folder.exists() for folder in foreign)


def test_a_lone_process_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert shared_folder() is None


def test_a_server_that_names_a_folder_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "numbers"))
    assert shared_folder() == tmp_path / "numbers"
    assert (tmp_path / "numbers").is_dir()


def test_a_process_is_alive_until_it_ended() -> None:
    assert is_alive(os.getpid())
    assert is_alive(1)
    assert not is_alive(2**22 - 1)
