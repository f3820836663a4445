"""A repository that made a release, the store with it, and what is known of it in production."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from churn.expectations import suite_hash, suite_of
from churn.release import open_release
from serve.log.checks import record
from serve.releases.store import Store
from tests.conftest import ROOT
from tests.factories import empty_log

COPIED = ("params.yaml", "dvc.yaml", "requirements.txt", "serve/requirements.txt", "docs/runbook.md")
PAGE = "metrics/validation.html"
RESULT = Path("data_docs/result.json")
LOADED = "0" * 32


class World(NamedTuple):
    store: Store
    log_url: str
    version: str
    commit: str


def git(*words: str) -> str:
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def world(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    repository = tmp_path / "repository"
    for name in COPIED:
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, repository / name)
    shutil.copytree(ROOT / "ops/prometheus/rules", repository / "ops/prometheus/rules")
    (repository / "metrics").mkdir()
    (repository / "metrics/validate.json").write_text('{"is_valid": true}\n')
    page = b"<p>the data</p>\n"
    out = {"path": PAGE, "md5": md5(page, usedforsecurity=False).hexdigest()}
    loaded = {"path": "data/loaded.parquet", "md5": LOADED}
    stages = {"load": {"outs": [loaded]}, "validate": {"outs": [out]}}
    (repository / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    monkeypatch.chdir(repository)
    git("init", "-q")
    git("add", "--all")
    git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "--no-verify", "-m", "a release")
    (repository / PAGE).write_bytes(page)
    store = Store(tmp_path / "releases")
    version = store.add(released, "trained in May", "ada", {"commit": git("rev-parse", "HEAD")})
    store.promote(version, "better in May", "grace", {"champion": None, "passed": True, "reasons": [], "forced": False})
    asked = suite_hash(suite_of(open_release(released).schema, "the table"))
    RESULT.parent.mkdir()
    RESULT.write_text(json.dumps({"table": {"md5": LOADED}, "expectations": {"sha256": asked}, "failed": []}))
    engine = empty_log(tmp_path)
    reason = {"id": "unseen", "level": "breach", "words": "a level never seen"}
    with engine.connect() as connection:
        for minutes, checked in ((0, version), (1, "another"), (-600, version)):
            found = {"window": {"model_version": checked}, "verdict": "breach", "reasons": [reason], "secret": "x"}
            record(connection, datetime.now(UTC) + timedelta(minutes=minutes), found)
    yield World(store, str(engine.url), version, git("rev-parse", "HEAD"))
    engine.dispose()
