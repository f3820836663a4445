"""ops/compose.yaml run as Docker Compose would, on a machine that reaches no registry.

A container is a process in namespaces of its own, on a copy of this machine's files, with an address on a bridge; names
are answered at 127.0.0.11, as by Docker. Commands, users, environment, volumes, secrets, health and order are read from
the compose file and, for our images, from serve/Dockerfile. Programs of the other images are this machine's.
"""

import ctypes
import json
import os
import random
import re
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.processes import until
from tests.e2e.servers import rewritten

PATH = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROGRAMS = ("ip", "unshare", "nsenter", "setpriv", "nginx", "prometheus", "prometheus-alertmanager", "wget")
NAME_SERVER = "127.0.0.11"

# what the entrypoint of the image does with a new volume
POSTGRES = """
as() { setpriv --reuid postgres --regid postgres --init-groups "$@"; }
install -d -o postgres -m 700 "$PGDATA" /run/postgresql
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  as initdb --username "$POSTGRES_USER" --pwfile "$POSTGRES_PASSWORD_FILE" --auth-local trust --auth-host scram-sha-256
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
  as pg_ctl -w -o "-c listen_addresses=''" start
  for file in /docker-entrypoint-initdb.d/*; do as "$file"; done
  as pg_ctl -w -m fast stop
fi
exec setpriv --reuid postgres --regid postgres --init-groups "$@" -c listen_addresses='*'
"""

CONTAINER = """
until ip link show eth0 >/dev/null 2>&1; do sleep 0.02; done
ip address add {address}/24 dev eth0
ip link set eth0 up
mount --make-rprivate /
mount -t tmpfs tmpfs {folder}
mkdir {folder}/upper {folder}/work {root}
mount -t overlay overlay -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work {root}
chmod a+x {passages}
rm -f {root}/etc/resolv.conf
echo nameserver {name_server} >{root}/etc/resolv.conf
mount -t proc proc {root}/proc
mount --rbind /dev {root}/dev
mount -t tmpfs -o mode=755 tmpfs {root}/run
mount -t tmpfs -o mode=1777 tmpfs {root}/tmp
ln -sf {python} {root}/usr/local/bin/python
{image}
{mounts}
{protection}
exec chroot {root} {enter} "$@"
"""


@dataclass
class Image:
    """What an image says of a container; `owned` are folders of its user, whose owner a new volume in place takes."""

    entrypoint: list[str]
    command: list[str] = field(default_factory=list)
    user: str = "0:0"
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    owned: set[str] = field(default_factory=set)
    health: list[str] = field(default_factory=list)
    stop: signal.Signals = signal.SIGTERM


def others() -> dict[str, Image]:
    """The images that are not ours, with this machine's programs; Grafana's is not to be had."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if missing := [name for name in PROGRAMS if not shutil.which(name, path=PATH)]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if not found or os.getuid() != 0:
        pytest.skip("PostgreSQL is not installed, or nobody may make namespaces: needs /usr/lib/postgresql and root")
    data = {"LANG": "C.UTF-8", "PGDATA": "/var/lib/postgresql/data", "PATH": f"{found[-1]}:{PATH}"}
    return {
        "postgres": Image(["sh", "-euc", POSTGRES, "sh"], ["postgres"], environment=data, stop=signal.SIGINT),
        "nginxinc/nginx-unprivileged": Image([], user="101:101", stop=signal.SIGQUIT),
        "prom/prometheus": Image(["prometheus"], user="65534:65534", owned={"/prometheus"}),
        "prom/alertmanager": Image(["prometheus-alertmanager"], user="65534:65534", owned={"/alertmanager"}),
    }


def built(dockerfile: Path, target: str) -> Image:
    """What the Dockerfile says of a target, the last one where it is empty."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    stages = dict(re.findall(r"^FROM \S+ AS (\w+)\n(.*?)(?=^FROM |\Z)", text, re.MULTILINE | re.DOTALL))
    image = Image([], environment={"PATH": PATH})
    for word, rest in re.findall(r"^([A-Z]+) (.+)$", stages[target or list(stages)[-1]], re.MULTILINE):
        match word:
            case "ENV":
                given = (pair.partition("=") for pair in shlex.split(rest))
                image.environment |= {key: value.replace("$PATH", PATH) for key, _, value in given}
            case "USER":
                image.user = rest
            case "WORKDIR":
                image.workdir = rest
            case "ENTRYPOINT":
                image.entrypoint = json.loads(rest)
            case "CMD":
                image.command = json.loads(rest)
            case "HEALTHCHECK":
                image.health = ["CMD", *json.loads(rest.partition("CMD ")[2])]
            case "RUN" if made := re.search(r"install -d -o churn -g churn ([/\w ]+)", rest):
                image.owned |= {*made[1].split()}
    return image


class Names:
    """A name server in each container, as Docker's: the running ones have names."""

    def __init__(self) -> None:
        self.addresses: defaultdict[str, set[str]] = defaultdict(set)
        self._selector = selectors.DefaultSelector()
        self._ended = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def serve_in(self, pid: int) -> socket.socket:
        """Answer in the network of a process. A socket stays in the network in which it was made."""
        made: list[socket.socket] = []

        def make() -> None:
            with Path(f"/proc/{pid}/ns/net").open() as network:
                assert ctypes.CDLL(None).setns(network.fileno(), 0) == 0
            made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

        thread = threading.Thread(target=make)  # this thread alone enters
        thread.start()
        thread.join()
        made[0].bind((NAME_SERVER, 53))
        self._selector.register(made[0], selectors.EVENT_READ)
        return made[0]

    def forget(self, server: socket.socket) -> None:
        self._selector.unregister(server)
        server.close()

    def close(self) -> None:
        self._ended = True
        self._thread.join()
        self._selector.close()

    def _serve(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select(0.1):
                server: Any = key.fileobj
                query, sender = server.recvfrom(512)
                server.sendto(self._answer(query), sender)

    def _answer(self, query: bytes) -> bytes:
        """Of one question: the addresses in any order, for ten minutes; a name that nobody has is an error."""
        end = query.index(b"\0", 12)
        labels, position = [], 12
        while position < end:
            labels.append(query[position + 1 : position + 1 + query[position]].decode())
            position += 1 + query[position]
        found, kind = sorted(self.addresses.get(".".join(labels), ())), query[end + 1 : end + 3]
        answers = random.sample(found, len(found)) if kind == b"\0\1" else []
        flags = b"\x81\x80" if found else b"\x81\x83"
        records = b"".join(b"\xc0\x0c\0\1\0\1\0\0\2\x58\0\4" + socket.inet_aton(address) for address in answers)
        counts = b"\0\1" + len(answers).to_bytes(2, "big") + b"\0\0\0\0"
        return query[:2] + flags + counts + query[12 : end + 5] + records


class Container:
    """One replica of a service of the compose file."""

    def __init__(self, stack: "Stack", service: str, number: int):
        self.stack, self.service, self.name = stack, service, f"{service}-{number}"
        self.said: Mapping[str, Any] = stack.services[service]
        self.image = stack.image(service)
        self.address = f"{stack.network}.{next(stack.numbers)}"
        self.log = stack.folder / f"{self.name}.log"
        self.cable = f"{stack.bridge}.{self.address.rpartition('.')[2]}"
        self.process: subprocess.Popen[bytes] | None = None
        self.name_server: socket.socket | None = None

    def start(self) -> None:
        folder = self.stack.folder / "containers" / self.name
        folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            spaces = ("--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child")
            command = ["unshare", *spaces, "sh", "-euc", self._script(folder), "sh", *self._command()]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        pid = self.process.pid
        until(lambda: Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink())
        until(lambda: self.pid)
        run("nsenter", f"--net=/proc/{pid}/ns/net", "ip", "link", "set", "lo", "up")
        self.name_server = self.stack.names.serve_in(pid)
        # as Docker does: who starts again is known by the same two addresses
        hardware = f"02:42:{socket.inet_aton(self.address).hex(':')}"
        peer = ("peer", "name", "eth0", "address", hardware, "netns", str(pid))
        run("ip", "link", "add", self.cable, "type", "veth", *peer)
        run("ip", "link", "set", self.cable, "master", self.stack.bridge, "up")
        self.stack.names.addresses[self.service].add(self.address)

    @property
    def pid(self) -> int:
        """Of its first process, as this machine counts; 0 where there is none."""
        assert self.process
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int((children.read_text().split() or ["0"])[0]) if children.exists() else 0

    def stop(self, by: signal.Signals | None = None, seconds: float = 30) -> int:
        """The exit status. When its first process ends, all others do, and its network goes."""
        if not self.process or self.process.returncode is not None:
            return 0
        self.stack.names.addresses[self.service].discard(self.address)
        if self.name_server:
            self.stack.names.forget(self.name_server)
            self.name_server = None
        try:
            if pid := self.pid:
                os.kill(pid, by or self.image.stop)
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()  # and so its child
            return self.process.wait(10)
        finally:
            subprocess.run(["ip", "link", "delete", self.cable], capture_output=True)  # else it goes some time later

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command in it, as its user: `docker compose exec`."""
        spaces = ("--net", "--mount", "--pid", "--ipc", "--uts", "--root", "--wd")
        command = ["nsenter", f"--target={self.pid}", *spaces, *self._enter(), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    def is_healthy(self) -> bool:
        """Whether the command of its health check ends well; none may have no check."""
        assert self.process and self.process.poll() is None, f"{self.name}: {self.log.read_text()[-3000:]}"
        kind, *words = self.said.get("healthcheck", {}).get("test") or self.image.health
        if not self.pid:
            return False
        return self.run(*(words if kind == "CMD" else ["sh", "-c", *words])).returncode == 0

    @cached_property
    def environment(self) -> dict[str, str]:
        given = {key: filled(str(value)) for key, value in self.said.get("environment", {}).items()}
        return {"PATH": PATH, "HOME": "/tmp", **self.image.environment, **given}

    def _command(self) -> list[str]:
        """A new entrypoint takes no command of the image along."""
        entrypoint = self.said.get("entrypoint")
        command = self.said.get("command", [] if entrypoint else self.image.command)
        return [filled(word) for word in [*(entrypoint or self.image.entrypoint), *command]]

    def _enter(self) -> list[str]:
        uid, gid = self.image.user.split(":")
        words = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        words += ["--bounding-set=-all"] if self.said.get("cap_drop") == ["ALL"] else []
        words += ["--no-new-privs"] if "no-new-privileges:true" in self.said.get("security_opt", []) else []
        variables = [f"{key}={value}" for key, value in self.environment.items()]
        place = self.said.get("working_dir", self.image.workdir)
        return [*words, "env", "-i", f"--chdir={place}", *variables]

    def _script(self, folder: Path) -> str:
        root = folder / "root"
        mounts = [mounted(root, source, target, writable) for source, target, writable in self._volumes()]
        for place in self.said.get("tmpfs", []):
            target, _, options = place.partition(":")
            mounts.append(f"mount -t tmpfs -o mode=1777,{options or 'rw'} tmpfs {root}{target}")
        way = [Path(place) for place in (sys.base_prefix, sys.prefix)]
        return CONTAINER.format(
            folder=folder, root=root, address=self.address, name_server=NAME_SERVER,
            python=getattr(sys, "_base_executable", sys.executable), mounts="\n".join(mounts),
            # whose Python lies in a home that is closed to others
            passages=shlex.join(f"{root}{parent}" for place in way for parent in [place, *place.parents[:-1]]),
            protection=f"mount -o remount,ro {root}" if self.said.get("read_only") else "",
            image=self.stack.contents(self.said.get("image", ""), root), enter=shlex.join(self._enter()),
        )  # fmt: skip

    def _volumes(self) -> Iterator[tuple[Path, str, bool]]:
        for volume in sorted(self.said.get("volumes", []), key=lambda volume: volume.split(":")[1].count("/")):
            source, target, *options = volume.split(":")
            if source.startswith("."):
                yield self.stack.ops / source, target, "ro" not in options
            else:
                yield self.stack.volume(source, self.image, target), target, True
        for name in self.said.get("secrets", []):
            yield self.stack.ops / self.stack.compose["secrets"][name]["file"], f"/run/secrets/{name}", False


def filled(text: str) -> str:
    """As Compose fills in a text: no variable is set, and $$ is a dollar."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text).replace("$$", "$")


def mounted(root: Path, source: Path, target: str, writable: bool) -> str:
    place = f"{root}{target}"
    made = f"mkdir -p {place}" if source.is_dir() else f"mkdir -p {Path(place).parent} && touch {place}"
    only = "" if writable else f" && mount -o remount,bind,ro {place}"
    return f"{made} && mount --bind {source} {place}{only}"


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(words)}: {done.stderr}"
    return done.stdout


class Stack:
    """All containers, on a bridge of their own. `changes` of patterns go to the configuration of alerts."""

    def __init__(self, repository: Path, folder: Path, changes: Mapping[str, str]):
        self.others = others()
        self.repository, self.folder = repository, folder
        self.ops = folder / "ops"
        shutil.copytree(repository / "ops", self.ops, ignore=shutil.ignore_patterns("prometheus", "alertmanager"))
        for name in ("prometheus", "alertmanager"):
            rewritten(repository / "ops" / name, self.ops, changes)
        run("sh", str(self.ops / "secrets.sh"))
        self.compose = yaml.safe_load((self.ops / "compose.yaml").read_text())
        self.services: dict[str, Any] = {
            name: said
            for name, said in self.compose["services"].items()
            if name != "grafana" and "profiles" not in said
        }
        self.bridge, self.network, self.numbers = f"churn{os.getpid()}", free_network(), count(2)
        self.names = Names()
        self.containers: list[Container] = []
        self.healthy: list[str] = []  # services, in the order in which they became so

    def up(self, seconds: float = 180) -> None:
        """Start each service once those it depends on are healthy, and wait until all are."""
        # an address of its own, else it has the lowest of its ports', another one when that goes, and who knows the old
        # one speaks to nobody for half a minute
        hardware = f"02:42:{socket.inet_aton(f'{self.network}.1').hex(':')}"
        run("ip", "link", "add", self.bridge, "address", hardware, "type", "bridge")
        run("ip", "address", "add", f"{self.network}.1/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        run("git", "clone", "--quiet", "--bare", str(self.repository), str(self.folder / "repository"))
        end = time.monotonic() + seconds
        while len(self.healthy) < len(self.services):
            assert time.monotonic() < end, f"healthy are only {self.healthy}"
            for name, said in self.services.items():
                if not self.of(name) and set(said.get("depends_on", {})) <= {*self.healthy}:
                    for number in range(1, said.get("deploy", {}).get("replicas", 1) + 1):
                        self.containers.append(Container(self, name, number))
                        self.containers[-1].start()
                elif name not in self.healthy and (there := self.of(name)) and all(c.is_healthy() for c in there):
                    self.healthy.append(name)
            time.sleep(0.2)

    def down(self) -> None:
        with ExitStack() as after:  # all of it, whatever fails
            after.callback(subprocess.run, ["ip", "link", "delete", self.bridge], capture_output=True)
            after.callback(self.names.close)
            for container in self.containers:
                after.callback(container.stop, signal.SIGKILL)

    def of(self, service: str) -> list[Container]:
        return [container for container in self.containers if container.service == service]

    def published(self, port: int) -> str:
        """Where a client of the host's port is led."""
        for container in self.containers:
            for ports in container.said.get("ports", []):
                _, outside, inside = filled(ports).split(":")
                if int(outside) == port:
                    return f"{container.address}:{inside}"
        raise AssertionError(f"nobody publishes {port}")

    def secret(self, name: str) -> str:
        return (self.ops / "secrets" / name).read_text()

    def database(self, secret: str) -> str:
        """The address of a database as from this machine."""
        return self.secret(secret).replace("@postgres:", f"@{self.of('postgres')[0].address}:")

    def image(self, service: str) -> Image:
        said = self.services[service]
        if "build" in said:
            return built(self.repository / said["build"]["dockerfile"], said["build"].get("target", ""))
        return self.others[said["image"].partition(":")[0]]

    def volume(self, name: str, image: Image, target: str) -> Path:
        """A new one takes over the owner of the folder in its place."""
        assert name in self.compose["volumes"]
        folder = self.folder / "volumes" / name
        if not folder.exists():
            folder.mkdir(parents=True)
            if target in image.owned:
                os.chown(folder, *map(int, image.user.split(":")))
        return folder

    def contents(self, image: str, root: Path) -> str:
        """The commands that put into place what is in our images."""
        match image:
            case "churn-service":
                packages = Path(sysconfig.get_path("purelib"))
                places = {packages: "/opt/packages", self.repository: "/app"}
                places |= {self.repository / "models/release": "/bundle"}
            case "churn-jobs":
                places = {Path(sys.prefix): "/opt/venv", self.folder / "repository": "/repository"}
                places |= {self.repository / "ops/jobs.sh": "/usr/local/bin/jobs"}
            case _:
                return ""
        lines = [mounted(root, source, target, writable=False) for source, target in places.items()]
        lines += [f"echo churn:x:10001:10001::/tmp:/usr/sbin/nologin >>{root}/etc/passwd"]
        return "\n".join([*lines, f"git config --file {root}/etc/gitconfig --add safe.directory '*'"])


def free_network() -> str:
    """The first three numbers of addresses that no route of this machine leads to."""
    taken = run("ip", "-4", "route", "show", "table", "all")
    return next(part for n in range(1, 255) if (part := f"10.213.{n}") not in taken)


@contextmanager
def stack(repository: Path, folder: Path, changes: Mapping[str, str]) -> Iterator[Stack]:
    running = Stack(repository, folder, changes)
    try:
        running.up()
        yield running
    finally:
        running.down()
