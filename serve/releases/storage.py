"""Where the store of releases lies: a folder, or object storage through fsspec. Names are relative, / between parts."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from churn.release import FILES, MANIFEST, PAGES, ReleaseError, bundle_files, open_release
from churn.script import InputError
from churn.storage import ObjectStorage, sync

LOCK = ".lock"


class Files(Protocol):
    """What the store asks of a place."""

    def names(self, below: str) -> list[str]:
        """Files directly below, sorted, without those that are being written."""

    def bundles(self) -> list[str]:
        """The folders that hold a whole bundle, sorted."""

    def read(self, name: str) -> bytes:
        """FileNotFoundError where there is none."""

    def create(self, name: str, content: bytes) -> None:
        """Write a file that is not there yet, whole or not at all; FileExistsError where somebody was faster."""

    def replace(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""

    def put(self, bundle: Path, name: str, check: Callable[[Path], object]) -> None:
        """Copy a bundle's files to the folder `name`; check(copy) raises where it must not appear there."""

    def bundle(self, name: str) -> Path:
        """A folder on this machine with that bundle's files."""

    def alone(self) -> AbstractContextManager[None]:
        """Hold the store's lock, where the storage has one."""


def files_at(where: str | Path) -> Files:
    return Objects(str(where)) if "://" in str(where) else Folder(Path(where))


class Folder:
    """A folder of this machine, or one that several machines mount."""

    def __init__(self, path: Path):
        self.path = path

    def names(self, below: str) -> list[str]:
        try:
            listed = os.listdir(self.path / below)  # noqa: PTH208, five times a second, and a Path costs three times as much
            return sorted(name for name in listed if not name.startswith("."))
        except FileNotFoundError:
            return []

    def bundles(self) -> list[str]:
        return sorted(path.parent.name for path in self.path.glob(f"[!.]*/{MANIFEST}"))

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def create(self, name: str, content: bytes) -> None:
        if (self.path / name).exists():  # only one creates at a time, so nothing is writing it
            raise FileExistsError(name)
        self.replace(name, content)

    def replace(self, name: str, content: bytes) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(content)
            sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync(path.parent)

    def put(self, bundle: Path, name: str, check: Callable[[Path], object]) -> None:
        for left in self.path.glob(".*.building"):  # of a copying that was killed
            shutil.rmtree(left)
        building, damaged = self.path / f".{name}.building", self.path / f".{name}.damaged.building"
        building.mkdir(parents=True)
        try:
            for file in bundle_files(bundle):
                shutil.copyfile(bundle / file, building / file)
                sync(building / file)
            check(building)
            with suppress(FileNotFoundError):
                (self.path / name).rename(damaged)
            building.rename(self.path / name)
            sync(self.path)
        finally:
            shutil.rmtree(building, ignore_errors=True)
            shutil.rmtree(damaged, ignore_errors=True)

    def bundle(self, name: str) -> Path:
        return self.path / name

    @contextmanager
    def alone(self) -> Iterator[None]:
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / LOCK).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class Objects(ObjectStorage):
    """Object storage: it has no lock, but creates a file once.

    Bundles are read through a folder of this machine; what lies there is verified and else fetched again.
    """

    def __init__(self, url: str):
        super().__init__(url, "CHURN_RELEASES")
        name = f"churn-releases-{os.getuid()}-{sha256(self.url.encode()).hexdigest()[:12]}"
        self.cache = Path(tempfile.gettempdir(), name)

    def bundles(self) -> list[str]:
        return sorted(path.split("/")[-2] for path in self.ask(self.fs.glob, self.path(f"*/{MANIFEST}")))

    def replace(self, name: str, content: bytes) -> None:
        self.ask(self.fs.pipe_file, self.path(name), content)

    def put(self, bundle: Path, name: str, check: Callable[[Path], object]) -> None:
        check(bundle)
        for file in bundle_files(bundle):
            self.ask(self.fs.put_file, str(bundle / file), self.path(f"{name}/{file}"))
        check(self.bundle(name))

    def bundle(self, name: str) -> Path:
        self.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.cache.stat().st_uid != os.getuid():
            raise InputError(f"{self.cache} belongs to somebody else; remove it")
        folder = self.cache / name
        if _is_whole(folder):
            return folder
        with (self.cache / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_whole(folder):  # another worker fetched it meanwhile
                return folder
            fetched = self.cache / f".{name}"
            shutil.rmtree(fetched, ignore_errors=True)
            fetched.mkdir()
            for file in (*FILES, *PAGES, MANIFEST):
                with suppress(FileNotFoundError):  # opening it reports what is missing
                    self.ask(self.fs.get_file, self.path(f"{name}/{file}"), str(fetched / file))
            shutil.rmtree(folder, ignore_errors=True)
            fetched.rename(folder)  # complete for every reader
        return folder

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()


def _is_whole(folder: Path) -> bool:
    try:
        open_release(folder)
    except ReleaseError:
        return False
    return True
