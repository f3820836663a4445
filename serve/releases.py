"""The store of deployed releases: bundles in folders named by version, which one answers, and every act on them.

`python -m serve.releases add models/release --reason ...`, `list`, `history`, `promote VERSION --reason ...`,
`rollback --reason ...`. The ledger has the last word; the state file is what it comes to, for a quick look.
"""

import argparse
import fcntl
import getpass
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from churn.release import FILES, MANIFEST
from churn.scorer import Scorer
from churn.script import InputError, run, write_json
from serve.settings import read_settings

log = logging.getLogger("serve.releases")

STATE = "state.json"  # champion, and previous: whom a rollback brings back
LEDGER = "ledger.jsonl"  # a line for each act: at, who, act, version, reason, and the state that it left
LOCK = ".lock"


class Store:
    """The releases in `folder`. Acts wait for each other; a crash leaves the state before or after an act."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def versions(self) -> list[str]:
        # one that begins with a dot is being copied, or its copying was killed
        return sorted(path.parent.name for path in self.folder.glob(f"[!.]*/{MANIFEST}"))

    def champion(self) -> Path:
        """The folder of the release that answers."""
        version = self.state().get("champion")
        if version is None:
            raise InputError(f"{self.folder} has no champion; make one with: make serve")
        return self._release(version)

    def state(self) -> dict[str, Any]:
        """What the last act left; a state file that says otherwise is reported and replaced by the next act."""
        history = self.history()
        state: dict[str, Any] = history[-1]["state"] if history else {}
        path = self.folder / STATE
        try:
            written = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            written = None if state else {}
        except ValueError:
            written = None
        if written != state:
            log.warning("%s is not what the last act left; the ledger's %s counts", path, state)
        return state

    def history(self) -> list[dict[str, Any]]:
        """Every act, the oldest first."""
        try:
            lines = (self.folder / LEDGER).read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        try:
            # a line that a crash cut short is an act that never was
            return [json.loads(line) for line in lines if line.endswith(b"\n")]
        except ValueError as error:
            raise InputError(f"{self.folder / LEDGER} has a line that is not JSON: {error}; restore the file") from None

    def add(self, bundle: Path, reason: str) -> str:
        """Copy a bundle that verifies into the store; its version. What is there already stays as it is."""
        version = Scorer.open(bundle).release.version
        with self._alone():
            if version not in self.versions:
                self._copy(bundle, version)
            if not any(act["act"] == "add" and act["version"] == version for act in self.history()):
                self._done("add", version, reason, self.state())
        return version

    def _copy(self, bundle: Path, version: str) -> None:
        building = self.folder / f".{version}.{os.getpid()}"
        try:
            building.mkdir(exist_ok=True)
            for name in (*FILES, MANIFEST):
                shutil.copyfile(bundle / name, building / name)
            Scorer.open(building)
            building.rename(self.folder / version)
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def promote(self, version: str, reason: str) -> None:
        """Let that release answer from the next start of the service on."""
        Scorer.open(self._release(version))
        with self._alone():
            state = self.state()
            if (champion := state.get("champion")) != version:
                self._done("promote", version, reason, {"champion": version, "previous": champion})

    def rollback(self, reason: str) -> str:
        """Let the champion before this one answer again; its version. Again, and it is the one before that."""
        with self._alone():
            champions: list[str] = []
            for act in self.history():
                if act["act"] == "promote":
                    champions.append(act["version"])
                elif act["act"] == "rollback":
                    champions.pop()
            if len(champions) < 2:
                raise InputError(f"{self.folder} has no earlier champion; promote one of {self.versions}")
            version = champions[-2]
            Scorer.open(self._release(version))
            previous = champions[-3] if len(champions) > 2 else None
            self._done("rollback", version, reason, {"champion": version, "previous": previous})
        return version

    def _release(self, version: str) -> Path:
        if version not in self.versions:
            raise InputError(f"{self.folder} has no release {version!r}; it has {self.versions}")
        return self.folder / version

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _done(self, act: str, version: str, reason: str, state: dict[str, Any]) -> None:
        """Write the act down, then what it comes to."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"at": at, "who": getpass.getuser(), "act": act, "version": version, "reason": reason, "state": state}
        with (self.folder / LEDGER).open("ab+") as file:
            file.seek(0)
            whole = file.read().rpartition(b"\n")
            file.truncate(len(whole[0]) + len(whole[1]))
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        write_json(self.folder / STATE, state)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m serve.releases", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = commands.add_parser("add", help="verify a bundle and copy it into the store")
    add.add_argument("bundle", type=Path)
    add.add_argument("--promote", action="store_true", help="and let it answer")
    promote = commands.add_parser("promote", help="let a release of the store answer")
    promote.add_argument("version")
    rollback = commands.add_parser("rollback", help="let the champion before this one answer again")
    for command in (add, promote, rollback):
        command.add_argument("--reason", required=True)
    for name, words in (("list", "the releases; a star marks the one that answers"), ("history", "every act")):
        command = commands.add_parser(name, help=words)
        command.add_argument("--json", action="store_true", help="for programs")
    given = parser.parse_args()
    store = Store(read_settings().releases)
    match given.command:
        case "add":
            version = store.add(given.bundle, given.reason)
            log.info("added %s: %s", version, given.reason)
            if given.promote:
                store.promote(version, given.reason)
                log.info("promoted %s: %s", version, given.reason)
        case "promote":
            store.promote(given.version, given.reason)
            log.info("promoted %s: %s", given.version, given.reason)
        case "rollback":
            log.info("rolled back to %s: %s", store.rollback(given.reason), given.reason)
        case "list":
            champion = store.state().get("champion")
            rows = [{"version": version, "champion": version == champion} for version in store.versions]
            said([f"{'*' if row['champion'] else ' '} {row['version']}" for row in rows], rows, given.json)
        case "history":
            acts = store.history()
            lines = [f"{a['at']}  {a['act']:<8}  {a['version']}  {a['who']}: {a['reason']}" for a in acts]
            said(lines, acts, given.json)


def said(lines: list[str], rows: list[dict[str, Any]], as_json: bool) -> None:
    """To stdout: lines for people, or one JSON list."""
    sys.stdout.write(json.dumps(rows, indent=2) + "\n" if as_json else "".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    run(main, "serve.releases")
