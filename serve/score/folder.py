"""The folder of scores: it takes one input and one release, and its manifest, written last, is all that counts."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from churn.scored import FORMAT, MANIFEST
from churn.script import InputError
from serve.score.places import Place

OURS = re.compile(r"(part|rejected)-\d{5,}-[0-9a-f]{16}\.parquet")
LEFTOVER = re.compile(r"\.(part|rejected)-.*\.tmp|\.MANIFEST\..*\.json")


def refuse_inside(out: str | Path, source: str) -> None:
    """An InputError where the scores would lie among what is scored."""
    if "://" in source and "://" in str(out):
        is_inside = f"{str(out).rstrip('/')}/".startswith(f"{source.rstrip('/')}/")
    else:
        is_inside = Path(source).is_dir() and Path(out).resolve().is_relative_to(Path(source).resolve())
    if is_inside:
        raise InputError(f"{out} lies in {source}, whose files are scored; choose a folder elsewhere")


def sweep(out: Place, below: str = "") -> None:
    """Remove what was left half-written: by a run that was killed, or by a worker that this one lost."""
    for name in out.names(below):
        if LEFTOVER.fullmatch(name):
            out.remove(f"{below}/{name}".lstrip("/"))


def made_ready(out: Place, names: Sequence[str], *others: str, below: str = "") -> None:
    """An InputError where the folder holds anything but these scores; else what was left half-written is removed."""
    expected = {*names, *(name.replace("part-", "rejected-") for name in names), MANIFEST, *others}
    for name in out.names(below):
        if name not in expected and not LEFTOVER.fullmatch(name):
            whose = "of another input or release" if OURS.fullmatch(name) else "which is none of these scores"
            raise InputError(f"{out} holds {name}, {whose}; choose an empty folder or remove what is in it")
    sweep(out, below)


def write_manifest(out: Place, identity: dict[str, Any], edges: dict[str, Any], pieces: Sequence[Any]) -> None:
    totals = {key: sum(piece[key] for piece in pieces) for key in ("rows", "scored", "rejected")}
    content = {"format": FORMAT, **identity, **totals, "edges": edges, "pieces": list(pieces)}
    out.commit(MANIFEST, json.dumps(content, allow_nan=False).encode() + b"\n")
