"""Where scores lie: a folder, or object storage. A file is written here under no name, or another, and appears whole.

Names are relative to the place, / between parts.
"""

import fcntl
import logging
import mmap
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from churn.script import InputError, write_text
from churn.storage import ObjectStorage, sync

log = logging.getLogger("serve.score")

READ_AHEAD = 2**23  # bytes
PART = 2**24  # bytes of an upload in parts; ten of them are under way at once


class Draft(Protocol):
    """A file that is being written; as text, which one and where."""

    file: BinaryIO

    def commit(self) -> None:
        """Give it its name, whole; FileExistsError where another run was faster and it stays as that wrote it."""

    def abandon(self) -> None:
        """Leave nothing of it; after `commit` nothing happens."""


class Place(Protocol):
    def names(self, below: str = "") -> list[str]:
        """Files and folders directly below, sorted."""

    def has(self, name: str) -> bool: ...

    def read(self, name: str) -> bytes:
        """FileNotFoundError where there is none."""

    def open(self, name: str) -> BinaryIO:
        """To be read at any point."""

    def draft(self, name: str) -> Draft: ...

    def copy(self, name: str, to: str) -> None: ...

    def remove(self, name: str) -> None: ...

    def commit(self, name: str, content: bytes) -> None:
        """Write a small file, whole or not at all, after all others."""

    def clear(self, below: str) -> None:
        """Remove a folder, and what attempts that were killed left unfinished."""

    def reserved(self) -> AbstractContextManager[None]:
        """A context in which nobody else writes there, as far as the place knows locks; it is made where missing."""


def place_at(where: str | Path) -> Place:
    return Objects(str(where)) if "://" in str(where) else Folder(Path(where))


class FileDraft:
    """Beside its place in the folder, under a hidden name."""

    def __init__(self, path: Path):
        self.path, self.temporary = path, path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        self.file: BinaryIO = self.temporary.open("xb+")

    def __str__(self) -> str:
        return str(self.path)

    def commit(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.temporary.replace(self.path)
        sync(self.path.parent)

    def abandon(self) -> None:
        with suppress(OSError):  # of a full disk, a second time
            self.file.close()
        self.temporary.unlink(missing_ok=True)


class Folder:
    """A folder of this machine, or one that several machines mount."""

    def __init__(self, path: Path):
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def names(self, below: str = "") -> list[str]:
        return sorted(os.listdir(self.path / below)) if (self.path / below).is_dir() else []  # noqa: PTH208, names alone

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def open(self, name: str) -> BinaryIO:
        return (self.path / name).open("rb")

    def draft(self, name: str) -> FileDraft:
        (self.path / name).parent.mkdir(exist_ok=True)
        return FileDraft(self.path / name)

    def copy(self, name: str, to: str) -> None:
        target = self.path / to
        temporary = target.with_name(f".{target.name}.copy.tmp")
        shutil.copyfile(self.path / name, temporary)
        temporary.replace(target)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def commit(self, name: str, content: bytes) -> None:
        write_text(self.path / name, content.decode())

    def clear(self, below: str) -> None:
        shutil.rmtree(self.path / below, ignore_errors=True)

    @contextmanager
    def reserved(self) -> Iterator[None]:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise InputError(f"{self} is a file; name a folder for the scores") from None
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise InputError(f"{self}: another run is writing to it; wait for its end") from None
        finally:
            os.close(folder)


class ObjectDraft:
    """In a file without a name, which ends with this process however that ends; then put at once, or in parts."""

    def __init__(self, storage: ObjectStorage, name: str):
        self.storage, self.name = storage, name
        self.file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115, it outlives this function

    def __str__(self) -> str:
        return f"{self.storage.url}/{self.name}, first written in {tempfile.gettempdir()}"

    def commit(self) -> None:
        self.file.flush()
        with mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            content = mapped if len(mapped) >= 2 * PART else mapped[:]  # the client cuts it into parts from there on
            self.storage.ask(
                self.storage.fs.pipe_file, self.storage.path(self.name), content, chunksize=PART, mode="create"
            )

    def abandon(self) -> None:
        self.file.close()


class Objects(ObjectStorage):
    """Object storage knows no lock. Of two runs at once the faster one writes each file, and the bytes are the same."""

    def __str__(self) -> str:
        return self.url

    def has(self, name: str) -> bool:
        try:
            return bool(self.ask(self.fs.info, self.path(name))["type"] == "file")
        except FileNotFoundError:
            return False

    def open(self, name: str, ahead: int = READ_AHEAD) -> Any:
        return super().open(name, ahead)

    def draft(self, name: str) -> ObjectDraft:
        return ObjectDraft(self, name)

    def copy(self, name: str, to: str) -> None:
        self.ask(self.fs.cp_file, self.path(name), self.path(to))

    def remove(self, name: str) -> None:
        self.ask(self.fs.rm_file, self.path(name))

    def commit(self, name: str, content: bytes) -> None:
        try:
            self.create(name, content)
        except FileExistsError:
            raise InputError(f"{self}/{name} is there, of other scores; remove it, or choose another place") from None

    def clear(self, below: str) -> None:
        if self.names(below):
            self.ask(self.fs.rm, self.path(below), recursive=True)
        try:
            for key, upload in self._unfinished(below):
                with suppress(FileNotFoundError):  # it ended meanwhile
                    self._ask_s3("abort_multipart_upload", Key=key, UploadId=upload)
        except InputError as error:  # the scores are there all the same
            log.warning("uploads that a killed run left unfinished, if any, stay: %s", error)

    def reserved(self) -> AbstractContextManager[None]:
        return nullcontext()

    def _unfinished(self, below: str) -> Iterator[tuple[str, str]]:
        """(key, id) of uploads in parts that nobody ended; other kinds of storage than S3 forget them on their own."""
        if not hasattr(self.fs, "call_s3"):
            return
        key = self.root.partition("/")[2]
        prefix, is_more = f"{key}/" if key else "", True
        after: dict[str, str] = {}
        while is_more:
            page = self._ask_s3("list_multipart_uploads", Prefix=prefix, **after)
            for upload in page.get("Uploads", []):
                if "/" not in upload["Key"].removeprefix(prefix).removeprefix(f"{below}/"):
                    yield upload["Key"], upload["UploadId"]
            if is_more := page.get("IsTruncated", False):
                after = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def _ask_s3(self, method: str, **options: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.ask(self.fs.call_s3, method, Bucket=self.root.partition("/")[0], **options)
        return answer
