"""Logging a reproduction to MLflow. Nothing that MLflow makes up, an id or a date, is ever a DVC output."""

import json
import logging
import os
import re
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from churn.git import git_or_empty
from churn.params import read_params
from churn.script import InputError
from churn.urls import sqlite_url

log = logging.getLogger("tracking")

REGISTERED = "churn"  # the model's name in the registry
CANDIDATE = "candidate"  # the alias of the newest release that nobody promoted yet


def track(what: str, tell: Callable[["Tracker"], None]) -> None:
    """Call tell(tracker); whatever fails is a warning, or an InputError when tracking.required."""
    experiment, required = knobs()
    uri = address()
    try:
        with connected(uri, experiment) as tracker:
            tell(tracker)
    except Exception as error:
        sentence = f"{what} was not tracked at {shown(uri)}: {reason(error)}"
        if required:
            raise InputError(f"{sentence}; start the server, or set tracking.required to false") from error
        log.warning("%s; the results on disk are whole", sentence)
    else:
        log.info("%s is tracked at %s", what, shown(uri))


def knobs() -> tuple[str, bool]:
    """The experiment, and whether a training that cannot be tracked fails."""

    def take(*, experiment: str, required: bool) -> tuple[str, bool]:
        return experiment, required

    return take(**read_params("tracking", take))


def address() -> str:
    """Where MLflow is: MLFLOW_TRACKING_URI, else a database in the repository."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_url(_default())


def is_there() -> bool:
    """Whether somebody named MLflow's address, or a training on this machine made the database."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or _default().exists()


def shown(text: str) -> str:
    """`text` without the user and password of any address in it."""
    return re.sub(r"//\S*@", "//***@", text)


def reason(error: Exception) -> str:
    """What an error says, on one short line."""
    # the secret goes first: cut in the middle, it would not be recognised
    first = (shown(str(error)).splitlines() or [""])[0]
    return f"{type(error).__name__}: {' '.join(first.split())[:120]}"


@contextmanager
def connected(uri: str, experiment: str) -> Iterator["Tracker"]:
    """A tracker for the block, see `impatient`."""
    with impatient():
        yield Tracker.connect(uri, experiment)


@contextmanager
def impatient() -> Iterator[None]:
    """Let MLflow give up within seconds, and say nothing itself."""
    # else MLflow tries a server that is down for minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name, level in (("urllib3", "ERROR"), ("mlflow", "WARNING"), ("mlflow.store.db.utils", "CRITICAL")):
        logging.getLogger(name).setLevel(level)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's hints on types and sources of data
        yield


def client_of(uri: str) -> Any:
    """An mlflow.MlflowClient, which costs two seconds to import; the process's models:/ are its registry's then."""
    from mlflow import MlflowClient, set_tracking_uri
    from mlflow.store.db import utils

    utils.MAX_RETRY_COUNT = 3  # no variable sets it; ten tries of a database that is down take 101 seconds
    set_tracking_uri(uri)  # the registry resolves models:/ there, whatever the client was given
    with alone(uri, "connect"):  # two processes must not create the same SQLite tables at once
        return MlflowClient(tracking_uri=uri)


def alone(uri: str, what: str) -> AbstractContextManager[Any]:
    """While it is held, no other process of this machine does `what` at that MLflow."""
    from filelock import FileLock

    lock = Path(tempfile.gettempdir()) / f"mlflow-{sha256(uri.encode()).hexdigest()[:16]}-{what}.lock"
    return FileLock(lock, timeout=120)


@dataclass(frozen=True)
class Tracker:
    """An MLflow client and the experiment it writes to."""

    client: Any  # see client_of
    experiment_id: str

    @classmethod
    def connect(cls, uri: str, experiment: str) -> "Tracker":
        client = client_of(uri)
        with alone(uri, "connect"):
            if not client.get_experiment_by_name(experiment):
                artifacts = _default().with_name("mlartifacts").as_uri() if uri.startswith("sqlite:") else None
                with _unless_it_exists():
                    client.create_experiment(experiment, artifacts)
            return cls(client, client.get_experiment_by_name(experiment).experiment_id)

    @contextmanager
    def run(self, name: str, parent: Any = None, commit: bool = True, **tags: str) -> Iterator[Any]:
        """A run of that name, below `parent`, tagged with the git commit if `commit`; it ends with the block."""
        tags |= {"mlflow.parentRunId": parent.info.run_id} if parent else {}
        tags |= _git_tags() if commit else {}
        run = self.client.create_run(self.experiment_id, run_name=name, tags=tags)
        try:
            yield run
        except BaseException:
            self.client.set_terminated(run.info.run_id, "FAILED")
            raise
        self.client.set_terminated(run.info.run_id)

    def values(self, run: Any, params: Mapping[str, Any], metrics: Iterable[tuple[str, float, int]]) -> None:
        """Parameters, nested ones under dotted names, and metrics as (name, value, step)."""
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        self.client.log_batch(
            run.info.run_id,
            [Metric(key, float(value), now, step) for key, value, step in metrics],
            [Param(key, str(value)[:6000]) for key, value in flat(params).items()],
        )

    def card(self, run: Any, card: Mapping[str, Any]) -> None:
        """What a release's card says of its model and of the test, as values of the run."""
        test = [(f"test_{key}", value, 0) for key, value in card["test"].items()]
        self.values(run, {key: card[key] for key in ("model", "data", "threshold")}, test)

    def data_set(self, frame: pd.DataFrame, path: Path) -> Any:
        """The table in `path` as MLflow describes it: columns, size and hash."""
        from mlflow.entities import Dataset, DatasetInput, InputTag
        from mlflow.models import infer_signature

        # mlflow.data.from_pandas infers the same columns from every row, half a second of work
        columns = infer_signature(frame.head(100)).inputs.to_dict()
        data = Dataset(
            name="training customers",
            digest=sha256(path.read_bytes()).hexdigest()[:36],  # as long as MLflow allows
            source_type="local",
            source=json.dumps({"uri": str(path)}),
            schema=json.dumps({"mlflow_colspec": columns}),
            profile=json.dumps({"num_rows": len(frame), "num_elements": frame.size}),
        )
        return DatasetInput(data, [InputTag("mlflow.data.context", "training")])

    def model(self, run: Any, name: str, data: Path, inputs: pd.DataFrame, p: Any, **tags: str) -> Any:
        """A model of `run`, a file or folder that churn/mlflow_loader.py opens, with the signature of inputs to p."""
        # mlflow.pyfunc.log_model does the same and reads every installed package first, a second of work each time
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model, infer_signature
        from mlflow.pyfunc import add_to_model

        from churn import mlflow_loader

        logged = self.client.create_logged_model(self.experiment_id, name, run.info.run_id, tags)
        with tempfile.TemporaryDirectory() as folder:
            copy = shutil.copytree if data.is_dir() else shutil.copy
            copy(data, Path(folder) / data.name)
            shutil.copy("requirements.txt", folder)
            model = Model(model_id=logged.model_id, run_id=run.info.run_id, signature=infer_signature(inputs, p))
            add_to_model(model, loader_module=mlflow_loader.__name__, data=data.name)
            model.save(str(Path(folder) / "MLmodel"))
            self.client.log_model_artifacts(logged.model_id, folder)
        self.client.log_outputs(run.info.run_id, [LoggedModelOutput(logged.model_id, 0)])
        return self.client.finalize_logged_model(logged.model_id, "READY")

    def register(self, run: Any, logged: Any, model_version: str) -> None:
        """Alias `candidate` of the registered model to this release; the same release is never registered twice."""
        self.client.set_registered_model_alias(REGISTERED, CANDIDATE, self.add(run, logged, model_version))

    def add(self, run: Any, logged: Any, model_version: str) -> str:
        """This release's version of the registered model, a new one if it has none."""
        with _unless_it_exists():
            self.client.create_registered_model(REGISTERED, description="Probability that a customer leaves")
        if model_version not in self.registered():
            tags = {"model_version": model_version}
            source = f"models:/{logged.model_id}"
            made = self.client.create_model_version(REGISTERED, source, run.info.run_id, tags, model_id=logged.model_id)
            # another machine may have done so since: both see the numbers now, and the first stays
            if self.registered()[model_version] != str(made.version):
                self.client.delete_model_version(REGISTERED, str(made.version))
        return self.registered()[model_version]

    def registered(self) -> dict[str, str]:
        """Release -> its version of the registered model, the first where it has several."""
        found = self.client.search_model_versions(f"name = '{REGISTERED}'")
        latest_first = sorted(found, key=lambda version: -int(version.version))
        return {v.tags["model_version"]: str(v.version) for v in latest_first if "model_version" in v.tags}

    def aliases(self) -> dict[str, str]:
        """Alias -> version of the registered model."""
        found = self.client.search_registered_models(f"name = '{REGISTERED}'")  # none before the first release
        return {alias: str(version) for model in found for alias, version in model.aliases.items()}


@contextmanager
def _unless_it_exists() -> Iterator[None]:
    """What is made in the block may be there already: another machine made it since somebody looked."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def flat(knobs: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested knobs under dotted names."""
    parts = (flat(v, f"{prefix}{k}.") if isinstance(v, Mapping) else {f"{prefix}{k}": v} for k, v in knobs.items())
    return {key: value for part in parts for key, value in part.items()}


def _default() -> Path:
    """The database in the repository, also where a training works in a copy of it below its .dvc folder."""
    here = Path.cwd()
    return next((folder.parent for folder in reversed(here.parents) if folder.name == ".dvc"), here) / "mlflow.db"


def _git_tags() -> dict[str, str]:
    """The commit, and whether files that git tracks differ from it."""
    return {
        "git_commit": git_or_empty("rev-parse", "HEAD"),
        "git_changed": str(bool(git_or_empty("status", "--porcelain", "--untracked-files=no"))).lower(),
    }
