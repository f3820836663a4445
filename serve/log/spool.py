"""The spool: a bounded, append-only file of JSON lines that keeps rows while the database is down.

All workers of a host share one file. A row is in it once `append` returns; a line that a killed process left torn was
never promised to anybody and is cut off. Nobody waits long for another process.
"""

import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from churn.script import replacing

log = logging.getLogger("serve.spool")

CHUNK_BYTES = 2**19  # bytes read at once, about a thousand rows
PROBE = b" " * 4096  # written and cut off again to see that the disk takes a group of rows
LOCK_SECONDS = 0.5  # seconds for another process, which takes milliseconds unless it stands still
DRAIN_SECONDS = 60.0  # seconds that an erasure waits for the end of a drain
FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)

Row = Mapping[str, Any]


class SpoolFull(Exception):
    """The file is at its bound, its disk takes no more, or it is not there any more."""


def lock(file: int, seconds: float, line: int | None = None) -> None:
    """Keep other processes out by flock, which itself would wait for ever; TimeoutError when one stays in.

    The first process that waits holds the file `line`: else one that writes again and again lets go only for moments
    that the others miss, longer than LOCK_SECONDS where the disk takes 50 ms for each group.
    """
    end = time.monotonic() + seconds
    if line is not None:
        lock(line, seconds)
    try:
        _poll(file, end)
    finally:
        if line is not None:
            fcntl.flock(line, fcntl.LOCK_UN)


def _poll(file: int, end: float) -> None:
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise TimeoutError("another process holds the lock") from None
            time.sleep(0.0001)


def replace(path: Path, content: bytes) -> None:
    """Put a file, for this user's eyes alone, in the place of another one, whole or not at all."""
    with replacing(path) as temporary, os.fdopen(os.open(temporary, FLAGS | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name, too
    finally:
        os.close(folder)


class Spool:
    """The file at `path`, at most `limit` bytes."""

    def __init__(self, path: Path, limit: int):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.limit = path, limit
        self.file = os.open(path, FLAGS, 0o600)
        self._threads = threading.Lock()
        self.drain_lock = os.open(path.with_name(f"{path.name}.lock"), FLAGS, 0o600)
        self._line = os.open(path.with_name(f"{path.name}.line"), FLAGS, 0o600)

    def close(self) -> None:
        os.close(self.file)
        os.close(self.drain_lock)
        os.close(self._line)

    @property
    def size(self) -> int:
        """Bytes that wait for the database."""
        return os.fstat(self.file).st_size

    def append(self, rows: Sequence[Row]) -> None:
        """Keep `rows` on disk, all or, with SpoolFull, none."""
        content = b"".join(orjson.dumps(row) + b"\n" for row in rows)
        with self._to_write() as end:
            self._write(content, end)

    def accepts(self) -> bool:
        """Whether the file takes a group of rows now, by trying."""
        try:
            with self._to_write() as end:
                self._write(PROBE, end)
                os.ftruncate(self.file, end)
        except (SpoolFull, OSError):
            return False
        return True

    @property
    def refused_path(self) -> Path:
        """Of the rows that the database refuses."""
        return self.path.with_name(f"{self.path.name}.refused")

    @property
    def unreadable_path(self) -> Path:
        """Of the lines that are no JSON."""
        return self.path.with_name(f"{self.path.name}.unreadable")

    def set_aside(self, rows: Sequence[Row]) -> None:
        """Keep rows that the database refuses in a file of their own, each once; it is bounded as the spool is."""
        with self._alone(), os.fdopen(os.open(self.refused_path, FLAGS, 0o600), "r+b") as file:
            kept = file.read()
            file.seek(kept.rfind(b"\n") + 1)  # a line that a crash left torn is written again
            file.truncate()
            there = set(kept.splitlines())
            content = b"".join(line + b"\n" for line in map(orjson.dumps, rows) if line not in there)
            if file.tell() + len(content) > self.limit:
                raise SpoolFull(f"{self.refused_path} is full: {file.tell()} of {self.limit} bytes")
            file.write(content)
            file.flush()
            os.fdatasync(file.fileno())

    def retry(self, insert: Callable[[list[Row]], list[Row]]) -> None:
        """Hand the rows that were set aside to `insert`, and keep aside those that it gives back."""
        if not self.refused_path.exists():
            return
        with self._alone():
            rows = [orjson.loads(line) for line in self.refused_path.read_bytes().splitlines()]
            replace(self.refused_path, b"".join(orjson.dumps(row) + b"\n" for row in insert(rows)))

    def count(self, belongs: Callable[[bytes], bool]) -> dict[str, int]:
        """Name of each of the three files -> how many of its lines belong."""
        return {
            path.name: sum(map(belongs, path.read_bytes().split(b"\n"))) if path.exists() else 0
            for path in (self.path, self.refused_path, self.unreadable_path)
        }

    def erase(self, belongs: Callable[[bytes], bool]) -> None:
        """Remove the lines that belong from the three files; the services that share them go on.

        In the spool they are overwritten with blanks where they lie: other processes hold the file open, and no row of
        another customer is moved. A TimeoutError where another process holds a lock for too long.
        """
        lock(self.drain_lock, DRAIN_SECONDS)  # else a drain may bring a row into the database after it was erased there
        try:
            self._blank(belongs)
            with self._alone():
                for path in (self.refused_path, self.unreadable_path):
                    for leftover in path.parent.glob(f".{path.stem}.*{path.suffix}"):  # of a process that was killed
                        leftover.unlink()
                    if path.exists() and any(map(belongs, lines := path.read_bytes().split(b"\n"))):
                        replace(path, b"\n".join(line for line in lines if not belongs(line)))
        finally:
            fcntl.flock(self.drain_lock, fcntl.LOCK_UN)

    def _blank(self, belongs: Callable[[bytes], bool]) -> None:
        """Overwrite the lines that belong; what was written before does not change while nobody drains."""
        position = 0
        while True:
            with self._alone() as end:  # what is written now may still be taken back
                if position >= end:
                    os.fdatasync(self.file)
                    return
            while chunk := self._lines(position, end):
                for line in chunk[:-1].split(b"\n"):
                    if belongs(line):
                        os.pwrite(self.file, b" " * len(line), position)
                    position += len(line) + 1

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
            while True:
                with self._alone() as end:  # what is written now may still be taken back
                    if position == end:
                        os.ftruncate(self.file, 0)
                        return
                if end < position:  # somebody emptied the file
                    position = 0
                while chunk := self._lines(position, end):
                    if rows := list(self._readable(chunk)):
                        insert(rows)
                    position += len(chunk)
        finally:
            fcntl.flock(self.drain_lock, fcntl.LOCK_UN)

    def _lines(self, start: int, end: int) -> bytes:
        """About CHUNK_BYTES bytes of whole lines, at least one before `end`; what lies there does not change."""
        size = CHUNK_BYTES
        while True:
            content = os.pread(self.file, min(size, end - start), start)
            if (whole := content.rfind(b"\n") + 1) or start + size >= end:
                return content[:whole]
            size *= 2

    def _readable(self, lines: bytes) -> Iterator[Row]:
        """What can't be read, as a power cut leaves it of lines that were promised to nobody, is put aside.

        A line of blanks was erased.
        """
        for line in filter(bytes.strip, lines[:-1].split(b"\n")):
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError:
                aside = self.unreadable_path
                log.error("spool %s: a line of %d bytes can't be read; it is put into %s", self.path, len(line), aside)
                with os.fdopen(os.open(aside, FLAGS | os.O_APPEND, 0o600), "ab") as file:
                    file.write(line + b"\n")

    @contextmanager
    def _to_write(self) -> Iterator[int]:
        try:
            with self._alone() as end:
                if not self._in_place():
                    raise SpoolFull(f"spool {self.path} was removed")
                yield end
        except TimeoutError as error:
            raise SpoolFull(f"spool {self.path}: {error}") from None

    @contextmanager
    def _alone(self) -> Iterator[int]:
        """Nobody else writes; yields where the last whole line ends."""
        with self._threads:  # the lock of the file keeps other processes out, not other threads
            lock(self.file, LOCK_SECONDS, self._line)
            try:
                self._put_in_place()
                yield self._repaired()
            finally:
                fcntl.flock(self.file, fcntl.LOCK_UN)

    def _in_place(self) -> bool:
        """Whether a process that starts now would find the rows."""
        try:
            return os.path.samestat(os.fstat(self.file), self.path.stat())
        except FileNotFoundError:
            return False

    def _put_in_place(self) -> None:
        """A new file for one that was removed, as soon as its rows are in the database."""
        while not self.size and not self._in_place():
            try:
                new = os.open(self.path, FLAGS, 0o600)
            except OSError:  # its folder is gone too
                return
            os.dup2(new, self.file, inheritable=False)
            os.close(new)
            lock(self.file, LOCK_SECONDS)

    def _repaired(self) -> int:
        end = size = self.size
        while end and os.pread(self.file, 1, end - 1) != b"\n":
            start = max(0, end - CHUNK_BYTES)
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
