"""What all pieces share: the releases by their content, who answers whom, and the models opened from it once."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from churn.release import REFERENCE, bundle_files
from churn.schema import Schema
from serve.predict.live import Model, bucket, open_model
from serve.releases.ledger import State
from serve.releases.store import Store
from serve.score.graph import CodedScorer

EDGES = 200  # quantiles of the reference between which numbers are counted

Bundle = Path | Mapping[str, bytes]  # a folder that all processes see, or its files


@dataclass(frozen=True)
class Job:
    champion: str  # version
    challenger: str | None
    share: float  # of the customers whom the challenger answers
    bundles: Mapping[str, Bundle]  # by version
    day: date  # from which dates count in rows without a day of their own
    out: str

    @property
    def identity(self) -> dict[str, Any]:
        """What, beside the input, the output hangs on."""
        models = {"champion": self.champion, "challenger": self.challenger, "share": self.share}
        return models | ({"day": self.day.isoformat()} if live(self).champion.release.schema.moment else {})


def job_of(store: Store, day: date, out: str) -> Job:
    """The releases that answer now."""
    state: State = store.state()
    store.champion()  # or the error that names the way out
    versions = [version for version in (state["champion"], state["challenger"]) if version]
    bundles: dict[str, Bundle] = {version: store.bundle(version) for version in versions}
    return Job(versions[0], state["challenger"], state["share"], bundles, day, out)


def carried(job: Job) -> Job:
    """The job with the releases' content, for processes on other machines."""
    files = {
        version: {name: (bundle / name).read_bytes() for name in bundle_files(bundle)}
        if isinstance(bundle, Path)
        else bundle
        for version, bundle in job.bundles.items()
    }
    return replace(job, bundles=files)


@dataclass(frozen=True)
class Live:
    """The models of a job, opened and verified in this process."""

    champion: Model
    challenger: Model | None
    share: float
    # by version
    scorers: Mapping[str, CodedScorer]
    edges: Mapping[str, Mapping[str, np.ndarray]]  # of each number that the model reads

    @property
    def models(self) -> list[Model]:
        return [model for model in (self.champion, self.challenger) if model]

    @property
    def schema(self) -> Schema:
        return self.champion.release.schema

    @property
    def texts(self) -> set[str]:
        """Headers of columns with few different texts."""
        columns = [column for column in self.schema.columns if column.type in ("category", "boolean")]
        return {header for column in columns for header in column.headers}

    def is_challenged(self, ids: pa.Array) -> np.ndarray:
        """bool (n,): whom the challenger answers, as in the service; ids (n,), null where there is none."""
        if not self.challenger or not self.share:
            return np.zeros(len(ids), bool)
        version = self.challenger.version
        return np.array([name is not None and bucket(version, name) < self.share for name in ids.to_pylist()], bool)


_live: dict[tuple[str, str | None, float], Live] = {}
_opening = Lock()  # a Dask worker's threads begin at once


def live(job: Job) -> Live:
    """Opened once in each process: Scorer.open verifies what arrived."""
    key = (job.champion, job.challenger, job.share)
    with _opening:
        if key not in _live:
            champion = opened(job, job.champion, "champion")
            challenger = opened(job, job.challenger, "challenger") if job.challenger else None
            models = [model for model in (champion, challenger) if model]
            scorers = {model.version: CodedScorer(model.scorer) for model in models}
            between = {model.version: edges(model) for model in models}
            _live[key] = Live(champion, challenger, job.share, scorers, between)
        return _live[key]


def opened(job: Job, version: str, arm: Any) -> Model:
    bundle = job.bundles[version]
    if isinstance(bundle, Path):
        return open_model(bundle, arm)
    folder = Path(_folder().name, version)
    folder.mkdir(exist_ok=True)
    for name, content in bundle.items():
        (folder / name).write_bytes(content)
    return open_model(folder, arm)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="churn-score-")


def edges(model: Model) -> dict[str, np.ndarray]:
    """Of each number that the model reads the values between which customers are counted: the reference's quantiles."""
    content = pa.BufferReader((model.release.folder / REFERENCE).read_bytes())  # of a file a thread would be asked
    with parquet.ParquetFile(content) as file:
        reference = file.read(columns=model.scorer.numbers, use_threads=False)
    numbers = {name: reference[name].cast("float64").to_numpy() for name in model.scorer.numbers}
    values = {name: column[~np.isnan(column)] for name, column in numbers.items()}
    steps = np.linspace(0, 1, EDGES + 1)
    return {name: lots(np.quantile(there, steps)) if len(there) else np.zeros(1) for name, there in values.items()}


def lots(quantiles: np.ndarray) -> np.ndarray:
    """Edges, the last one just above the largest quantile: it must not share a lot with smaller values, as 1 with 0."""
    return np.append(np.unique(quantiles), np.nextafter(quantiles[-1], np.inf))
