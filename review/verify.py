"""verify: rebuild HEAD in a temporary clone and compare: python -m review.verify [--tolerance 1e-3]

Exit status 0: identical, or every number of the metric files equal within the tolerance (another processor may differ
in the last digits). 1: anything else. Plots and data are reported with their largest difference, and not judged.
"""

import argparse
import hashlib
import json
import logging
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import yaml

from churn.git import ProgramFailed, call, committed, output_of
from churn.query import is_query
from churn.script import InputError, run
from churn.urls import sqlite_url

log = logging.getLogger("verify")

ROOT = Path(__file__).parents[1]
Lock = Mapping[str, Mapping[str, Any]]  # the stages of a dvc.lock
Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Difference:
    """How a rebuilt file differs from the committed one."""

    path: str
    words: str
    largest: float = math.inf  # between two numbers; infinite where something else than numbers differs
    judged: bool = True  # counts for the verdict

    def __str__(self) -> str:
        return f"{self.path}: {self.words}"


# comparing: pure


def columns(path: str, content: bytes) -> Columns | None:
    """What stands in a file, by key (JSON) or by column (CSV, Parquet, JSON lines); None for any other format."""
    match PurePosixPath(path).suffix:
        case ".json":
            return dict(leaves(json.loads(content)))
        case ".jsonl":
            rows = (leaves(json.loads(line), f"line {i}") for i, line in enumerate(content.splitlines(), start=1))
            return {key: value for row in rows for key, value in row}
        case ".csv":
            frame = pd.read_csv(BytesIO(content), dtype="str", keep_default_na=False)
        case ".parquet":
            frame = pd.read_parquet(BytesIO(content)).astype(object)
            frame = frame.where(frame.notna(), None)
        case _:
            return None
    return {str(name): frame[name].tolist() for name in frame}


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Every value inside nested JSON under its dotted key."""
    if isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, [value]


def compare(path: str, committed: bytes | None, rebuilt: bytes | None, *, judged: bool = True) -> Difference | None:
    """The difference of one file; None where its bytes are the same."""
    if committed == rebuilt:
        return None
    if committed is None or rebuilt is None:
        return Difference(path, "was not committed" if committed is None else "was not rebuilt")
    words, largest = "the bytes differ", math.inf
    try:
        ours, theirs = columns(path, committed), columns(path, rebuilt)
    except ValueError as error:
        return Difference(path, f"cannot be read: {error}", judged=judged)
    if ours is not None and theirs is not None:
        words, largest = compare_columns(ours, theirs)
    return Difference(path, words, largest, judged)


def compare_columns(ours: Columns, theirs: Columns) -> tuple[str, float]:
    """What differs first of all: the keys, the number of rows, a value that is no number, the farthest numbers."""
    gone, new = [key for key in ours if key not in theirs], [key for key in theirs if key not in ours]
    if gone or new:
        return f"other keys: {shown(gone)} gone, {shown(new)} new", math.inf
    if odd := [key for key in ours if len(ours[key]) != len(theirs[key])]:
        return f"{len(ours[odd[0]])} rows, rebuilt {len(theirs[odd[0]])}", math.inf
    pairs = ((key, i, a, b) for key in ours for i, (a, b) in enumerate(zip(ours[key], theirs[key], strict=True)))
    gaps = [(gap(a, b), key, i, a, b) for key, i, a, b in pairs if a != b]
    if not gaps:
        return "the same values in other bytes", 0.0
    largest, key, i, a, b = max(gaps, key=lambda found: found[0])
    place = f"{key} in row {i + 1}" if len(ours[key]) > 1 else key
    size = f"differs by {largest:.2g}" if math.isfinite(largest) else "differs"
    return (
        f"{place} {size} ({a!r}, rebuilt {b!r}); {len(gaps)} of {sum(map(len, ours.values()))} values differ",
        largest,
    )


def gap(a: Any, b: Any) -> float:
    """Between two numbers, or two texts that are numbers; infinite between anything else."""
    try:
        x, y = (math.inf if value is None or isinstance(value, bool) else float(value) for value in (a, b))
    except (TypeError, ValueError):
        return math.inf
    return abs(x - y) if math.isfinite(x) and math.isfinite(y) else math.inf


def compare_locks(committed: Lock, rebuilt: Lock) -> list[Difference]:
    """Where a dvc.lock was written for other stages, commands, parameters, code or tables than the rebuild found.

    Files that a stage writes are no part of it: they are compared themselves.
    """
    found = [Difference("dvc.lock", f"{name} is in one of the two alone") for name in committed.keys() ^ rebuilt.keys()]
    written = {out["path"] for lock in (committed, rebuilt) for stage in lock.values() for out in stage.get("outs", [])}
    for name in committed.keys() & rebuilt.keys():
        ours, theirs = facts(committed[name], written), facts(rebuilt[name], written)
        if other := [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]:
            found.append(
                Difference("dvc.lock", f"{name} was recorded with other {shown(other)}; dvc repro and commit it")
            )
    return sorted(found, key=str)


def facts(stage: Mapping[str, Any], written: set[str]) -> dict[str, Any]:
    """What a stage started from, without what other stages `written`."""
    params = {key: value for of_file in stage.get("params", {}).values() for key, value in of_file.items()}
    inputs = {dep["path"]: dep.get("md5") for dep in stage.get("deps", []) if not inside(dep["path"], written)}
    return {"command": stage.get("cmd")} | params | inputs


def inside(path: str, folders: set[str]) -> bool:
    """Whether `path` is one of the folders, lies in one, or holds one (a stage may depend on a folder of outputs)."""
    around = {path, *map(str, PurePosixPath(path).parents)}
    return bool(around & folders) or any(folder.startswith(f"{path}/") for folder in folders)


def hashes(lock: Lock) -> dict[str, str]:
    """Path of each output -> its hash."""
    return {out["path"]: out.get("md5", "") for stage in lock.values() for out in stage.get("outs", [])}


def shown(words: Sequence[str]) -> str:
    return ", ".join(words[:4]) + (f" and {len(words) - 4} more" if len(words) > 4 else "") if words else "none"


def verdict(differences: Sequence[Difference], tolerance: float) -> tuple[str, int]:
    """A sentence, and the exit status."""
    if not differences:
        return "identical", 0
    beyond = [difference.path for difference in differences if difference.judged and difference.largest > tolerance]
    if beyond:
        return f"beyond {tolerance:g}: {shown(list(dict.fromkeys(beyond)))}", 1
    return f"equal within {tolerance:g}, not identical", 0


# the repository


def environment(**more: str) -> dict[str, str]:
    """This process's, with its Python's tools first and without what would lead git, DVC and the others elsewhere."""
    elsewhere = ("GIT_", "DVC_EXP", "MLFLOW_", "CHURN_", "PROMETHEUS_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(elsewhere)}
    return kept | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])} | more


def git(folder: Path, *arguments: str) -> bytes:
    return output_of(["git", *arguments], folder, env=environment())


def compare_rebuilt(clone: Path, revision: str = "HEAD", cache: Path = ROOT / ".dvc/cache") -> list[Difference]:
    """Everything in which the outputs in `clone` differ from what its `revision` says of them.

    Outputs that git does not hold are known by their hash; `cache`, where it has their bytes, says how they differ.
    """
    locks = [
        yaml.safe_load(committed(revision, "dvc.lock", clone) or b"{}"),
        yaml.safe_load((clone / "dvc.lock").open()),
    ]
    ours, theirs = (lock.get("stages", {}) for lock in locks)
    found: list[Difference | None] = [*compare_locks(ours, theirs)]
    for path, md5 in sorted({**hashes(theirs), **hashes(ours)}.items()):
        listed = git(clone, "ls-tree", "-r", "--name-only", revision, "--", path).decode().splitlines()
        if listed:
            written = {str(p.relative_to(clone)) for p in files(clone / path)}
            found += [
                compare(name, committed(revision, name, clone), content(clone / name), judged=name.endswith(".json"))
                for name in sorted({*listed, *written})
            ]
        elif hashes(ours).get(path) != hashes(theirs).get(path):
            found += compare_hashed(clone, path, md5, cache)
    return [difference for difference in found if difference]


def compare_hashed(clone: Path, path: str, md5: str | None, cache: Path) -> Iterator[Difference | None]:
    """An output that git does not hold, against what DVC's cache has under its hash; a folder file by file."""
    rebuilt, cached = content(clone / path), content(cache / "files/md5" / (md5 or "")[:2] / (md5 or "")[2:])
    if md5 is None or (rebuilt is None and not md5.endswith(".dir")):
        yield compare(path, None if md5 is None else b"", rebuilt)
    elif rebuilt is not None and hashlib.md5(rebuilt, usedforsecurity=False).hexdigest() == md5:
        return
    elif cached is None:
        yield Difference(path, "the bytes differ; the committed ones are not in DVC's cache", judged=False)
    elif md5.endswith(".dir"):
        recorded = {entry["relpath"]: entry["md5"] for entry in json.loads(cached)}
        for name in sorted({*recorded, *(str(p.relative_to(clone / path)) for p in files(clone / path))}):
            yield from compare_hashed(clone, f"{path}/{name}", recorded.get(name), cache)
    else:
        yield compare(path, cached, rebuilt, judged=False)


def files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file() and p.name != ".gitignore"]


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def bring_tables(lock: Lock, root: Path, clone: Path) -> None:
    """Copy the tables that neither git nor a stage brings: one's own, in the repository or beside it."""
    written = set(hashes(lock))
    for path in {dep["path"] for stage in lock.values() for dep in stage.get("deps", [])}:
        if not (inside(path, written) or (clone / path).exists()) and (root / path).is_file():
            (clone / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / path, clone / path)


def bring_rows(lock: Lock, root: Path, clone: Path) -> bool:
    """Copy the recorded rows of a query, which a database may not have any more; whether the table is a query."""
    queries = [dep["path"] for dep in lock.get("extract", {}).get("deps", []) if is_query(Path(dep["path"]))]
    if not queries:
        return False
    (out,) = lock["extract"]["outs"]
    md5 = out["md5"]
    for rows in (content(root / out["path"]), content(root / ".dvc/cache/files/md5" / md5[:2] / md5[2:])):
        if rows is not None and hashlib.md5(rows, usedforsecurity=False).hexdigest() == md5:
            (clone / out["path"]).parent.mkdir(parents=True, exist_ok=True)
            (clone / out["path"]).write_bytes(rows)
            return True
    raise InputError(f"{out['path']}, the rows of {queries[0]}, is not here as dvc.lock recorded it; dvc pull extract")


def main(root: Path = ROOT) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tolerance", type=float, default=1e-3, help="largest difference of a metric's numbers")
    tolerance = parser.parse_args().tolerance
    if git(root, "status", "--porcelain"):
        log.warning("warning: there are uncommitted changes; HEAD is verified, without them")
    with tempfile.TemporaryDirectory(prefix="verify-") as folder:
        clone, start = Path(folder).resolve() / "repository" / "clone", time.monotonic()
        clone.parent.mkdir()
        git(root, "clone", "--quiet", str(root), str(clone))
        head = git(clone, "rev-parse", "--short", "HEAD").decode().strip()
        lock = yaml.safe_load((clone / "dvc.lock").read_text())["stages"]
        bring_tables(lock, root, clone)
        # all stages, or all but extract
        parts = [["simulate"], ["--downstream", "load"]] if bring_rows(lock, root, clone) else [[]]
        log.info("rebuilding %s in %s", head, clone)
        # forced: else DVC skips a stage all of whose files came with git
        own = environment(MLFLOW_TRACKING_URI=sqlite_url(clone / "mlflow.db"), DVC_SITE_CACHE_DIR=f"{folder}/dvc")
        try:
            for part in parts:
                call(["dvc", "repro", "--force", *part], clone, shown=True, env=own)
        except ProgramFailed as error:
            raise InputError(f"{head} cannot be rebuilt: {error}") from None
        differences = compare_rebuilt(clone, cache=root / ".dvc/cache")
        for difference in differences:
            log.info("%s", difference)
        sentence, status = verdict(differences, tolerance)
        log.info("%s rebuilt in %.0f s: %s", head, time.monotonic() - start, sentence)
    sys.exit(status)


if __name__ == "__main__":
    run(main, "verify", mistake=2)
