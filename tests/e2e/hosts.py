"""Hosts of a network of their own on this machine: network namespaces, joined by a bridge in the first of them."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Host:
    """This machine itself, where it has no namespace."""

    namespace: str = ""
    address: str = "127.0.0.1"

    def on(self, *words: str) -> list[str]:
        """The command that runs `words` on this host."""
        return ["ip", "netns", "exec", self.namespace, *words] if self.namespace else list(words)


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """That many, each with an address that the others reach; skips the test where there can be none."""
    if os.getuid() != 0 or not shutil.which("ip"):
        pytest.skip("hosts of their own need root and the program ip")
    network, address = secrets.token_hex(3), "10.0.0.{}"
    made = [Host(f"churn-{network}-{i}", address.format(i + 1)) for i in range(count)]
    hub = made[0]
    with ExitStack() as stack:
        for host in made:
            ip("netns", "add", host.namespace)
            stack.callback(ip, "netns", "delete", host.namespace)
            ip("-n", host.namespace, "link", "set", "lo", "up")
        ip("-n", hub.namespace, "link", "add", "hub", "type", "bridge")
        ip("-n", hub.namespace, "address", "add", f"{hub.address}/24", "dev", "hub")
        ip("-n", hub.namespace, "link", "set", "hub", "up")
        for i, host in enumerate(made[1:], 1):
            peer = ("peer", "name", "eth0", "netns", host.namespace)
            ip("-n", hub.namespace, "link", "add", f"cable{i}", "type", "veth", *peer)
            ip("-n", hub.namespace, "link", "set", f"cable{i}", "master", "hub", "up")
            ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
            ip("-n", host.namespace, "link", "set", "eth0", "up")
        yield made


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
