"""The command line tells what it did, people read its tables and programs its JSON; a mistake is one line."""

import getpass
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from churn.release import open_release
from serve.releases.__main__ import main
from serve.releases.storage import LOCK
from serve.releases.store import Store
from tests.conftest import ROOT
from tests.factories import other_release


@pytest.fixture
def store(elsewhere: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> Store:
    """In a folder of its own with params.yaml, where no registry is."""
    folder = elsewhere()
    monkeypatch.setenv("CHURN_RELEASES", str(folder / "releases"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Store(folder / "releases")


@pytest.fixture
def version(released: Path) -> str:
    return open_release(released).version


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """stdout of the command, run in this process."""

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["serve.releases", *words])
        main()
        return capsys.readouterr().out

    return run


def command(*words: str, file_size: int = -1) -> tuple[int, list[str]]:
    """Exit status and lines of `python -m serve.releases` with the store."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, -1))

    done = subprocess.run(
        [sys.executable, "-m", "serve.releases", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=limit,
    )
    return done.returncode, done.stdout.splitlines()


@pytest.mark.slow
def test_the_first_release_is_added_and_promoted_at_once(store: Store, released: Path, version: str) -> None:
    assert command("add", str(released), "--promote", "--reason", "first run") == (
        0,
        [f"serve.releases: added {version}: first run", f"serve.releases: promoted {version}: first run"],
    )


def test_a_release_that_comes_again_or_as_a_candidate_changes_no_answer_and_says_so(
    store: Store,
    released: Path,
    version: str,
    tmp_path: Path,
    say: Callable[..., str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "serve.releases")
    store.promote(store.add(released, "r"), "r")
    say("add", str(released), "--reason", "again")
    second = other_release(released, tmp_path / "other")
    say("add", str(second), "--reason", "candidate")
    of_second = open_release(second).version
    assert caplog.messages == [
        f"{version} is there already",
        f"added {of_second}: candidate",
        f"{version} answers; to change that: python -m serve.releases promote {of_second} --reason WHY",
    ]
    assert store.state()["champion"] == version


def test_the_commands_tell_what_they_did(
    store: Store, released: Path, version: str, tmp_path: Path, say: Callable[..., str]
) -> None:
    second = str(store.add(other_release(released, tmp_path / "other"), "another"))
    store.promote(store.add(released, "r"), "r")
    say("split", second, "--share", "0.25", "--reason", "try")
    rows = {line.split()[0]: line.split()[1:4] for line in say("list").splitlines()}
    assert rows == {
        "VERSION": ["ROLE", "MODEL", "TEST"],
        version: ["champion", open_release(released).card["model"], rows[version][2]],
        second: ["challenger", "0.25", open_release(released).card["model"]],
    }
    say("split", "off")
    say("shadow", second)
    assert {row["version"]: row["role"] for row in json.loads(say("list", "--json"))} == {
        version: "champion", second: "shadow",
    }  # fmt: skip
    say("shadow", "off")
    me = getpass.getuser()
    assert [" ".join(line.split()[1:]) for line in say("history").splitlines()[-4:]] == [
        f"split {second} 0.25 of the customers {me}: try",
        f"split {second} off {me}:",
        f"shadow {second} {me}:",
        f"shadow {second} off {me}:",
    ]
    assert json.loads(say("history", "--json")) == store.history()


def test_a_release_that_was_damaged_is_listed_as_such(
    store: Store, released: Path, version: str, say: Callable[..., str]
) -> None:
    store.add(released, "r")
    (store.where / version / "card.json").write_text("{}")
    (row,) = json.loads(say("list", "--json"))
    assert (row["model"], row["roc_auc"]) == ("damaged", None)
    assert "card.json" in row["problem"]
    assert "damaged" in say("list")


def test_an_empty_store_says_so(store: Store, say: Callable[..., str]) -> None:
    assert say("list") == f"{store.where} holds no release\n"
    assert json.loads(say("list", "--json")) == []


@pytest.mark.slow
def test_a_split_needs_a_share(store: Store) -> None:
    status, lines = command("split", "a")
    assert (status, lines) == (
        1, ["serve.releases: --share is missing; give the share of the customers, for instance --share 0.1"],
    )  # fmt: skip


@pytest.mark.slow
def test_a_mistake_is_one_line_and_exit_status_1(store: Store, tmp_path: Path) -> None:
    assert command("promote", "nobody", "--reason", "r") == (
        1,
        [f"serve.releases: {store.where} has no release 'nobody'; it has []"],
    )
    assert command("add", str(tmp_path / "nothing"), "--reason", "r") == (
        1,
        [f"serve.releases: release {tmp_path / 'nothing'} has no MANIFEST.json; write one with: dvc repro"],
    )
    assert not store.where.exists()


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_leaves_nothing(store: Store, released: Path) -> None:
    status, (line,) = command("add", str(released), "--reason", "r", file_size=1_000)
    assert status == 1
    assert line.endswith(": File too large")
    assert [path.name for path in store.where.iterdir()] == [LOCK]


@pytest.mark.parametrize("words", [["add", "models/release"], ["promote", "a"], ["rollback"]], ids=" ".join)
def test_a_change_needs_a_reason(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["serve.releases", *words])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "the following arguments are required: --reason" in capsys.readouterr().err
