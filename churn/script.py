"""What every command shares: one-line errors, exit statuses, one log format, files written whole or not at all."""

import gc
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class InputError(Exception):
    """Something a person handed in is wrong; each line names the thing, the value and the way out."""


CRASHED = 2  # exit status, also of a command line that argparse refuses


def run(main: Callable[[], None], name: str, mistake: int = 1) -> None:
    """Call main() as the command `name`.

    An InputError ends it with one line per mistake and the exit status `mistake`: 2 for a command whose 1 is a verdict.
    A crash ends it with its traceback and exit status 2, and never looks like a verdict.
    """
    gc.freeze()  # what was imported stays; to search it for garbage, at the exit above all, takes up to 0.3 s
    logging.basicConfig(level="INFO", format="%(name)s: %(message)s", stream=sys.stderr)
    log = logging.getLogger(name)
    try:
        main()
    except InputError as error:
        for line in str(error).splitlines():
            log.error(line)
        sys.exit(mistake)
    except Exception as error:
        # a full disk, a file without permission; without errno it is a fault of the code
        if isinstance(error, OSError) and error.errno is not None:
            log.error("%s: %s", error.filename or name, error.strerror)
            sys.exit(mistake)
        log.exception("this is a fault of the program:")
        sys.exit(CRASHED)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends well and is removed when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # the suffix stays last: pandas and joblib choose format and compression by it
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:  # a full disk: pyarrow and joblib do not say of which file
        error.filename = error.filename or str(path)
        raise
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


def as_json(found: Mapping[str, Any]) -> str:
    return json.dumps(rounded(_plain(found), 6), indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """JSON knows no NaN and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
