"""From an answer's request id to its release, its data and its commit."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from churn.release import open_release
from churn.script import InputError
from serve.releases.__main__ import main
from serve.releases.store import Store
from serve.releases.trace import commit_of, directory_hash, trace
from tests.factories import empty_log, fill, other_release, prediction


@pytest.fixture
def store(elsewhere: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> Store:
    folder = elsewhere()
    monkeypatch.setenv("CHURN_RELEASES", str(folder / "releases"))
    monkeypatch.delenv("CHURN_LOG_URL", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (folder / "releases").mkdir()
    return Store(folder / "releases")


def git(*words: str) -> str:
    who = ["-c", "user.name=tests", "-c", "user.email=tests@localhost", "-c", "commit.gpgSign=false"]
    return subprocess.run(["git", *who, *words], check=True, capture_output=True, text=True).stdout.strip()


def lock(bundle: Path, message: str) -> str:
    """Commit a dvc.lock that names the bundle, as `deploy` leaves it; the commit."""
    out = {"path": "models/release", "hash": "md5", "md5": f"{directory_hash(bundle)}.dir"}
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"deploy": {"outs": [out]}}}))
    git("add", "dvc.lock")
    git("commit", "--quiet", "--message", message)
    return git("rev-parse", "HEAD")


def answered(store: Store, version: str, request: str) -> None:
    row = prediction(0, "customer 1", "champion", 0.7, request_id=request, model_version=version)
    fill(empty_log(Path(store.where)), [row, prediction(0, None, "champion", 0.1)], [])


def test_a_request_id_leads_to_release_data_parameters_and_commit(
    store: Store, released: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    git("init", "--quiet")
    commit = lock(released, "the release")

    def say(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["serve.releases", *words])
        main()
        return capsys.readouterr().out

    say("add", str(released), "--promote", "--reason", "first run")
    release = open_release(released)
    answered(store, release.version, "request of interest")
    found = json.loads(say("trace", "request of interest", "--json"))
    assert [answer["churn_probability"] for answer in found["answers"]] == [0.7]
    (made,) = found["releases"]
    assert (made["version"], made["lineage"]) == (release.version, {"commit": commit})
    assert made["card"]["data"]["sha256"] == release.card["data"]["sha256"]
    assert made["card"]["parameters"] == release.card["parameters"]
    assert [(act["act"], act["reason"]) for act in made["acts"]] == [("add", "first run"), ("promote", "first run")]
    said = say("trace", "request of interest")
    assert all(part in said for part in (release.version, commit, release.card["data"]["sha256"], "first run"))
    assert "customer 1" not in said


def test_a_release_that_was_removed_leads_to_its_commit_still(store: Store, released: Path) -> None:
    version = store.add(released, "test", lineage={"commit": "abc", "branch": "retrain/x"})
    answered(store, version, "a")
    for file in (Path(store.where) / version).iterdir():
        file.unlink()
    (Path(store.where) / version).rmdir()
    (made,) = trace(store, f"sqlite:///{store.where}/log.db", "a")["releases"]
    assert made["bundle"] is None and "no release" in made["problem"]
    assert made["lineage"] == {"commit": "abc", "branch": "retrain/x"}


@pytest.mark.parametrize("request_id", ["b", "\udcff"])  # the second: a byte that is no UTF-8, as an argument
def test_an_unknown_request_is_one_sentence(request_id: str, store: Store, released: Path) -> None:
    store.add(released, "test")
    answered(store, "x", "a")
    with pytest.raises(InputError, match=f"no answer with the request id {re.escape(repr(request_id))}"):
        trace(store, f"sqlite:///{store.where}/log.db", request_id)


def test_the_commit_is_the_one_whose_lock_names_the_bundle(store: Store, released: Path, tmp_path: Path) -> None:
    assert commit_of(released) is None  # no repository
    git("init", "--quiet")
    assert commit_of(released) is None  # no commit
    other = other_release(released, tmp_path / "other")
    first = lock(released, "first")
    git("checkout", "--quiet", "-b", "elsewhere")
    second = lock(other, "second")
    assert (commit_of(released), commit_of(other)) == (first, second)
    git("checkout", "--quiet", "-")
    assert (commit_of(released), commit_of(other)) == (first, second)  # also from a branch that is not checked out
    assert commit_of(other_release(released, tmp_path / "never", threshold=0.5)) is None
