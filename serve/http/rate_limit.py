"""A rate limit shared by all workers."""

import fcntl
import mmap
import os
import struct
import time
from hashlib import blake2b
from pathlib import Path

from serve.settings import Rate

SLOTS = 2**17  # 8 bytes each; two clients in one slot by chance share a limit


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
            os.posix_fallocate(self.file, 0, 8 * SLOTS)  # else a full disk kills the process at a write
            self.due = mmap.mmap(self.file, 8 * SLOTS)

    def wait(self, client: bytes) -> float:
        """Return 0 and count the request if `client` is below its rate, else the seconds until it may try again."""
        offset = 8 * (int.from_bytes(blake2b(client, digest_size=8).digest()) % SLOTS)
        if self.file is None:
            return self._wait(offset)
        fcntl.lockf(self.file, fcntl.LOCK_EX, 8, offset)  # waits microseconds, for other workers on this slot
        try:
            return self._wait(offset)
        finally:
            fcntl.lockf(self.file, fcntl.LOCK_UN, 8, offset)

    def _wait(self, offset: int) -> float:
        now = time.monotonic()  # one clock for all processes of the machine
        due: float = struct.unpack_from("d", self.due, offset)[0]
        if not now < due < now + 2 * self.burst:  # long past, or left by the clock before a reboot
            due = now
        due += self.interval
        if due - now > self.burst + 1e-6:  # sums of intervals are not exact
            return due - now - self.burst
        struct.pack_into("d", self.due, offset, due)
        return 0.0
