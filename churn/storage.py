"""Object storage through fsspec (s3://bucket/path, gs://..., abfs://...), and what makes a file last on a disk.

Credentials and the endpoint are those of the storage's own variables, for S3 AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_DEFAULT_REGION and AWS_ENDPOINT_URL_S3. Its client tries again where an answer is lost or says 5xx.
"""

import io
import logging
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from churn.script import InputError


class StorageError(InputError):
    """Object storage is not reached, or refuses."""


class ObjectStorage:
    """Files below a URL, by names relative to it, / between parts. An object appears whole or not at all.

    FileNotFoundError and FileExistsError are what they say; all else that goes wrong is a StorageError.
    """

    def __init__(self, url: str, setting: str = ""):
        import fsspec

        for library in ("aiobotocore", "botocore"):  # they say where they found credentials
            logging.getLogger(library).setLevel("WARNING")
        kind, _, below = url.partition("://")
        self.url = f"{kind}://{below.rstrip('/')}"
        self.named = f"{setting} {self.url}".strip()  # in errors
        if not below.strip("/"):
            raise InputError(f"{self.named} names no bucket; write it as {kind}://BUCKET/PATH")
        try:
            # without a memory of listings: others write there too
            self.fs, self.root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise InputError(f"{self.named}: {error}") from None

    def path(self, name: str) -> str:
        """What the storage's client calls it."""
        return f"{self.root}/{name}".rstrip("/")

    def names(self, below: str = "") -> list[str]:
        """Files and folders directly below, sorted."""
        try:
            listed = self.ask(self.fs.ls, self.path(below), detail=False)
        except FileNotFoundError:
            return []
        found = {path.removeprefix(self.path(below)).strip("/") for path in listed}
        return sorted(found - {""})  # an empty object may stand for the folder itself

    def read(self, name: str) -> bytes:
        content: bytes = self.ask(self.fs.cat_file, self.path(name))
        return content

    def modified(self, name: str) -> datetime:
        at: datetime = self.ask(self.fs.modified, self.path(name))
        return at

    def create(self, name: str, content: bytes) -> None:
        """Write a file that is not there yet; FileExistsError where another content is."""
        try:
            self.ask(self.fs.pipe_file, self.path(name), content, mode="create")
        except FileExistsError:
            if self.read(name) != content:  # else the answer to it was lost, and the client of the storage tried again
                raise

    def open(self, name: str, ahead: int = 0) -> "ObjectReader":
        """To be read at any point, by ranges: those that are asked for, and so many bytes `ahead` of them."""
        return ObjectReader(self, self.path(name), ahead)

    def ask(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, **options)
        except FileExistsError:
            raise
        except FileNotFoundError as error:
            if _code(error) == "NoSuchBucket":
                raise StorageError(f"{self.named}: there is no such bucket; make it, or correct the name") from None
            raise
        except Exception as error:  # each kind of storage has errors of its own
            kind = "no rights" if isinstance(error, PermissionError) else type(error).__name__
            reason = " ".join(str(error).split())[:200]
            raise StorageError(f"{self.named} can't be reached: {kind}: {reason}") from error


class ObjectReader(io.RawIOBase):
    """An object as a file; where it changes meanwhile, S3 refuses the next range of it."""

    def __init__(self, storage: ObjectStorage, path: str, ahead: int):
        kind = "readahead" if ahead else "none"
        self._ask = storage.ask
        self._file = self._ask(storage.fs.open, path, "rb", block_size=ahead or None, cache_type=kind)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        found = self._ask(self._file.read, len(buffer))
        buffer[: len(found)] = found
        return len(found)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _code(error: OSError) -> str:
    """The service's own name for an error that its client translated."""
    answer = getattr(error.__cause__, "response", None) or {}
    return str(answer.get("Error", {}).get("Code", ""))


def sync(path: Path) -> None:
    """Have a file, or a folder's list of files, on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
