"""Files that visitors sent to be scored: a folder for each, its state in it, so that workers and restarts agree.

FOLDER/lock is held by the one queue that works (queue.py); FOLDER/ID holds asked.json, which is there once the
file has arrived, the file until it is scored, what the commands said, and at last result.json with its CSV files.
"""

import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from churn.script import write_text

LOCK, ASKED, RESULT, SAID = "lock", "asked.json", "result.json", "said.txt"
TABLE, SCORES = "table", "scores"  # the file, with its suffix; the folder of its scores
SUFFIXES = (".parquet", ".csv", ".tsv", ".txt")  # of the files that python -m serve.score reads; none that unpack
ARRIVING_SECONDS = 3600.0  # that a file may take from one part to the next


@dataclass(frozen=True)
class Asked:
    """What the visitor sent, and how it is to be read."""

    owner: str
    name: str
    size: int  # bytes
    at: float  # seconds since 1970
    separator: str
    encoding: str
    reasons: int


@dataclass(frozen=True)
class Upload:
    folder: Path
    asked: Asked

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def table(self) -> Path:
        return self.folder / f"{TABLE}{suffix_of(self.asked.name)}"

    @property
    def result(self) -> dict[str, Any] | None:
        """None until it has ended."""
        with suppress(FileNotFoundError):
            return dict(json.loads((self.folder / RESULT).read_bytes()))
        return None

    @property
    def is_waiting(self) -> bool:
        """Whether the queue has it before it."""
        return not (self.folder / RESULT).exists()

    @property
    def said(self) -> str | None:
        """What the commands said so far; None where they have not begun."""
        with suppress(FileNotFoundError):
            return (self.folder / SAID).read_text("utf-8", "replace")
        return None

    def remove(self) -> None:
        (self.folder / ASKED).unlink(missing_ok=True)  # first, so that the queue leaves it alone
        shutil.rmtree(self.folder, ignore_errors=True)

    def end(self, result: dict[str, Any]) -> None:
        """Keep the result and nothing that it was made of."""
        shutil.rmtree(self.folder / SCORES, ignore_errors=True)
        self.table.unlink(missing_ok=True)
        if (self.folder / ASKED).exists():
            write_text(self.folder / RESULT, json.dumps(result))
        else:
            shutil.rmtree(self.folder, ignore_errors=True)  # its visitor removed it meanwhile


def suffix_of(name: str) -> str | None:
    return next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), None)


def begin(root: Path) -> Path:
    """A folder for a file that is about to arrive."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = root / secrets.token_hex(16)
    folder.mkdir(mode=0o700)
    return folder


def arrived(folder: Path, asked: Asked) -> Upload:
    temporary = folder / f".{ASKED}"
    with os.fdopen(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
        json.dump(asdict(asked), file)
    temporary.rename(folder / ASKED)
    return Upload(folder, asked)


def uploads(root: Path) -> list[Upload]:
    """Those that have arrived, the oldest first."""
    there = [upload for folder in folders(root) if (upload := upload_in(folder))]
    return sorted(there, key=lambda upload: upload.asked.at)


def folders(root: Path) -> list[Path]:
    with suppress(FileNotFoundError):
        return [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()]
    return []


def upload_in(folder: Path) -> Upload | None:
    with suppress(FileNotFoundError, NotADirectoryError):
        return Upload(folder, Asked(**json.loads((folder / ASKED).read_bytes())))
    return None


def remove_old(root: Path, hours: float) -> None:
    """Remove what was kept long enough, and what never arrived whole."""
    for folder in folders(root):
        with suppress(FileNotFoundError):
            upload = upload_in(folder)
            began = upload.asked.at if upload else max(p.stat().st_mtime for p in (folder, *folder.iterdir()))
            if time.time() - began > (hours * 3600 if upload else ARRIVING_SECONDS):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked(root: Path) -> Iterator[int | None]:
    """The lock's file descriptor, which processes that inherit it hold as well; None where another has it."""
    descriptor = os.open(root / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor if is_free(descriptor) else None
    finally:
        os.close(descriptor)


def is_free(descriptor: int) -> bool:
    """Take the lock, if nobody has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
