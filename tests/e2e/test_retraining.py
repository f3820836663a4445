"""Retraining as a whole: real git, DVC, pipeline, gate and store; by one at a time, and clean after an interruption."""

import fcntl
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from churn.release import open_release
from churn.scorer import Scorer
from demo.processes import until
from demo.world import expected_auc, month, sent
from monitoring.retrain.policy import ACTOR
from review.verify import environment, git
from serve.log.checks import record
from serve.log.database import connect
from serve.releases.store import Store
from serve.releases.trace import directory_hash
from stages.simulate import leaving
from tests.e2e.conftest import command
from tests.factories import empty_log
from tests.simulated_months import log_month

pytestmark = pytest.mark.e2e

RETRAIN = (sys.executable, "-m", "monitoring.retrain")
CUSTOMERS, CONCEPT = 7_043, 1.0
COHORT = datetime.now(UTC) - timedelta(days=59)
WORK = ".dvc/tmp/retrain"


class Repository:
    """A repository with a champion, a month of a new world in its log whose outcomes are known, and two breaches."""

    def __init__(self, folder: Path, releases: Path):
        self.folder, self.store = folder, Store(releases)
        self.variables = {"CHURN_RELEASES": str(releases), "CHURN_LOG_URL": "", "MLFLOW_TRACKING_URI": ""}
        self.champion = self.store.add(folder / "models/release", "the first one")
        self.store.promote(self.champion, "the first one")
        log_month(empty_log(releases), self.scorer(self.champion), month(1, CUSTOMERS, concept=CONCEPT), COHORT)
        self.check("concept_drift")
        self.check("realised_auc", "concept_drift")

    def scorer(self, version: str) -> Scorer:
        return Scorer.open(self.store.bundle(version))

    def check(self, *breaches: str) -> None:
        """What a check that found those would have written down; tests/e2e/test_watching_months.py has it find them."""
        cohort = {"cohort_start": COHORT.isoformat(), "cohort_end": (COHORT + timedelta(days=30)).isoformat()}
        window = {"model_version": self.champion, **cohort}
        reasons = [{"id": reason, "level": "breach", "words": reason} for reason in breaches]
        engine = connect(f"sqlite:///{self.store.where}/log.db")
        with engine.connect() as connection:
            record(connection, datetime.now(UTC), {"window": window, "verdict": "breach", "reasons": reasons})
        engine.dispose()

    def run(self, *words: str, status: int | None = 0) -> str:
        return command(self.folder, *RETRAIN, *words, status=status, timeout=300, **self.variables)

    def start(self, *words: str, until_there: str = "data/retrain/customers.parquet.dvc") -> subprocess.Popen[str]:
        """A retraining that got as far as to that file below its folder."""
        begun = time.time()
        process = subprocess.Popen(
            [*RETRAIN, *words], cwd=self.folder, env=environment(**self.variables), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        # not a file of one that was killed
        until(lambda: any(path.stat().st_mtime > begun for path in (self.folder / WORK).glob(until_there)), seconds=90)
        return process

    def is_free(self) -> bool:
        with (self.folder / f"{WORK}.lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def as_it_was(self) -> tuple[Any, ...]:
        """All that a retraining may not touch."""
        listed = {path: path.stat().st_mtime_ns for path in (self.folder / "data").rglob("*")}
        status = git(self.folder, "status", "--porcelain", "--ignored=no")
        return status, git(self.folder, "rev-parse", "HEAD"), git(self.folder, "stash", "list"), listed


@pytest.fixture(scope="module")
def repository(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    folder = tmp_path_factory.mktemp("store") / "releases"
    folder.mkdir()
    yield Repository(clone, folder)


def branches(folder: Path) -> list[str]:
    return git(folder, "for-each-ref", "--format=%(refname:short)", "refs/heads/retrain").decode().split()


def test_an_interrupted_retraining_leaves_nothing(repository: Repository) -> None:
    acts = repository.store.history()
    running = repository.start("--if-needed")
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=60) == 128 + signal.SIGTERM
    assert not (repository.folder / WORK).exists()
    assert (repository.store.history(), branches(repository.folder)) == (acts, [])


def test_a_new_world_is_learned_by_one_of_two_while_an_edit_goes_on(repository: Repository) -> None:
    """One is killed, and what it began must end; then, of two at once, one works and one says so."""
    folder, store = repository.folder, repository.store
    (folder / "README.md").write_text("an edit that nobody has committed")
    git(folder, "add", "README.md")
    before = repository.as_it_was()
    killed = repository.start(until_there=".dvc/tmp/exps/standalone/*/data/loaded.parquet")
    killed.kill()
    killed.wait()
    assert "another retraining" in repository.run(status=1)
    until(repository.is_free, seconds=180)
    working = repository.start("--if-needed")
    assert "another retraining" in repository.run(status=1)
    assert "another retraining" in repository.run("--if-needed")  # and that is no mistake
    assert working.wait(timeout=300) == 0
    assert repository.as_it_was() == before
    assert not (folder / WORK).exists()

    (branch,) = branches(folder)
    state = store.state()
    version = state["shadow"]
    assert version and (state["champion"], branch) == (repository.champion, f"retrain/{version}")
    added, shadowed = store.history()[-2:]
    assert [(act["act"], act["version"], act["who"]) for act in (added, shadowed)] == [
        ("add", version, ACTOR), ("shadow", version, ACTOR),
    ]  # fmt: skip
    assert shadowed["gate"]["passed"]
    lineage = added["lineage"]
    assert lineage["commit"] == git(folder, "rev-parse", branch).decode().strip()
    assert (lineage["customers"], lineage["table"], lineage["since"]) == (CUSTOMERS, "left out", COHORT.isoformat())
    assert lineage["reasons"] == ["realised_auc", "concept_drift"]

    old, new, best = recovered(repository, version)
    assert new - old >= 0.8 * (best - old), (old, new, best)


def recovered(repository: Repository, version: str) -> tuple[float, float, float]:
    """ROC AUC in the new world: of the champion, of the retrained one, and of who knows every customer's chance."""
    customers = month(77, 20_000, concept=CONCEPT)
    rows = sent(repository.scorer(version).release.schema, customers)
    old, new = (repository.scorer(name).probabilities(rows) for name in (repository.champion, version))
    chance = leaving(customers, CONCEPT)
    return tuple(expected_auc(chance, p) for p in (old, new, chance))  # type: ignore[return-value]


def test_the_next_one_waits_for_the_cooldown_and_says_so(repository: Repository) -> None:
    assert "no retraining" in (told := repository.run("--if-needed")) and "30 days later" in told


def test_an_answer_leads_to_the_branch_with_its_data(repository: Repository) -> None:
    """Promoted, it answers; the request id leads to a commit that has table, code and release, byte for byte."""
    store, folder = repository.store, repository.folder
    version = store.state()["shadow"]
    assert version
    store.promote(version, "better")
    log_month(connect(f"sqlite:///{store.where}/log.db"), repository.scorer(version), month(3, 50), datetime.now(UTC))
    engine = connect(f"sqlite:///{store.where}/log.db")
    with engine.connect() as connection:
        sql = f"SELECT request_id FROM predictions WHERE model_version = '{version}'"
        request = connection.exec_driver_sql(sql).scalars().first()
    engine.dispose()
    told = command(folder, sys.executable, "-m", "serve.releases", "trace", request, "--json", **repository.variables)
    (made,) = json.loads(told)["releases"]
    assert made["version"] == version

    other = folder.parent / "traced"
    git(folder, "worktree", "add", "--quiet", "--detach", str(other), made["lineage"]["commit"])
    try:
        lock = yaml.safe_load((other / "dvc.lock").read_text())
        deps = {dep["path"]: dep["md5"] for dep in lock["stages"]["deploy"]["deps"]}
        table = yaml.safe_load((other / "data/retrain/customers.parquet.dvc").read_text())["outs"][0]["md5"]
        assert deps["data/retrain/customers.parquet"] == table
        cached = folder / ".dvc/cache/files/md5" / table[:2] / table[2:]
        assert len(pd.read_parquet(cached)) == CUSTOMERS
        assert made["card"]["data"]["sha256"] == open_release(store.bundle(version)).card["data"]["sha256"]
    finally:
        git(folder, "worktree", "remove", "--force", str(other))


def test_too_few_outcomes_are_one_sentence(repository: Repository) -> None:
    assert "outcomes of 0 customers are new" in repository.run(status=1)  # all were learned from


def test_a_folder_has_the_hash_that_dvc_gives_it(repository: Repository) -> None:
    (out,) = yaml.safe_load((repository.folder / "dvc.lock").read_text())["stages"]["deploy"]["outs"]
    assert f"{directory_hash(repository.folder / out['path'])}.dir" == out["md5"]
