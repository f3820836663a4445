"""Programs as subprocesses: what they print, and how they fail."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from churn.git import LEADING_ELSEWHERE, call, child_environment, committed, git, git_or_empty
from churn.script import InputError


def test_a_warning_is_no_part_of_what_git_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git("init", "--quiet", cwd=tmp_path)
    inside = git("rev-parse", "--is-inside-work-tree", cwd=tmp_path)
    assert inside == "true"
    monkeypatch.setenv("GIT_TRACE", "1")
    assert git("rev-parse", "--is-inside-work-tree", cwd=tmp_path) == inside


@pytest.mark.parametrize("where", ["stdout", "stderr"])
def test_a_command_that_fails_is_reported_by_its_last_line(where: str) -> None:
    script = f"import sys; sys.{where}.write('first\\nlast\\n'); sys.exit(3)"
    with pytest.raises(InputError, match=r"ended with exit status 3: last$"):
        call([sys.executable, "-c", script], Path())


def test_a_program_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="git: No such file or directory"):
        git("status")
    assert git_or_empty("status") == ""


def test_git_works_on_the_folder_it_is_called_in_also_below_a_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ours", "theirs"):
        git("init", "--quiet", str(tmp_path / name))
    for name, value in (("DIR", ".git"), ("WORK_TREE", ""), ("INDEX_FILE", ".git/index"), ("COMMON_DIR", ".git")):
        monkeypatch.setenv(f"GIT_{name}", str(tmp_path / "theirs" / value))
    monkeypatch.chdir(tmp_path / "ours")
    assert git("rev-parse", "--show-toplevel") == str(tmp_path / "ours")
    own = {**os.environ, "GIT_AUTHOR_NAME": "me"}
    assert git("rev-parse", "--show-toplevel", env=own) == str(tmp_path / "ours")
    assert child_environment(own)["GIT_AUTHOR_NAME"] == "me"


def test_what_leads_git_elsewhere_is_what_git_itself_says_less_the_user_s_configuration() -> None:
    said = set(git("rev-parse", "--local-env-vars").split())
    assert said - LEADING_ELSEWHERE == {"GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"}


@pytest.mark.parametrize("function", [git, git_or_empty])
def test_a_repository_that_git_does_not_trust_is_named_with_the_way_out(
    function: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    git("init", "--quiet", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    try:
        assert function("status") == ""
    except InputError as error:
        message = str(error)
    else:
        message = caplog.text
    assert f"fatal: detected dubious ownership in repository at '{tmp_path}'" in message
    assert f"git config --global --add safe.directory {tmp_path}" in message


def test_what_a_file_held_is_its_bytes(tmp_path: Path) -> None:
    git("init", "--quiet", cwd=tmp_path)
    (tmp_path / "a").write_bytes(b"\xff\r\n\n")
    git("add", "a", cwd=tmp_path)
    git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--no-verify", "-m", "a", cwd=tmp_path)
    assert committed("HEAD", "a", tmp_path) == b"\xff\r\n\n"
    assert committed("HEAD", "b", tmp_path) is None
