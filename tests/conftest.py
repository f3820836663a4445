"""What tests share: one profile for hypothesis, and one small reproduction of the whole pipeline in a temporary folder.

Nothing here touches the repository. Stages are imported in the fixtures: a test of numpy alone starts at once.
"""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
from hypothesis import settings

ROOT = Path(__file__).parent.parent

# the same examples in every run, and nothing written beside the code
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(Path(tempfile.gettempdir()) / "hypothesis"))
settings.register_profile("fast", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("fast")

# a job in the background ignores Ctrl-C, and so would the commands that a test interrupts
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """All cores; files that start servers choose free ports and folders of their own."""
    return os.cpu_count() or 1


def is_asked_for(config: pytest.Config, mark: str) -> bool:
    """Whether -m asks for the tests with that mark."""
    return mark in config.option.markexpr.replace(f"not {mark}", "")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A run without e2e tests does not import them."""
    without = config.option.markexpr and not is_asked_for(config, "e2e")
    return True if without and collection_path == ROOT / "tests/e2e" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests are for `-m slow`, or by name: they stay out of the inner loop."""
    if config.option.markexpr and not is_asked_for(config, "slow"):
        slow = [item for item in items if item.get_closest_marker("slow") and not item.get_closest_marker("e2e")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in set(slow)]


def with_knobs(params: dict[str, Any], knobs: dict[str, Any]) -> dict[str, Any]:
    """`params` with the values of dotted names, `{"train.folds": 3}`, replaced or added."""
    for dotted, value in knobs.items():
        *sections, key = dotted.split(".")
        inside = params
        for section in sections:
            inside = inside[section]
        inside[key] = value
    return params


def built_once(
    tmp_path_factory: pytest.TempPathFactory, worker_id: str, name: str, build: Callable[[Path], None]
) -> Path:
    """The folder `name` of this run, built by the first worker that needs it (pytest-xdist's recipe: a lock)."""
    base = tmp_path_factory.getbasetemp()
    root = base if worker_id == "master" else base.parent  # of all workers
    folder, done = root / name, root / f"{name}.done"
    with FileLock(root / f"{name}.lock"):
        if not done.exists():
            build(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder in which all stages but deploy ran, with the repository's params made small; read it, do not write."""
    return built_once(tmp_path_factory, worker_id, "project", build_project)


def build_project(folder: Path) -> None:
    from stages import evaluate, featurize, load, preprocess, select, simulate, train

    small = {
        "data.path": str(folder / "data/raw/customers.csv"),
        "data.schema": str(folder / "schemas/telco.yaml"),
        "simulate.customers": 600,
        "train.folds": 3,
        **{f"train.models.{m}.n_estimators": 15 for m in ("random_forest", "gradient_boosting", "xgboost")},
        "evaluate.resamples": 100,
        "deploy.reference": 200,
    }
    params = with_knobs(yaml.safe_load((ROOT / "params.yaml").read_text()), small)
    (folder / "schemas").mkdir(parents=True)
    shutil.copy(ROOT / "schemas/telco.yaml", folder / "schemas")
    shutil.copy(ROOT / "requirements.txt", folder)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for command in ("init -q", "add params.yaml", "-c user.name=t -c user.email=t@t commit -q --no-verify -m params"):
        subprocess.run(["git", *command.split()], cwd=folder, check=True)
    with contextlib.chdir(folder):
        for stage in (simulate, load, preprocess, featurize):
            stage.main()
        for name in params["train"]["models"]:
            train.main(name)
        select.main()
        evaluate.main()


@pytest.fixture(scope="session")
def released(project: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The project's release bundle, tracked by MLflow on SQLite in the project (read it, do not
    write: `copy_tracked`); models/again is its twin."""

    def build(folder: Path) -> None:
        from stages import deploy

        with contextlib.chdir(project), pytest.MonkeyPatch.context() as patch:
            for name in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME"):
                patch.delenv(name, raising=False)
            deploy.main()
            deploy.main(folder=Path("models/again"))

    built_once(tmp_path_factory, worker_id, "released", build)
    return project / "models/release"


def copy_tracked(released: Path, folder: Path) -> str:
    """The address in MLflow of a copy of the project's database in `folder`, to be written to; artifacts that are new
    lie there too."""
    with (
        sqlite3.connect(released.parent.parent / "mlflow.db") as original,
        sqlite3.connect(folder / "mlflow.db") as copy,
    ):
        original.backup(copy)
        copy.execute("UPDATE experiments SET artifact_location = ?", [(folder / "mlartifacts").as_uri()])
    return f"sqlite:///{folder / 'mlflow.db'}"


@pytest.fixture
def elsewhere(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Go to an empty folder whose params.yaml is the project's with some knobs changed."""

    def go(knobs: dict[str, Any] | None = None) -> Path:
        monkeypatch.chdir(tmp_path)
        params = with_knobs(yaml.safe_load((project / "params.yaml").read_text()), knobs or {})
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        return tmp_path

    return go


@pytest.fixture(scope="session")
def client(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of the service, which started in this process with the project's release."""
    from starlette.testclient import TestClient

    from serve.app import create_app
    from serve.releases.store import Store

    store = Store(tmp_path_factory.mktemp("releases"))
    store.promote(store.add(released, "test"), "test")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CHURN_")]:
            patch.delenv(name)
        patch.setenv("CHURN_RELEASES", str(store.where))
        patch.setenv("CHURN_MAX_BODY", "2000000")
        with TestClient(create_app(), raise_server_exceptions=False, follow_redirects=False) as opened:
            yield opened


@pytest.fixture
def customer(client: Any) -> dict[str, Any]:
    """A customer of the release's golden ones."""
    found: dict[str, Any] = client.app.state.service.live.champion.release.golden()[0]["customer"]
    return found
