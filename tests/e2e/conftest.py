"""What the end-to-end tests share: a copy of the repository in which `dvc repro` ran once, and commands run in copies.

A copy holds what git tracks and what it would add, as it is on disk: a developer tests what they have.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

import pytest
import yaml
from sqlalchemy import text

from review.verify import environment, git
from serve.log.database import connect
from tests.conftest import ROOT, built_once, with_knobs
from tests.e2e.servers import Postgres, postgres

TELCO = ROOT / "../shared/data/telco_customer_churn.csv"


def command(folder: Path, *words: str, timeout: float = 300, status: int | None = 0, **more: str) -> str:
    """stdout and stderr of a command in `folder`, which must end with exit status `status` (None: any of a failure)."""
    with TemporaryFile("a+") as output:  # no pipe: workers that a command leaves behind would keep it open
        try:
            done = subprocess.run(
                words, cwd=folder, env=environment(**more), stdout=output, stderr=subprocess.STDOUT, timeout=timeout
            )
            as_expected = done.returncode == status if status is not None else done.returncode > 0
            end = f"ended with exit status {done.returncode}"
        except subprocess.TimeoutExpired:
            as_expected, end = False, f"did not end within {timeout:g} s"
        output.seek(0)
        printed = output.read()
    assert as_expected, f"{' '.join(words)} {end}:\n{printed}"
    return printed


def ran(output: str) -> list[str]:
    """The stages that `dvc repro` or `dvc exp run` ran, in order."""
    return re.findall(r"^Running stage '(.+)':$", output, re.MULTILINE)


def set_knobs(folder: Path, **knobs: object) -> None:
    """Change knobs of params.yaml; a name is dotted, with __ for the dot."""
    path = folder / "params.yaml"
    dotted = {name.replace("__", "."): value for name, value in knobs.items()}
    path.write_text(yaml.safe_dump(with_knobs(yaml.safe_load(path.read_text()), dotted), sort_keys=False))


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message)


def copy_of_repository(folder: Path) -> Path:
    """A repository of one commit in the new `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").decode().split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "--quiet", "--initial-branch=main")
    for key, value in {"user.name": "tests", "user.email": "tests@localhost", "commit.gpgSign": "false"}.items():
        git(folder, "config", key, value)
    commit(folder, "the repository as it is on disk")
    return folder


def reproduce(original: Path, folder: Path, threads: int) -> Path:
    """A copy in which `dvc repro` ran with that many threads, committed; HEAD~1 is what was there before."""
    shutil.copytree(original, folder)
    knobs = {"PYTHONHASHSEED": str(threads), "OMP_NUM_THREADS": str(threads), "LOKY_MAX_CPU_COUNT": str(threads)}
    command(folder, "dvc", "repro", timeout=600, **knobs)
    commit(folder, "dvc repro")
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_site_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What DVC remembers of a folder stays out of the user's: copies come and go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path_factory.mktemp("dvc")))
        yield


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The copy of the repository, taken once, in which nothing ran; read it, do not write."""
    return built_once(tmp_path_factory, worker_id, "original", copy_of_repository)


@pytest.fixture(scope="session")
def reproduced(original: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A reproduced copy; read it, do not write."""

    def build(folder: Path) -> None:
        reproduce(original, folder, threads=1)

    return built_once(tmp_path_factory, worker_id, "reproduced", build)


@pytest.fixture(scope="module")
def clone(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the reproduced one for the tests of one file."""
    return shutil.copytree(reproduced, tmp_path_factory.mktemp("clone") / "repository")


@pytest.fixture
def restored(clone: Path) -> Iterator[Path]:
    """The clone, its files put back to the commit after the test."""
    yield clone
    git(clone, "reset", "--quiet", "--hard")
    git(clone, "clean", "--quiet", "--force", "-d")


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture
def empty_database(database: Postgres) -> str:
    """The URL of a log's database without tables."""
    engine = connect(database.url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
        connection.execute(text("GRANT USAGE ON SCHEMA public TO PUBLIC"))
    engine.dispose()
    return database.url
