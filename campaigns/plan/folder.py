"""The folder of a plan: list.csv, list.parquet and plan.json, which appear together or not at all."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from campaigns.plan.lists import write_csv, write_parquet
from churn.release import file_hash
from churn.script import InputError, rounded

PLAN, CSV, PARQUET = "plan.json", "list.csv", "list.parquet"
OTHER_FOLDER = "choose another folder or remove it"


def check_free(out: Path) -> None:
    """An InputError for a folder that holds anything but a plan."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder for the plan")
    names = {path.name for path in out.iterdir()} if out.exists() else set()
    if others := sorted(names - {PLAN, CSV, PARQUET}):
        raise InputError(f"{out} holds {others[0]}, which is no part of a plan; choose an empty folder")


def write_plan(out: Path, customers: pa.Table, content: Mapping[str, Any]) -> None:
    """Write the list and the plan, unless the same ones are there; an InputError where another plan is."""
    out = out.resolve()
    with temporary(out) as folder:
        for name, write in ((PARQUET, write_parquet), (CSV, write_csv)):
            write(customers, folder / name)
        content = {**content, "files": {name: file_hash(folder / name) for name in (CSV, PARQUET)}}
        (folder / PLAN).write_text(json.dumps(rounded(content, 6), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        for path in (*folder.iterdir(), folder):
            sync(path)
        if not out.exists() or not any(out.iterdir()):
            folder.rename(out)  # takes the place of an empty folder, too
            sync(out.parent)
        elif changed := sorted(path.name for path in folder.iterdir() if not is_same(path, out / path.name)):
            words = "another plan" if PLAN in changed else f"this plan with another {' and '.join(changed)}"
            raise InputError(f"{out} holds {words}; {OTHER_FOLDER}")


@contextmanager
def temporary(out: Path) -> Iterator[Path]:
    """A folder beside `out` that does not outlive the block, unless it is renamed."""
    folder = out.with_name(f".{out.name}.{uuid.uuid4().hex}.tmp")
    folder.mkdir(parents=True)
    try:
        yield folder
    except pa.ArrowException as error:
        raise InputError(f"{out} can't be written: {' '.join(str(error).split())[:300]}") from None
    except OSError as error:  # Arrow does not say of which file
        error.filename = error.filename or str(out)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_same(one: Path, other: Path) -> bool:
    return other.is_file() and file_hash(one) == file_hash(other)


def sync(path: Path) -> None:
    """Have a file, or a folder's list of files, on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
