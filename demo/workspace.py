"""Where the demo plays: a clone of the repository in a temporary folder, with a store, a log and an MLflow of its own.

It shares the DVC cache, as a retraining's clone does. Edits of tracked files come along, as the commit that `git stash
create` makes of them; nothing in the repository is touched.
"""

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import yaml

from churn.git import child_environment, commit, git
from churn.params import PARAMS
from churn.script import InputError, write_text
from churn.urls import sqlite_url
from demo.processes import end
from monitoring.retrain.clone import cache_folder, clone_into, identity

ELSEWHERE = ("GIT_", "DVC_EXP", "MLFLOW_", "CHURN_", "PROMETHEUS_")  # variables that would lead away from here


@contextmanager
def workspace(knobs: Mapping[str, Any]) -> Iterator[Path]:
    """The clone, as the current folder, with other values of those dotted knobs committed; removed in the end."""
    cache, author = cache_folder(), identity()
    is_edited = git("status", "--porcelain", "--untracked-files=no")
    edited = git("stash", "create") if is_edited else ""
    with tempfile.TemporaryDirectory(prefix="churn-demo-") as folder:
        clone = Path(folder).resolve() / "churn"
        clone_into(clone, cache)
        if edited:
            git("checkout", "--quiet", edited, cwd=clone)
        with environment(clone), chdir(clone):
            set_params(clone / PARAMS, knobs)
            git("switch", "--quiet", "--create", "demo", cwd=clone)
            git("add", "--update", cwd=clone)
            commit("demo: knobs", clone, env={**author, **os.environ})
            yield clone


@contextmanager
def environment(clone: Path) -> Iterator[None]:
    """Variables that keep this process and its children in the clone."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(ELSEWHERE):
            del os.environ[name]
    os.environ |= {
        "CHURN_RELEASES": str(clone / "releases"),
        "CHURN_ADMIN_KEY": secrets.token_hex(16),
        "MLFLOW_TRACKING_URI": sqlite_url(clone / "mlflow.db"),
        "DVC_SITE_CACHE_DIR": str(clone.parent / "dvc"),
        "TMPDIR": str(clone.parent),  # of the children: what they leave there goes as well
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), before.get("PATH", "")]),  # stages run `python`
        "PYTHONUNBUFFERED": "1",  # what a child says is shown while it runs
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


def set_params(params: Path, knobs: Mapping[str, Any]) -> None:
    """Give knobs other values."""
    content = yaml.safe_load(params.read_text(encoding="utf-8"))
    for dotted, value in knobs.items():
        *sections, knob = dotted.split(".")
        inside = content
        for section in sections:
            inside = inside[section]
        inside[knob] = value
    write_text(params, yaml.safe_dump(content, sort_keys=False))


def repro(clone: Path, heard: Callable[[str], None]) -> str:
    """`dvc repro`, and how many stages it ran and took from the cache."""
    command = [sys.executable, "-m", "dvc", "repro"]
    process = subprocess.Popen(
        command,
        cwd=clone,
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines = []
    try:
        assert process.stdout
        for line in process.stdout:
            lines.append(line)
            heard(line)
        if process.wait():
            raise InputError(f"dvc repro failed: {''.join(lines[-5:])}")
    finally:
        end(process)
    ran = sum(line.startswith("Running stage") for line in lines)
    kept = sum("is cached" in line or "didn't change" in line for line in lines)
    return f"stages run: {ran}, taken from DVC's cache: {kept}"
