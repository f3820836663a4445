"""The parts of a retraining that need no training: its commits, and the commands that it calls."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine

from churn.params import read_params
from churn.schema import read_schema
from churn.script import InputError
from monitoring.retrain.policy import WHO, policy
from monitoring.retrain.run import WORK, Clone, Reason, called, git, is_own, production, retrain
from monitoring.retrain.training_table import Production
from serve.releases.store import Store
from tests.conftest import ROOT, other_release
from tests.factories import START, act, customers, empty_log, fill, outcome, prediction, write_ledger

DAY = 24.0
COMMIT = (
    "-c", "user.name=t", "-c", "user.email=t@t", "-c", "core.hooksPath=/dev/null", "commit", "--quiet",
    "--no-gpg-sign", "--allow-empty", "--message",
)  # fmt: skip
SCHEMA = read_schema(ROOT / "schemas/telco.yaml")


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


@pytest.mark.parametrize(("email", "author"), [("me@here", "me@here"), ("", f"{WHO}@localhost")])
def test_a_commit_of_the_clone_is_by_who_is_configured_here(
    email: str, author: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if email:
        git("config", "user.email", email, cwd=repository)
    monkeypatch.setattr(Clone, "dvc", lambda *_, **__: "")  # DVC is another test's
    clone = Clone(0)
    clone.add(pd.DataFrame({"a": ["1"]}), "data: a table")
    assert git("log", "-1", "--format=%ae %s", cwd=WORK) == f"{author} data: a table"


def test_a_repository_that_a_training_would_be_lost_in_is_refused_before(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(*COMMIT, "second", cwd=repository)
    git("clone", "--quiet", "--depth", "1", repository.as_uri(), str(tmp_path / "shallow"), cwd=repository)
    git("init", "--quiet", str(tmp_path / "empty"), cwd=repository)
    for folder, words in (("shallow", "git fetch --unshallow"), ("empty", "no git repository with a commit")):
        monkeypatch.chdir(tmp_path / folder)
        with pytest.raises(InputError, match=words):
            Clone(0)


def test_what_a_command_says_beside_its_answer_is_no_part_of_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = git("rev-parse", "HEAD", cwd=repository)
    assert len(commit) == 40
    monkeypatch.setenv("GIT_TRACE", "1")
    assert git("rev-parse", "HEAD", cwd=repository) == commit


@pytest.mark.parametrize("where", ["stdout", "stderr"])
def test_a_command_that_fails_is_told_by_its_last_line(where: str) -> None:
    script = f"import sys; sys.{where}.write('first\\nlast\\n'); sys.exit(3)"
    with pytest.raises(InputError, match=r"ended with exit status 3: last$"):
        called([sys.executable, "-c", script], Path())


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Of a service whose knobs are the repository's."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHURN_RELEASES", str(tmp_path))
    monkeypatch.delenv("CHURN_LOG_URL", raising=False)
    return empty_log(tmp_path)


@pytest.mark.parametrize("is_selected", [False, True])
def test_customers_who_cannot_speak_for_the_others_are_not_learned_from(is_selected: bool, log: Engine) -> None:
    """Of 60 % the outcome is known: of any, or of those who were thought likely to leave."""
    p, churned = customers(1_000, seed=1)
    known = p > np.quantile(p, 0.4) if is_selected else np.random.default_rng(2).random(len(p)) < 0.6
    features = {
        column.name: (column.levels or [0 if column.type == "number" else False])[0] for column in SCHEMA.columns
    }
    fill(
        log,
        [prediction(DAY, f"c{i}", "champion", p[i], features=features) for i in range(len(p))],
        [outcome(2 * DAY, bool(churned[i]), customer=f"c{i}") for i in np.flatnonzero(known)],
    )
    knobs = policy(**read_params("monitoring.retrain", policy))._replace(min_labels=500)

    def read() -> Production:
        return production(Reason([], None, None), SCHEMA, START + timedelta(days=50), knobs)

    if is_selected:
        with pytest.raises(InputError, match=r"standard deviations off: they can't speak for the others"):
            read()
    else:
        assert len(read().table) == known.sum()


def test_a_release_whose_retraining_was_ended_behind_its_adding_takes_its_part_in_the_next(
    released: Path, elsewhere: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would lie there, and for the time of the cooldown nothing would be trained."""
    folder = elsewhere({"gate.margins.profit": 1000})
    for name in ("CHURN_LOG_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CHURN_RELEASES", str(folder / "releases"))
    store = Store(folder / "releases")
    champion = store.add(released, "first")
    store.promote(champion, "first")
    version = store.add(other_release(released, folder / "other", 0.3), "trained again: asked for", WHO)
    for _ in range(2):  # once is enough
        with pytest.raises(InputError, match="there is no log"):  # the policy's turn
            retrain(True, datetime.now(UTC), 0)
    assert [(act["act"], act["version"]) for act in store.history()[2:]] == [("add", version), ("shadow", version)]
    assert store.history()[-1]["reason"] == "trained again: asked for; it passes the gate"


@pytest.mark.parametrize("is_changed", [False, True])
def test_a_challenger_that_a_person_took_up_stays(is_changed: bool, tmp_path: Path) -> None:
    acts = [act("promote", 0), act("add", 1), act("split", 2, challenger="new", share=0.1), act("add", 3)]
    acts[1]["who"] = acts[2]["who"] = acts[3]["who"] = WHO
    for entry in acts[3:]:
        entry["state"] = acts[2]["state"]
    if is_changed:
        acts.append(act("split", 4, challenger="new", share=0.5))
    write_ledger(tmp_path, acts)
    assert is_own(Store(tmp_path), "challenger") is not is_changed
