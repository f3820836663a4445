"""Writing files whole or not at all."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends well and is removed when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # the suffix stays last: pandas and joblib choose format and compression by it
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: Mapping[str, Any] | list[Any], digits: int = 6) -> None:
    """Write indented JSON in the given key order, floats rounded to `digits` decimals so that diffs stay readable."""
    write_text(path, json.dumps(rounded(content, digits), indent=2, allow_nan=False) + "\n")


def rounded(value: Any, digits: int) -> Any:
    """`value` with every float inside rounded; -0.0 becomes 0.0."""
    if isinstance(value, Mapping):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item, digits) for item in value]
    return round(float(value), digits) + 0.0 if isinstance(value, float) else value
