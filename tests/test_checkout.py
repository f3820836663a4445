"""What a checkout does on other people's machines: their environments stay, the bytes are those of the commit."""

import shutil
import subprocess
from pathlib import Path

import pytest

from churn.git import git
from tests.conftest import ROOT

# a Python whose environments are empty and whose pip installs nothing
PYTHON = """#!/bin/sh
case "$*" in *"-m venv --clear"*)
  for folder; do :; done
  rm -rf "$folder"; mkdir -p "$folder/bin"; ln -s "$(realpath "$0")" "$folder/bin/python";;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return folder


def test_no_file_is_of_those_that_do_not_belong_in_git() -> None:
    names = git("ls-files", "-z", cwd=ROOT).split("\0")
    assert not [name for name in names if name and (ROOT / name).exists() and (ROOT / name).stat().st_size > 2**20]


def make(folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["make", "setup", f"PYTHON={folder.parent / 'python'}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_an_environment_that_is_linked_is_not_emptied(checkout: Path) -> None:
    theirs = checkout.parent / "theirs"
    theirs.mkdir()
    (theirs / "precious").touch()
    (checkout / ".venv").symlink_to(theirs)
    done = make(checkout)
    assert done.returncode
    assert done.stderr.startswith(f".venv is a link to {theirs}, which make leaves alone; remove the link (rm .venv)\n")
    assert (theirs / "precious").exists()


def test_an_environment_that_make_did_not_make_is_not_emptied(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv/precious").touch()
    done = make(checkout)
    assert done.returncode
    assert done.stderr.startswith(
        ".venv was not made by make, which leaves it alone; move it away (mv .venv .venv-mine)\n"
    )
    assert (checkout / ".venv/precious").exists()


def test_its_own_environment_is_made_again_when_requirements_changed(checkout: Path) -> None:
    assert make(checkout).returncode == 0
    (checkout / ".venv/of-the-requirements-before").touch()
    assert make(checkout).returncode == 0
    assert (checkout / ".venv/of-the-requirements-before").exists()
    (checkout / ".venv/bin/.installed").unlink()  # as after an installation that was cut short
    assert make(checkout).returncode == 0
    assert not (checkout / ".venv/of-the-requirements-before").exists()


def test_a_linked_environment_is_ignored_by_git(tmp_path: Path) -> None:
    git("init", "--quiet", cwd=tmp_path)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    (tmp_path / ".venv").symlink_to(ROOT)
    assert git("status", "--porcelain", cwd=tmp_path) == "?? .gitignore"


def test_line_ends_are_those_of_the_commit_also_where_git_would_write_others(tmp_path: Path) -> None:
    git("clone", "--quiet", "--no-checkout", str(ROOT), str(tmp_path / "clone"))
    for words in ("config core.autocrlf true", "checkout --quiet HEAD"):
        git(*words.split(), cwd=tmp_path / "clone")
    listed = git("ls-files", "--eol", cwd=tmp_path / "clone").splitlines()
    assert len(listed) > 100
    assert [line for line in listed if "w/crlf" in line or "w/mixed" in line] == []
