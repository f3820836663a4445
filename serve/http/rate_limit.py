"""Who may ask, and how often: API keys compared in constant time, and a rate that all workers count together."""

import fcntl
import hmac
import mmap
import os
import struct
import time
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from serve.settings import Rate

SLOTS = 2**17  # 8 bytes each; two clients that share one by chance share a limit


class ApiKeys:
    """Several keys are good at once, so that one can be replaced without a gap."""

    def __init__(self, keys: Sequence[str]):
        self.digests = [_digest(key.encode()) for key in keys]

    def __bool__(self) -> bool:
        return bool(self.digests)

    def accept(self, key: bytes) -> bool:
        """Whether `key` is one of them, in a time that does not tell which or how nearly."""
        given = _digest(key)
        # all are compared, also behind the right one
        return sum(hmac.compare_digest(given, digest) for digest in self.digests) > 0


class RateLimit:
    """The generic cell rate algorithm (ITU-T I.371, annex A): a steady rate, with one period's requests at once.

    A client's state is one number, the time at which its requests would all have been due, kept in memory that the
    workers share: a file in `folder`, or this process's own without one.
    """

    def __init__(self, rate: Rate, folder: Path | None):
        self.interval, self.burst = rate.seconds / rate.requests, float(rate.seconds)
        self.file: int | None = None
        if folder is None:
            self.due = mmap.mmap(-1, 8 * SLOTS)
        else:
            self.file = os.open(folder / "rate-limit", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.posix_fallocate(self.file, 0, 8 * SLOTS)  # a page that a full disk can't hold ends the process
            self.due = mmap.mmap(self.file, 8 * SLOTS)

    def wait(self, client: bytes) -> float:
        """Seconds until `client` may ask again; 0 when it may now, which then counts."""
        place = 8 * (int.from_bytes(blake2b(client, digest_size=8).digest()) % SLOTS)
        if self.file is None:
            return self._wait(place)
        fcntl.lockf(self.file, fcntl.LOCK_EX, 8, place)  # other workers that count this client, for microseconds
        try:
            return self._wait(place)
        finally:
            fcntl.lockf(self.file, fcntl.LOCK_UN, 8, place)

    def _wait(self, place: int) -> float:
        now = time.monotonic()  # one clock for all processes of the machine
        due: float = struct.unpack_from("d", self.due, place)[0]
        if not now < due < now + 2 * self.burst:  # long past, or of the clock before the machine started anew
            due = now
        due += self.interval
        if due - now > self.burst + 1e-6:  # sums of a rate are not exact
            return due - now - self.burst
        struct.pack_into("d", self.due, place, due)
        return 0.0


def _digest(key: bytes) -> bytes:
    return blake2b(key, digest_size=32).digest()
