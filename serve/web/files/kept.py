"""The folder of visitors' files, as a worker of the service looks after it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from serve.telemetry.workers import VARIABLE
from serve.web.files.uploads import Upload, folders, locked, remove_old, upload_in, uploads

TIDY_SECONDS = 30.0  # between looks at what is old, and at what waits
MAX_KEPT = 100  # files
RESERVE = 2**30  # bytes of the disk that stay free: the log and the spool may lie on it


class KeptFiles:
    """Takes files, sees to it that the queue works where any waits, and removes what was kept for `hours`."""

    def __init__(self, root: Path, limit: int, hours: int, places: Mapping[str, str]):
        self.root, self.limit, self.hours = root, limit, hours
        self._environment = {key: text for key, text in os.environ.items() if key != VARIABLE} | dict(places)
        self._queue: subprocess.Popen[bytes] | None = None
        self._lock, self._ended = threading.Lock(), threading.Event()
        threading.Thread(target=self._tidy, name="files", daemon=True).start()

    @property
    def room(self) -> int:
        """Bytes that a file may have now; 0 where too many files are kept."""
        there = next(path for path in (self.root, *self.root.absolute().parents) if path.exists())
        # the scores and their CSV take about as much as the file once more
        free = (shutil.disk_usage(there).free - RESERVE) // 3
        return 0 if len(folders(self.root)) >= MAX_KEPT else max(0, min(self.limit, free))

    def of(self, owner: str) -> list[Upload]:
        """The owner's, the newest first."""
        return [upload for upload in reversed(uploads(self.root)) if upload.asked.owner == owner]

    def one(self, owner: str, name: str) -> Upload | None:
        upload = upload_in(self.root / name)
        return upload if upload and upload.asked.owner == owner else None

    def work(self) -> None:
        """Have the queue work, where a file waits and no queue does."""
        with self._lock:
            if self._ended.is_set() or (self._queue and self._queue.poll() is None):
                return
            if not any(upload.is_waiting for upload in uploads(self.root)):
                return
            with locked(self.root) as lock:
                if lock is None:  # another worker's
                    return
            self._queue = subprocess.Popen(
                [sys.executable, "-m", "serve.web.files.queue", str(self.root.absolute())],
                env=self._environment, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def close(self) -> None:
        """Stop the queue; it goes on at the next start."""
        self._ended.set()
        with self._lock:
            if self._queue and self._queue.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._queue.pid, signal.SIGTERM)
                self._queue.wait()

    def _tidy(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(OSError):
                remove_old(self.root, self.hours)
                self.work()
            self._ended.wait(TIDY_SECONDS)
