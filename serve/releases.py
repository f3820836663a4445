"""The store of deployed releases: bundles in folders named by version, and which one answers.

`python -m serve.releases add models/release --reason ...`, `list`, `promote VERSION --reason ...`.
"""

import argparse
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from churn.release import FILES, MANIFEST
from churn.scorer import Scorer
from churn.script import InputError, run, write_json
from serve.settings import read_settings

log = logging.getLogger("serve.releases")

STATE = "state.json"


class Store:
    """The releases in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def versions(self) -> list[str]:
        # one that begins with a dot is being copied, or its copying was killed
        return sorted(path.parent.name for path in self.folder.glob(f"[!.]*/{MANIFEST}"))

    def champion(self) -> Path:
        """The folder of the release that answers."""
        version = self._state().get("champion")
        if version is None:
            raise InputError(f"{self.folder} has no champion; make one with: make serve")
        return self._release(version)

    def add(self, bundle: Path) -> str:
        """Copy a bundle that verifies into the store; its version. What is there already stays as it is."""
        version = Scorer.open(bundle).release.version
        if version not in self.versions:
            building = self.folder / f".{version}.{os.getpid()}"
            try:
                building.mkdir(parents=True, exist_ok=True)
                for name in (*FILES, MANIFEST):
                    shutil.copyfile(bundle / name, building / name)
                Scorer.open(building)
                building.rename(self.folder / version)
            finally:
                shutil.rmtree(building, ignore_errors=True)
        return version

    def promote(self, version: str) -> None:
        """Let that release answer from the next start of the service on."""
        Scorer.open(self._release(version))
        write_json(self.folder / STATE, {"champion": version})

    def _release(self, version: str) -> Path:
        if version not in self.versions:
            raise InputError(f"{self.folder} has no release {version!r}; it has {self.versions}")
        return self.folder / version

    def _state(self) -> dict[str, Any]:
        try:
            state = json.loads((self.folder / STATE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise InputError(f"{self.folder / STATE} is not JSON: {error}; promote a release anew") from None
        if not isinstance(state, dict):
            raise InputError(f"{self.folder / STATE} holds {state!r}; promote a release anew")
        return state


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m serve.releases", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add = commands.add_parser("add", help="verify a bundle and copy it into the store")
    add.add_argument("bundle", type=Path)
    add.add_argument("--promote", action="store_true", help="and let it answer")
    promote = commands.add_parser("promote", help="let a release of the store answer")
    promote.add_argument("version")
    for command in (add, promote):
        command.add_argument("--reason", required=True)
    commands.add_parser("list", help="the versions in the store")
    given = parser.parse_args()
    store = Store(read_settings().releases)
    match given.command:
        case "add":
            version = store.add(given.bundle)
            log.info("added %s: %s", version, given.reason)
            if given.promote:
                store.promote(version)
                log.info("promoted %s: %s", version, given.reason)
        case "promote":
            store.promote(given.version)
            log.info("promoted %s: %s", given.version, given.reason)
        case "list":
            for version in store.versions:
                log.info("%s", version)


if __name__ == "__main__":
    run(main, "serve.releases")
