"""git, dvc and other programs run as subprocesses, with one kind of error."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from churn.script import InputError

log = logging.getLogger("git")

PLAIN = ("-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false")  # hooks and keys are for people
# A hook or a CI job sets these; a program that inherits them works on that repository instead of its folder's.
# They are `git rev-parse --local-env-vars` without the user's configuration.
LEADING_ELSEWHERE = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
}


class ProgramFailed(InputError):
    """A program ended with another exit status than 0."""

    def __init__(self, command: Sequence[str], status: int, why: str):
        super().__init__(f"{' '.join(command[:4])} ended with exit status {status}: {why}")
        self.status, self.why = status, why


def child_environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """`env`, or this process's environment, without what leads git into another repository than the folder's."""
    given = os.environ if env is None else env
    return {name: value for name, value in given.items() if name not in LEADING_ELSEWHERE}


def output_of(
    command: Sequence[str],
    cwd: Path = Path(),
    *,
    shown: bool = False,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> bytes:
    """What a command writes to stdout, or nothing where it is `shown` on stderr; a ProgramFailed if it fails.

    The command ends with this process: none is left behind.
    """
    output = sys.stderr if shown else subprocess.PIPE
    try:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=child_environment(env),
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=pass_fds,
        )
    except OSError as error:
        raise InputError(f"{command[0]}: {error.strerror}") from None
    try:
        printed, errors = (content or b"" for content in process.communicate())  # a warning is no part of an answer
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    if process.returncode:
        raise ProgramFailed(command, process.returncode, _reason(errors or printed))
    return printed


def _reason(content: bytes) -> str:
    """The last line of what a program printed; of git's, its fatal error with the advice that follows."""
    lines = [line.strip() for line in content.decode(errors="replace").splitlines() if line.strip()]
    fatal = next((i for i, line in enumerate(lines) if line.startswith("fatal: ")), len(lines) - 1)
    return " ".join(lines[fatal:]) if lines else "see above"


def call(
    command: Sequence[str],
    cwd: Path = Path(),
    *,
    shown: bool = False,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> str:
    """`output_of` as text, without the last line's end."""
    return output_of(command, cwd, shown=shown, env=env, pass_fds=pass_fds).decode(errors="replace").strip()


def git(*words: str, cwd: Path = Path(), env: Mapping[str, str] | None = None) -> str:
    return call(["git", *words], cwd, env=env)


def git_or_empty(*words: str) -> str:
    """What git prints, empty where it fails or is not installed; a repository that git refuses is warned of."""
    try:
        return git(*words)
    except InputError as error:
        here = Path.cwd()
        if "dubious ownership" in str(error) and any((folder / ".git").exists() for folder in (here, *here.parents)):
            log.warning("%s", error)
        return ""


def committed(revision: str, path: str, cwd: Path = Path(), env: Mapping[str, str] | None = None) -> bytes | None:
    """What `path` holds at a revision; None where it has no such file."""
    if not git("ls-tree", "--name-only", revision, "--", path, cwd=cwd, env=env):
        return None
    return output_of(["git", "show", f"{revision}:{path}"], cwd, env=env)


def commit(message: str, cwd: Path, env: Mapping[str, str] | None = None) -> None:
    """Commit what is staged; an empty commit where nothing is."""
    git(*PLAIN, "commit", "--quiet", "--allow-empty", "--message", message, cwd=cwd, env=env)
