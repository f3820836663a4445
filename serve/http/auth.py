"""API keys, compared in constant time."""

import hmac
from collections.abc import Sequence
from hashlib import blake2b


class ApiKeys:
    """Several keys are valid at once, so that one can be replaced without downtime; each has its owner's name or ""."""

    def __init__(self, keys: Sequence[str], names: Sequence[str] = ()):
        self.digests = [_digest(key.encode()) for key in keys]
        self.names = [*names, *[""] * (len(keys) - len(names))]

    def __bool__(self) -> bool:
        return bool(self.digests)

    def accept(self, key: bytes) -> bool:
        """Whether `key` is valid."""
        return self.owner(key) is not None

    def owner(self, key: bytes) -> str | None:
        """The name that goes with `key`, None where it is not valid; the time taken shows not how close it was."""
        digest_of_key = _digest(key)
        # a list, not any: all are compared, also after a match
        matches = [hmac.compare_digest(digest_of_key, digest) for digest in self.digests]
        return self.names[matches.index(True)] if any(matches) else None


def _digest(key: bytes) -> bytes:
    return blake2b(key, digest_size=32).digest()
