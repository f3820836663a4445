"""What the workers of one server share: a folder, which `uvicorn --workers N` has no word for."""

import hashlib
import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # the Prometheus client keeps its numbers there, so another server may set it


def shared_folder() -> Path | None:
    """A folder that all workers of this server share, made when it is missing; None when there is one process."""
    if given := os.environ.get(VARIABLE):
        Path(given).mkdir(parents=True, exist_ok=True)
        return Path(given)
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None:
        return None
    # multiprocessing hands every child its parent's random key: the one thing that only siblings know
    name = hashlib.sha256(multiprocessing.current_process().authkey).hexdigest()[:16]
    home = Path(tempfile.gettempdir())
    for left in home.glob("churn-workers-*-*"):
        pid = left.name.split("-")[2]
        if pid.isdecimal() and not is_alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
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
