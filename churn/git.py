"""git, dvc and other programs run as subprocesses, with one kind of error."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from churn.script import InputError

PLAIN = ("-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false")  # hooks and keys are for people


def call(
    command: Sequence[str],
    cwd: Path = Path(),
    *,
    shown: bool = False,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> str:
    """What a command prints, or nothing where it is `shown` on stderr; an InputError with its last line if it fails.

    The command ends with this process: none is left behind.
    """
    output = sys.stderr if shown else subprocess.PIPE
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
            pass_fds=pass_fds,
        )
    except OSError as error:
        raise InputError(f"{command[0]}: {error.strerror}") from None
    try:
        printed, errors = ((text or "").strip() for text in process.communicate())  # a warning is no part of an answer
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    if process.returncode:
        why = (errors or printed or "see above").splitlines()[-1]
        raise InputError(f"{' '.join(command[:4])} ended with exit status {process.returncode}: {why}")
    return printed


def git(*words: str, cwd: Path = Path(), env: Mapping[str, str] | None = None) -> str:
    return call(["git", *words], cwd, env=env)


def git_or_empty(*words: str) -> str:
    """What git prints, empty where it fails or is not installed."""
    try:
        return git(*words)
    except InputError:
        return ""


def commit(message: str, cwd: Path, env: Mapping[str, str] | None = None) -> None:
    """Commit what is staged; an empty commit where nothing is."""
    git(*PLAIN, "commit", "--quiet", "--allow-empty", "--message", message, cwd=cwd, env=env)
