"""Object storage for tests: a real server of it, and a proxy before it that cuts connections or answers itself."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from urllib.request import Request, urlopen

from demo.processes import free_port

SERVER = """
import sys, time
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=int(sys.argv[1]), verbose=False)
server.start()
print("ready", flush=True)
time.sleep(600)
"""
HEAD = b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
ERROR = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
BUSY = HEAD % len(ERROR) + ERROR


@dataclass(frozen=True)
class Server:
    port: int

    @property
    def variables(self) -> dict[str, str]:
        """Of the environment."""
        return variables(self.port)

    def deny(self, is_denied: bool) -> None:
        """Ask for rights from now on, which nobody has."""
        address, free = f"http://127.0.0.1:{self.port}/moto-api/reset-auth", b"0" if is_denied else b"inf"
        urlopen(Request(address, free, {"Content-Type": "text/plain"})).close()


def variables(port: int) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "t", "AWS_SECRET_ACCESS_KEY": "t", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
    }  # fmt: skip


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    port = free_port()
    with (folder / "storage.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        yield Server(port)
    finally:
        process.kill()
        process.wait(10)


Fault = Callable[[bytes], bytes | None]  # of what a client sends: None, or what it gets in place of an answer


@dataclass
class Proxy:
    """Hands bytes on to `port`, until `fault` says otherwise: then the client gets that, and the connection ends."""

    to: int
    fault: Fault
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def variables(self) -> dict[str, str]:
        return variables(self.listener.getsockname()[1])

    def __enter__(self) -> "Proxy":
        Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self.listener.accept()
                there = socket.create_connection(("127.0.0.1", self.to))
                Thread(target=self.ask, args=(client, there), daemon=True).start()
                Thread(target=self.answer, args=(there, client), daemon=True).start()

    def ask(self, client: socket.socket, there: socket.socket) -> None:
        with client, there, suppress(OSError):
            while sent := client.recv(2**14):
                if (said := self.fault(sent)) is not None:
                    client.sendall(said)
                    break
                there.sendall(sent)
            for each in (client, there):  # or it stays open as long as the other thread reads it
                each.shutdown(socket.SHUT_RDWR)

    def answer(self, there: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while said := there.recv(2**16):
                client.sendall(said)
            client.shutdown(socket.SHUT_WR)
