"""A check of scored files by their manifest: as many customers as a sample has stand for all, however many those are.

They are made from the manifest's sums, one column at a time: each lot of customers between two quantiles of the
reference is so many times its mean. Distances, missing values, unseen levels and the estimates look at one column
alone; they differ from those of the rows by what a lot is wide, a two hundredth of the reference's customers.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from churn.features import MISSING
from churn.release import REFERENCE, open_release
from churn.scored import read_manifest, written_at
from churn.script import InputError
from monitoring.check.drift import PREDICTION
from monitoring.check.findings import Window
from monitoring.check.snapshot_files import Snapshot, Standing
from serve.releases.store import Store
from serve.settings import read_settings

STANDING = 20_000
UNSEEN = "a level never seen"


def snapshot_of(out: str | Path) -> Snapshot:
    """What the champion of a folder of scores answered; its outcomes are not known."""
    manifest = read_manifest(out)
    release = open_release(Store(read_settings().releases).bundle(manifest["champion"]))
    parts = [piece["summaries"][release.version] for piece in manifest["pieces"]]
    rows = sum(part["rows"] for part in parts)
    if not rows:
        raise InputError(f"{out}: {release.version} scored nobody there")
    n = min(rows, STANDING)
    p = numbers([part["churn_probability"] for part in parts], n)
    flagged = np.zeros(n, "int64")
    flagged[n - round(n * sum(part["flagged"] for part in parts) / rows) :] = 1  # p rises
    names = release.card["inputs"]["numbers"], list(release.card["inputs"]["categories"])
    inputs = {name: of_parts([part["inputs"][name] for part in parts], n) for of_parts, name in columns(*names)}
    at = written_at(out)
    return Snapshot(
        Window(model_version=release.version, start=at, end=at, cohort_start=at, cohort_end=at),
        pd.DataFrame({"p": p, "flagged": flagged}),
        pd.DataFrame(columns=["p", "flagged", "churned", "offered", "spared"], dtype="float64"),
        pd.DataFrame({PREDICTION: p}),
        pd.read_parquet(release.folder / REFERENCE),
        release.card,
        Standing(rows, pd.DataFrame(inputs)),
    )


def columns(of_numbers: Sequence[str], of_levels: Sequence[str]) -> list[tuple[Any, str]]:
    return [*((numbers, name) for name in of_numbers), *((levels, name) for name in of_levels)]


def numbers(parts: Sequence[Mapping[str, Any]], n: int) -> np.ndarray:
    """(n,) rising, missing ones last."""
    counts, sums = (np.sum([part[key] for part in parts], axis=0) for key in ("counts", "sums"))
    with np.errstate(invalid="ignore"):
        means = sums / counts
    return np.append(means, np.nan)[places([*counts, sum(part["missing"] for part in parts)], n)]


def levels(parts: Sequence[Mapping[str, Any]], n: int) -> np.ndarray:
    """object (n,)"""
    found = pd.DataFrame([part["counts"] for part in parts]).sum()
    missing, unseen = (sum(part[key] for part in parts) for key in ("missing", "unseen"))
    texts = np.array([*found.index, MISSING, UNSEEN], dtype=object)
    return texts[places([*found, missing, unseen], n)]


def places(counts: Sequence[float], n: int) -> np.ndarray:
    """(n,) as many of each place as its share of the counts asks for."""
    upto = np.cumsum(counts)
    return np.searchsorted(upto, (np.arange(n) + 0.5) / n * upto[-1], "right")
