"""A clone of the repository's last commit that shares its DVC cache, for one training."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML, YAMLError

from churn.git import call, commit, git, git_or_empty
from churn.params import read_section
from churn.script import InputError, replacing

TABLE = Path("data/retrain/customers.parquet")
WORK = Path(".dvc/tmp/retrain")  # the clone, there while a retraining runs
BUNDLE = Path("models/release")
AUTHOR = "monitoring.retrain"
PRIVATE = Path(".dvc/config.local")


def cache_folder() -> str:
    """Where this repository's DVC cache is."""
    return call([sys.executable, "-m", "dvc", "cache", "dir"])


def clone_into(folder: Path, cache: str) -> None:
    """Clone the last commit; the clone uses this repository's DVC cache and private settings."""
    git("clone", "--quiet", "--shared", "--no-tags", ".", str(folder))
    if PRIVATE.exists():
        shutil.copy(PRIVATE, folder / PRIVATE)
    call([sys.executable, "-m", "dvc", "config", "--local", "cache.dir", cache], folder)


class Clone:
    """The clone at WORK; `lock` is a descriptor that every child inherits, so that the lock outlives this process."""

    def __init__(self, lock: int):
        self.lock = lock
        shutil.rmtree(WORK, ignore_errors=True)  # of one that was interrupted
        try:
            git("rev-parse", "--verify", "HEAD")
        except InputError as error:
            raise InputError(f"retraining needs a commit to start from: {error}") from None
        if git("rev-parse", "--is-shallow-repository") == "true":  # DVC would lose its experiments silently
            raise InputError("DVC loses the experiments of a shallow clone; bring in all: git fetch --unshallow")
        clone_into(WORK, cache_folder())

    def add(self, table: pd.DataFrame, message: str) -> None:
        """Commit the table, tracked by DVC."""
        with replacing(WORK / TABLE) as temporary:
            table.to_parquet(temporary, index=False)
        self.dvc("add", "--quiet", str(TABLE))
        git("add", "--all", cwd=WORK)
        commit(message, WORK, env=environment())

    def let_ids_repeat(self) -> None:
        """Say in the schema that a customer may have several rows; its comments stay."""
        schema = Path(read_section("data")["schema"])
        way_out = "set id.repeats: true in it, and commit it"
        if not (WORK / schema).resolve().is_relative_to(WORK.resolve()):
            raise InputError(f"customers have several rows, and {schema} is not of this repository; {way_out}")
        yaml = YAML()
        yaml.preserve_quotes, yaml.width = True, 10**6
        yaml.indent(mapping=2, sequence=4, offset=2)
        try:
            content = yaml.load(WORK / schema)
            content["id"]["repeats"] = True
            with replacing(WORK / schema) as temporary:
                yaml.dump(content, temporary)
        except (OSError, YAMLError) as error:
            why = " ".join(str(error).split())
            raise InputError(f"customers have several rows, and {schema} can't say so: {why}; {way_out}") from None

    def train(self, name: str, knobs: Mapping[str, Any]) -> Path:
        """Run the pipeline on the table, with these parameters (`section.name`), as the experiment `name`, check it
        out, and return its bundle."""
        options = ["--set-param", f"data.path={TABLE}"]
        if read_section("data").get("options"):
            options += ["--set-param", "~data.options"]  # how the table before is read
        for key, value in knobs.items():
            section, _, knob = key.partition(".")
            if read_section(section).get(knob) != value:
                options += ["--set-param", f"++{key}={json.dumps(value)}"]
        self.dvc("exp", "run", "--temp", "--name", name, *options, "deploy", shown=True)
        self.dvc("exp", "branch", name, name)
        git("checkout", "--quiet", name, cwd=WORK)
        self.dvc("checkout", "--quiet", str(BUNDLE))
        return WORK / BUNDLE

    def keep(self, branch: str) -> str:
        """Bring the experiment into the repository as that branch; its commit."""
        git("fetch", "--quiet", "--no-tags", str(WORK), f"+HEAD:refs/heads/{branch}")
        return git("rev-parse", "HEAD", cwd=WORK)

    def dvc(self, *words: str, shown: bool = False) -> str:
        command = [sys.executable, "-m", "dvc", *words]
        return call(command, WORK, shown=shown, env=environment(), pass_fds=(self.lock,))


def environment() -> dict[str, str]:
    """Stages run `python`, so this one comes first on the PATH; git knows an author."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**identity(), **os.environ, "PATH": path}


def identity() -> dict[str, str]:
    """The author of a commit: as configured in this repository, which a clone does not know, else ours."""
    names: dict[str, str] = {}
    for part, ours in (("name", AUTHOR), ("email", f"{AUTHOR}@localhost")):
        configured = git_or_empty("config", f"user.{part}")
        names |= {f"GIT_{role}_{part.upper()}": configured or ours for role in ("AUTHOR", "COMMITTER")}
    return names
