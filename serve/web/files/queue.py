"""Scores the files that visitors sent, one after another, until none waits: python -m serve.web.files.queue FOLDER"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

from serve.web.files.uploads import SAID, SCORES, Upload, locked, uploads

LIMIT_SECONDS = 3600.0  # that a file may take
TRIES = 5  # for the lock, which a page that looks holds for an instant
NICE = 19  # the lowest priority
STOPPED = -15  # exit status of what a stop of the service ended: it goes on at the next start


def work(root: Path) -> None:
    """Leave it to another queue, where there is one."""
    for _ in range(TRIES):
        with locked(root) as lock:
            if lock is not None:
                while waiting := [upload for upload in uploads(root) if upload.is_waiting]:
                    score(waiting[0], lock)
                return
        time.sleep(0.2)


def score(upload: Upload, lock: int) -> None:
    """Score the file, and keep how it ended."""
    asked, scores = upload.asked, upload.folder / SCORES
    options = ["--processes", "1", "--max-rejected", "1", "--encoding", asked.encoding, "--reasons", str(asked.reasons)]
    if asked.separator:
        options += ["--separator", asked.separator]
    status, _ = run(upload, lock, "serve.score", str(upload.table), str(scores), *options)
    summary = "{}"
    if status == 0:
        status, summary = run(upload, lock, "serve.score.export", str(scores), str(upload.folder))
    if status == STOPPED:
        sys.exit(1)
    upload.end({"status": status, "at": time.time(), **(json.loads(summary) if status == 0 else {})})


def run(upload: Upload, lock: int, *command: str) -> tuple[int, str]:
    """The exit status, and what was printed. The process holds the lock too, should this one be killed."""
    with open_in(upload) as said:
        try:
            done = subprocess.run(
                [sys.executable, "-m", *command],
                stdout=subprocess.PIPE, stderr=said, text=True, timeout=LIMIT_SECONDS, pass_fds=[lock], check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            said.write(f"serve.score: it takes longer than {LIMIT_SECONDS:g} seconds\n")
            return 2, ""
    return done.returncode, done.stdout


def open_in(upload: Upload) -> TextIO:
    """Where commands say what they do; nowhere, once the visitor has removed the file."""
    try:
        return (upload.folder / SAID).open("a", encoding="utf-8")
    except FileNotFoundError:
        return Path(os.devnull).open("a", encoding="utf-8")


if __name__ == "__main__":
    os.umask(0o077)
    os.nice(NICE)
    work(Path(sys.argv[1]))
