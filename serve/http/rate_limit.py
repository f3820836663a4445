"""A rate limit that all workers count together."""

import fcntl
import mmap
import os
import struct
import time
from hashlib import blake2b
from pathlib import Path

from serve.settings import Rate

SLOTS = 2**17  # 8 bytes each; two clients that share one by chance share a limit


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
