"""Programs as subprocesses: what they print, and how they fail."""

import sys
from pathlib import Path

import pytest

from churn.git import call, git, git_or_empty
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
