"""A folder of scored files, as its readers see it: the manifest, which is written last, names all that counts."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from churn.script import InputError
from churn.storage import ObjectStorage

MANIFEST = "MANIFEST.json"
FORMAT = 1  # of the manifest


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """What a folder, or a URL of object storage, holds; an InputError without a manifest: then nothing there counts."""
    try:
        content = json.loads(
            ObjectStorage(str(folder)).read(MANIFEST) if "://" in str(folder) else Path(folder, MANIFEST).read_bytes()
        )
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder} has no {MANIFEST}: no run of python -m serve.score has ended there") from None
    except ValueError as error:
        raise InputError(f"{folder}/{MANIFEST} is not JSON: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{folder}/{MANIFEST} is no manifest of scores of format {FORMAT}; score the files again")
    return content


def written_at(folder: str | Path) -> datetime:
    """When the manifest was written."""
    if "://" in str(folder):
        return ObjectStorage(str(folder)).modified(MANIFEST)
    return datetime.fromtimestamp(Path(folder, MANIFEST).stat().st_mtime, UTC)
