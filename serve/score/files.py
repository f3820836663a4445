"""The tables to score: files of this machine or of object storage, by name, by folder or by pattern."""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Literal, Protocol

import pyarrow as pa

from churn.script import InputError
from churn.storage import ObjectStorage

READ_AHEAD = 2**22  # bytes, where rows follow each other
SUFFIXES: dict[str, Literal["parquet", "csv"]] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".csv.gz": "csv",
}
PATTERN = frozenset("*?[")


class File(Protocol):
    """A table's file, by its address alone: processes on other machines open it themselves."""

    @property
    def path(self) -> PurePath: ...

    @property
    def size(self) -> int:
        """In bytes."""

    @property
    def is_remote(self) -> bool: ...

    def open(self) -> pa.NativeFile:
        """To be read at any point."""


@dataclass(frozen=True)
class LocalFile:
    path: Path
    is_remote = False

    def __str__(self) -> str:
        return str(self.path)

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def open(self) -> pa.NativeFile:
        return pa.OSFile(str(self.path))


@dataclass(frozen=True)
class ObjectFile:
    url: str
    size: int
    version: str  # changes with the content: the ETag, as far as the storage has them
    is_remote = True

    def __str__(self) -> str:
        return self.url

    @property
    def path(self) -> PurePosixPath:
        """The bucket and the key."""
        return PurePosixPath(self.url.partition("://")[2])

    def open(self) -> pa.NativeFile:
        """An InputError where it is another one by now than when it was listed."""
        storage = ObjectStorage(self.url)
        if version_in(storage.ask(storage.fs.info, storage.root)) != self.version:
            raise InputError(f"{self} changed since the run began; run the command again when it is written")
        return pa.PythonFile(storage.open("", READ_AHEAD if kind_of(self) == "csv" else 0), mode="r")


def files_of(given: str) -> list[File]:
    """Of one kind, in the order of their names; hidden ones of a folder do not count."""
    found = [*objects_of(given)] if "://" in given else [*local_files_of(given)]
    if others := [file for file in found if not suffix_of(file)]:
        raise InputError(f"{others[0]}: only {', '.join(SUFFIXES)} are scored; name those files alone")
    if len(kinds := {kind_of(file) for file in found}) > 1:
        raise InputError(
            f"{given} holds files of {' and '.join(sorted(kinds))}; name those of one kind: '{given}/*.csv'"
        )
    return found


def local_files_of(given: str) -> Iterator[File]:
    path = Path(given)
    if path.is_dir():
        found = sorted(file for file in files_below(path) if not is_hidden(file.relative_to(path)))
        if not found:
            raise InputError(f"{given} is an empty folder; name the tables to score")
    elif path.is_file():
        found = [path]
    else:
        named = set(glob.glob(given, recursive=True))  # noqa: PTH207, Path.glob takes no absolute pattern
        found = sorted(path for path in map(Path, named) if path.is_file())
        if not found:
            raise InputError(f"{given} is missing; name a file, a folder or a pattern")
    return (LocalFile(path.absolute()) for path in found)


def objects_of(given: str) -> Iterator[File]:
    storage = ObjectStorage(given)
    found = storage.ask(storage.fs.find, storage.root, detail=True)
    hidden: tuple[str, ...] = (".", "_")
    if not found and PATTERN & {*storage.root}:
        found, hidden = storage.ask(storage.fs.glob, storage.root, detail=True), (".",)  # as a pattern names files here
    whole = [part for part in PurePosixPath(storage.root).parts if not PATTERN & {*part}]
    # an empty object that stands for a folder ends in /
    files = {PurePosixPath(name): info for name, info in found.items() if info["type"] == "file" and name[-1] != "/"}
    there = sorted(path for path in files if not is_hidden(PurePosixPath(*path.parts[len(whole) :]), hidden))
    if not there:
        raise InputError(f"{given} is missing, or empty; name a file, a folder or a pattern")
    return (
        ObjectFile(storage.fs.unstrip_protocol(info["name"]), info["size"], version_in(info))
        for info in map(files.__getitem__, there)
    )


def version_in(info: dict[str, Any]) -> str:
    """Of what a storage's client says of an object."""
    return str(next((info[key] for key in ("ETag", "etag", "mtime") if key in info), ""))


def files_below(folder: Path) -> Iterator[Path]:
    """Those behind links as well; an OSError for a folder that can't be read, whose rows would be missing."""

    def fail(error: OSError) -> None:
        raise error

    for where, _, names in os.walk(folder, onerror=fail, followlinks=True):
        yield from (Path(where, name) for name in names)


def is_hidden(path: PurePath, beginnings: tuple[str, ...] = (".", "_")) -> bool:
    """As Spark's _SUCCESS and others' temporary files are."""
    return any(part.startswith(beginnings) for part in path.parts)


def suffix_of(file: File) -> str | None:
    name = file.path.name.lower()
    return next((suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(suffix)), None)


def kind_of(file: File) -> Literal["parquet", "csv"]:
    return SUFFIXES[suffix_of(file) or ".csv"]


def packing(file: File) -> str | None:
    """Of its bytes, by its suffix."""
    return "gzip" if suffix_of(file) == ".csv.gz" else None
