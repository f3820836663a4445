"""The service as a container starts it: an empty store gets the bundle, then uvicorn serves.

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
    """Where no release answers yet, the bundle does; else it is not looked at."""
    # every worker imports this module again, and the server above them needs none of it
    from serve.releases.acts import add, promote
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
    """The commit that an image was built from, where its dvc.lock names the bundle; else empty."""
    from serve.releases.trace import LOCK, directory_hash

    lock = Path(LOCK)
    is_ours = lock.is_file() and f"{directory_hash(bundle)}.dir" in lock.read_text(encoding="utf-8")
    return os.environ.get("REVISION", "") if is_ours else ""


def leave(*_: object) -> None:
    sys.exit(0)


def main() -> None:
    # the first process of a container ignores a signal that it does not handle; uvicorn puts its own handler over it
    signal.signal(signal.SIGTERM, leave)
    jsonlog.configure()
    root = logging.getLogger()  # of the libraries: what is wrong alone, and in the same form
    root.handlers = logging.getLogger("serve").handlers
    root.setLevel("WARNING")
    fill(read_settings(), Path(sys.argv[1]))
    uvicorn.main(["serve.app:app"])


if __name__ == "__main__":
    run(main, "serve")
