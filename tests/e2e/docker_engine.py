"""A container engine for the end-to-end tests: a dockerd of its own, and a base image where no registry is reached."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from review.verify import environment
from tests.conftest import ROOT

DOCKER = "/usr/bin/docker"  # Debian's, whose client knows BuildKit
BASE = "python:3.11-slim-bookworm"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "churn-tests")
# what pip needs to get through on this machine
SECRETS = {"pipconf": "/etc/pip.conf", "cabundle": "/etc/ssl/certs/ca-certificates.crt"}


class Engine:
    """`dockerd` in a folder of its own, without a network of its own: containers run with --network host."""

    def __init__(self) -> None:
        # not below pytest's folder: the path of a socket is short
        self.folder = Path(tempfile.mkdtemp(prefix="engine-"))
        self.log = self.folder / "log"
        self.host = f"unix://{self.folder / 'docker.sock'}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config = self.folder / "daemon.json"
        places = {key: str(self.folder / key) for key in ("data-root", "exec-root", "pidfile")}
        options = {"hosts": [self.host], "storage-driver": "overlay2", "iptables": False, "bridge": "none"}
        config.write_text(json.dumps(places | options))
        with self.log.open("wb") as log:
            command = ["dockerd", "--config-file", str(config)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + 30
        while not self.runs("version"):
            if self.process.poll() is not None or time.monotonic() > end:
                pytest.skip(f"dockerd does not start here: {self.log.read_text().strip().rpartition(chr(10))[2]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the daemon and every container, and remove the folder, whatever is mounted in it first."""
        if self.process:
            for container in self("ps", "--quiet", check=False).split():
                self("kill", container, check=False)
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(10)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mounted in sorted((m for m in mounts if m.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", mounted], check=False)
        shutil.rmtree(self.folder)

    @property
    def variables(self) -> dict[str, str]:
        """What makes any client of Docker talk to this engine."""
        return {"DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "1", "DOCKER_CONFIG": str(self.folder)}

    def __call__(self, *words: str, timeout: float = 600, check: bool = True, stderr: bool = False) -> str:
        """stdout of `docker WORDS`, or stdout and `stderr`."""
        own, command = environment(**self.variables), [DOCKER, *words]
        done = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=timeout)
        assert not check or done.returncode == 0, f"docker {' '.join(words)}:\n{done.stdout}{done.stderr}"
        return (done.stdout + done.stderr if stderr else done.stdout).strip()

    def runs(self, *words: str) -> bool:
        """Whether `docker WORDS` ends well."""
        with suppress(AssertionError, subprocess.TimeoutExpired):
            self(*words, timeout=30)
            return True
        return False

    def build(self, tag: str, context: Path, *words: str) -> None:
        secrets = [f"--secret=id={name},src={path}" for name, path in SECRETS.items() if Path(path).is_file()]
        dockerfile = str(context / "serve/Dockerfile")
        self("build", "--network=host", "--quiet", *secrets, "-f", dockerfile, "-t", tag, *words, str(context))

    def size(self, image: str) -> int:
        """Bytes of all its layers."""
        return int(self("image", "inspect", "--format", "{{.Size}}", image))


def base_image() -> Path:
    """A tar file with the files of a base image, made once for this machine: Debian with Python, venv and pip."""
    if (made := CACHE / f"{BASE.replace(':', '-')}.tar").is_file():
        return made
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="base-", dir=CACHE) as folder:
        root, tar = Path(folder, "root"), Path(folder, "tar")
        packages = "--include=python3,python3-venv,ca-certificates"
        for command in (
            ["debootstrap", "--variant=minbase", packages, "bookworm", str(root)],
            ["ln", "-sf", "python3", str(root / "usr/bin/python")],
            ["chroot", str(root), "python3", "-m", "venv", "/usr/local"],
            ["chroot", str(root), "apt-get", "clean"],
            ["tar", "-C", str(root), "--exclude=./var/lib/apt/lists/*", "-cf", str(tar), "."],
        ):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode:
                pytest.skip(f"no base image can be made: {' '.join(command)}: {done.stdout.strip()[-300:]}")
        tar.replace(made)  # whole or not at all
    return made


@contextmanager
def engine() -> Iterator[Engine]:
    """An engine that has the base image. Skips where one can't be had."""
    missing = [name for name in (DOCKER, "dockerd", "debootstrap") if not shutil.which(name)]
    if missing or os.getuid() != 0:
        pytest.skip(f"no container engine: needs {' and '.join(missing) or 'docker'}, and root")
    made = base_image()
    running = Engine()
    try:
        running.start()
        path = "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        running("import", "--change", path, "--change", 'CMD ["python3"]', str(made), BASE)
        yield running
    finally:
        running.stop()
