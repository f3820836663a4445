"""The clone that a retraining works in: whose commits it makes, and what it refuses to clone."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from churn.git import git
from churn.script import InputError
from monitoring.retrain.clone import AUTHOR, WORK, Clone

COMMIT = (
    "-c", "user.name=t", "-c", "user.email=t@t", "-c", "core.hooksPath=/dev/null", "commit", "--quiet",
    "--no-gpg-sign", "--allow-empty", "--message",
)  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One with a commit, of a user whose commits need a key and a hook's consent, neither of which there is."""
    hook = tmp_path / "home/hooks/prepare-commit-msg"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    settings = f"[commit]\ngpgSign = true\n[gpg]\nprogram = false\n[core]\nhooksPath = {hook.parent}\n"
    (tmp_path / "home/.gitconfig").write_text(settings)
    folder = tmp_path / "repository"
    (folder / WORK.parent).mkdir(parents=True)
    (folder / ".gitignore").write_text("/.dvc\n")
    for name, value in (("HOME", str(tmp_path / "home")), ("GIT_CONFIG_NOSYSTEM", "1")):
        monkeypatch.setenv(name, value)
    for name in ("XDG_CONFIG_HOME", "EMAIL", "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    for words in (("init", "--quiet"), ("add", "."), (*COMMIT, "first")):
        subprocess.run(["git", *words], check=True)
    return folder


@pytest.mark.parametrize(("email", "author"), [("me@here", "me@here"), ("", f"{AUTHOR}@localhost")])
def test_a_commit_of_the_clone_is_by_who_is_configured_here(
    email: str, author: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if email:
        git("config", "user.email", email, cwd=repository)
    monkeypatch.setattr("monitoring.retrain.clone.call", lambda *_, **__: "")  # DVC, which is another test's
    clone = Clone(0)
    clone.add(pd.DataFrame({"a": ["1"]}), "data: a table")
    assert git("log", "-1", "--format=%ae %s", cwd=WORK) == f"{author} data: a table"


def test_the_schema_says_that_ids_repeat_and_keeps_its_words(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = "# ours\nid:  # of the bank\n  name: customer_id\ncolumns:\n  - {name: a, levels: ['no', \"1\"]}  # odd\n"
    Path("schema.yaml").write_text(content)
    Path("params.yaml").write_text("data: {schema: schema.yaml}")
    git("add", "--all", cwd=repository)
    git(*COMMIT, "a schema", cwd=repository)
    monkeypatch.setattr("monitoring.retrain.clone.call", lambda *_, **__: "")
    clone = Clone(0)
    clone.let_ids_repeat()
    clone.add(pd.DataFrame({"a": ["1"]}), "data: a table")
    found = git("show", "HEAD:schema.yaml", cwd=WORK)
    assert found == content.replace("customer_id\n", "customer_id\n  repeats: true\n").strip()


@pytest.mark.parametrize("place", ["{folder}/schema.yaml", "../schema.yaml", "missing.yaml", "broken.yaml"])
def test_a_schema_that_cannot_say_that_ids_repeat_is_one_line_and_stays(
    place: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = repository.parent / "schema.yaml"
    outside.write_text("id: {name: a}\n")
    Path("broken.yaml").write_text("id: {name: a}\nid: {name: a}\n")
    Path("params.yaml").write_text(f"data: {{schema: '{place.format(folder=repository.parent)}'}}")
    git("add", "--all", cwd=repository)
    git(*COMMIT, "schemas", cwd=repository)
    monkeypatch.setattr("monitoring.retrain.clone.call", lambda *_, **__: "")
    with pytest.raises(
        InputError, match=r"^customers have several rows, .*; set id.repeats: true in it, and commit it$"
    ):
        Clone(0).let_ids_repeat()
    assert outside.read_text() == "id: {name: a}\n"


def test_a_repository_that_a_training_would_be_lost_in_is_refused_before(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(*COMMIT, "second", cwd=repository)
    git("clone", "--quiet", "--depth", "1", repository.as_uri(), str(tmp_path / "shallow"), cwd=repository)
    git("init", "--quiet", str(tmp_path / "empty"), cwd=repository)
    for folder, words in (("shallow", "git fetch --unshallow"), ("empty", "needs a commit to start from: .* fatal: ")):
        monkeypatch.chdir(tmp_path / folder)
        with pytest.raises(InputError, match=words):
            Clone(0)


def add_worktree(repository: Path, folder: Path) -> None:
    git("worktree", "add", "--quiet", "--detach", str(folder), cwd=repository)


def add_submodule(repository: Path, folder: Path) -> None:
    git("init", "--quiet", str(folder.parent))
    git(
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(repository),
        folder.name,
        cwd=folder.parent,
    )


def detach(repository: Path, folder: Path) -> None:
    git("clone", "--quiet", str(repository), str(folder))
    git("checkout", "--quiet", "--detach", cwd=folder)


@pytest.mark.parametrize("make", [add_worktree, add_submodule, detach])
def test_it_is_of_the_folder_s_own_commit_whatever_git_calls_it_and_whoever_calls(
    make: Callable[[Path, Path], None], repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "outside" / "inside"
    folder.parent.mkdir()
    make(repository, folder)
    first = git("rev-parse", "HEAD", cwd=repository)
    git(*COMMIT, "second", cwd=repository)
    (folder / WORK.parent).mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))  # as in a hook of the repository
    monkeypatch.setenv("GIT_INDEX_FILE", str(repository / ".git/index"))
    monkeypatch.setattr("monitoring.retrain.clone.call", lambda *_, **__: "")
    clone = Clone(0)
    clone.add(pd.DataFrame({"a": ["1"]}), "data: a table")
    assert git("rev-parse", "HEAD^", cwd=WORK) == first
    kept = clone.keep("retrain/one")
    assert git("rev-parse", "retrain/one") == kept
    assert git("rev-parse", "HEAD") == first
    assert git("log", "-1", "--format=%s", cwd=repository) == "second"
