"""The folder of scores: it takes one input and one release, and its manifest, written last, is all that counts."""

import fcntl
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from churn.scored import FORMAT, MANIFEST
from churn.script import InputError, write_text

OURS = re.compile(r"(part|rejected)-\d{5,}-[0-9a-f]{16}\.parquet")
LEFTOVER = re.compile(r"\.(part|rejected)-.*\.tmp|\.MANIFEST\..*\.json")


@contextmanager
def reserved(out: Path) -> Iterator[None]:
    """Nobody else writes to the folder meanwhile; it is made where it is missing."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"{out} is a file; name a folder for the scores") from None
    folder = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InputError(f"{out}: another run is writing to it; wait for its end") from None
    finally:
        os.close(folder)


def made_ready(out: Path, names: Sequence[str], *others: str) -> None:
    """Remove what a killed run left half-written; an InputError where the folder holds anything but these scores."""
    expected = {*names, *(name.replace("part-", "rejected-") for name in names), MANIFEST, *others}
    for path in sorted(out.iterdir()):
        if LEFTOVER.fullmatch(path.name):
            path.unlink()
        elif path.name not in expected:
            whose = "of another input or release" if OURS.fullmatch(path.name) else "which is none of these scores"
            raise InputError(f"{out} holds {path.name}, {whose}; choose an empty folder or remove what is in it")


def write_manifest(out: Path, identity: dict[str, Any], edges: dict[str, Any], pieces: Sequence[Any]) -> None:
    totals = {key: sum(piece[key] for piece in pieces) for key in ("rows", "scored", "rejected")}
    content = {"format": FORMAT, **identity, **totals, "edges": edges, "pieces": list(pieces)}
    write_text(out / MANIFEST, json.dumps(content, indent=1, allow_nan=False) + "\n")
