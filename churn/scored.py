"""A folder of scored files, as its readers see it: the manifest, which is written last, names all that counts."""

import json
from pathlib import Path
from typing import Any

from churn.script import InputError

MANIFEST = "MANIFEST.json"
FORMAT = 1  # of the manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the folder holds; an InputError where it has no manifest, so that nothing in it counts."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{folder} has no {MANIFEST}: no run of python -m serve.score has ended there") from None
    except ValueError as error:
        raise InputError(f"{folder / MANIFEST} is not JSON: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{folder / MANIFEST} is no manifest of scores of format {FORMAT}; score the files again")
    return content
