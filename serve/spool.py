"""The spool: a bounded, append-only file of JSON lines that keeps rows while the database is down.

All workers of a host share one file. A row is in it once `append` returns; a line that a killed process left torn was
never promised to anybody and is cut off.
"""

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

CHUNK = 2**19  # bytes read at once, about a thousand rows
PROBE = b" " * 4096  # written and cut off again to see that the disk takes a group of rows
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)

Row = Mapping[str, Any]


class SpoolFull(Exception):
    """The file is at its bound, or its disk takes no more."""


class Spool:
    """The file at `path`, at most `limit` bytes."""

    def __init__(self, path: Path, limit: int):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.limit = path, limit
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._threads = threading.Lock()
        self.drain_lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        os.close(self.file)
        os.close(self.drain_lock)

    @property
    def size(self) -> int:
        """Bytes that wait for the database."""
        return os.fstat(self.file).st_size

    def append(self, rows: Sequence[Row]) -> None:
        """Keep `rows` on disk, all or, with SpoolFull, none."""
        with self._alone() as end:
            self._write(b"".join(orjson.dumps(row) + b"\n" for row in rows), end)

    def accepts(self) -> bool:
        """Whether the file takes a group of rows now, by trying."""
        try:
            with self._alone() as end:
                self._write(PROBE, end)
                os.ftruncate(self.file, end)
        except SpoolFull:
            return False
        return True

    def drain(self, insert: Callable[[list[Row]], None]) -> None:
        """Hand all rows to `insert`, oldest first, in chunks, then empty the file; what `insert` raises ends it.

        `insert` may see a row again after a crash or an error: nothing but the file itself remembers what was handed
        on. One process drains at a time; for the others this does nothing.
        """
        try:
            fcntl.flock(self.drain_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        try:
            position = 0
            with self.path.open("rb") as reader:
                while True:
                    reader.seek(position)
                    if lines := [line for line in reader.readlines(CHUNK) if line.endswith(b"\n")]:
                        insert([orjson.loads(line) for line in lines])
                        position += sum(map(len, lines))
                        continue
                    with self._alone() as end:
                        if end == position:
                            os.ftruncate(self.file, 0)
                            return
        finally:
            fcntl.flock(self.drain_lock, fcntl.LOCK_UN)

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """Nobody else writes; yields where the last whole line ends."""
        with self._threads:  # the lock of the file keeps other processes out, not other threads
            fcntl.flock(self.file, fcntl.LOCK_EX)
            try:
                yield self._repaired()
            finally:
                fcntl.flock(self.file, fcntl.LOCK_UN)

    def _repaired(self) -> int:
        end = size = self.size
        while end and os.pread(self.file, 1, end - 1) != b"\n":
            start = max(0, end - CHUNK)
            end = start + os.pread(self.file, end - start, start).rfind(b"\n") + 1
        if end < size:
            os.ftruncate(self.file, end)
        return end

    def _write(self, content: bytes, end: int) -> None:
        if end + len(content) > self.limit:
            raise SpoolFull(f"spool {self.path} is full: {end} of {self.limit} bytes")
        try:
            written = 0
            while written < len(content):
                written += os.pwrite(self.file, content[written:], end + written)
            os.fdatasync(self.file)
        except OSError as error:
            os.ftruncate(self.file, end)
            if error.errno not in NO_SPACE:
                raise
            raise SpoolFull(f"spool {self.path}: {error.strerror}") from None
