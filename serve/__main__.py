"""The service as a container starts it: add the bundle to an empty store, then run uvicorn.

`python -m serve BUNDLE`; uvicorn's options are in the environment: UVICORN_PORT, WEB_CONCURRENCY (workers), ...
"""

import logging
import os
import signal
import sys
from pathlib import Path

import uvicorn

from churn.script import InputError, run
from serve.settings import Settings, read_settings
from serve.telemetry import logs as jsonlog

log = logging.getLogger("serve")


def fill(settings: Settings, bundle: Path) -> None:
    """Make the bundle the champion if the store has none; else ignore it."""
    # imported here: every worker imports this module again, and uvicorn's parent process needs none of them
    from serve.releases.commands import add, promote
    from serve.releases.store import Store

    store = Store(settings.releases)
    if champion := store.state()["champion"]:
        log.info("%s has a champion, %s; %s is not looked at", store.where, champion, bundle)
        return
    if not bundle.is_dir() or not any(bundle.iterdir()):
        raise InputError(f"{store.where} has no champion and {bundle} no release; mount one: -v DIR:{bundle}:ro")
    version = add(store, str(bundle), "first start", made_by(bundle))
    promote(store, version, "first start", settings, force=False)
    log.info("%s answers, the first release in %s", version, store.where)


def made_by(bundle: Path) -> str:
    """Return the commit of the image if its dvc.lock names the bundle, else an empty string."""
    from serve.releases.trace import LOCK, directory_hash

    lock = Path(LOCK)
    is_ours = lock.is_file() and f"{directory_hash(bundle)}.dir" in lock.read_text(encoding="utf-8")
    return os.environ.get("REVISION", "") if is_ours else ""


def leave(*_: object) -> None:
    sys.exit(0)


def main() -> None:
    # the first process of a container ignores unhandled signals; uvicorn replaces this handler by its own
    signal.signal(signal.SIGTERM, leave)
    jsonlog.configure()
    root = logging.getLogger()  # libraries: warnings and errors only, in the same form
    root.handlers = logging.getLogger("serve").handlers
    root.setLevel("WARNING")
    fill(read_settings(), Path(sys.argv[1]))
    uvicorn.main(["serve.app:app"])


if __name__ == "__main__":
    run(main, "serve")
