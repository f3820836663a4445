"""The workers of one server: the folder they share, and their process ids. uvicorn has no interface for either."""

import hashlib
import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # the Prometheus client keeps its numbers there, so another server may set it


def shared_folder() -> Path | None:
    """Return the folder that all workers of this server share, create it if missing; None for a single process."""
    if configured := os.environ.get(VARIABLE):
        Path(configured).mkdir(parents=True, exist_ok=True)
        return Path(configured)
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None:
        return None
    # multiprocessing passes its random authkey to every child: the one value that all siblings and nobody else has
    name = hashlib.sha256(multiprocessing.current_process().authkey).hexdigest()[:16]
    home = Path(tempfile.gettempdir())
    for abandoned in home.glob("churn-workers-*-*"):
        pid = abandoned.name.split("-")[2]
        if pid.isdecimal() and not is_alive(int(pid)):
            shutil.rmtree(abandoned, ignore_errors=True)
    folder = home / f"churn-workers-{parent.pid}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    os.environ[VARIABLE] = str(folder)
    return folder


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def remember_process_id() -> None:
    """Make the Prometheus client remember the process id: it asks the system several times in each request."""
    from prometheus_client import values  # chooses where numbers live on import: only after shared_folder()

    process_id = [os.getpid()]
    os.register_at_fork(after_in_child=lambda: process_id.__setitem__(0, os.getpid()))
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: process_id[0])
