"""Receipts of erasures: a file for each, without personal data, that says what was removed and what could not be.

The customer is in it as a salted, slow hash of the id (scrypt, RFC 7914): with the id one can tell whether a receipt is
of that customer, without it one must try ids, each for as long as COST asks for. A folder's receipts have one salt.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import scrypt
from pathlib import Path
from typing import TypedDict

from churn.script import InputError
from serve.log.spool import replace

COST = 2**16  # of scrypt, with blocks of 1 KiB: 64 MiB and a fifth of a second for a guess
BLOCK = 8


class Customer(TypedDict):
    """Whom a receipt is of: scrypt(id, salt, cost), in hexadecimal digits."""

    scrypt: str
    salt: str
    cost: int


class Receipt(TypedDict):
    """An erasure; it has not ended where a process was killed, and then the next one of that id completes it."""

    customer: Customer
    begun: str
    ended: str | None
    found: dict[str, int]  # place -> rows that were there when it began, or came until it ended
    not_reached: dict[str, str]  # place -> what to do there


class Receipts:
    """The receipts in a folder; one erasure at a time."""

    def __init__(self, folder: Path):
        self.folder = folder

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """No other erasure meanwhile; the folder is made where it is missing."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise InputError(f"{self.folder}: another erasure is at work; wait for its end") from None
        finally:
            os.close(folder)

    def of(self, customer_id: str) -> list[tuple[Path, Receipt]]:
        """Those of that customer, the oldest first."""
        digests: dict[tuple[str, int], str] = {}
        own = []
        for path, receipt in self._all():
            salt, cost = receipt["customer"]["salt"], receipt["customer"]["cost"]
            if (salt, cost) not in digests:
                digests[salt, cost] = digest(customer_id, salt, cost)
            if receipt["customer"]["scrypt"] == digests[salt, cost]:
                own.append((path, receipt))
        return own

    def new(self, customer_id: str, found: Mapping[str, int]) -> tuple[Path, Receipt]:
        """A receipt that begins now, and the file that it will be."""
        salt = next((receipt["customer"]["salt"] for _, receipt in self._all()), os.urandom(16).hex())
        customer = Customer(scrypt=digest(customer_id, salt, COST), salt=salt, cost=COST)
        begun = datetime.now(UTC)
        receipt = Receipt(customer=customer, begun=begun.isoformat(), ended=None, found=dict(found), not_reached={})
        return self.folder / f"{begun:%Y%m%dT%H%M%S%fZ}-{customer['scrypt'][:8]}.json", receipt

    def write(self, path: Path, receipt: Receipt) -> None:
        replace(path, (json.dumps(receipt, indent=2) + "\n").encode())

    def _all(self) -> Iterator[tuple[Path, Receipt]]:
        for path in sorted(self.folder.glob("[!.]*.json")):
            try:
                receipt: Receipt = json.loads(path.read_bytes())
                customer = receipt["customer"]
                bytes.fromhex(customer["salt"]), int(customer["cost"]), customer["scrypt"]
            except (ValueError, KeyError, TypeError):
                raise InputError(f"{path} is no receipt of an erasure; choose another folder by --receipts") from None
            yield path, receipt


def digest(customer_id: str, salt: str, cost: int) -> str:
    """The customer's hash."""
    memory = 2 * 128 * cost * BLOCK
    return scrypt(customer_id.encode(), salt=bytes.fromhex(salt), n=cost, r=BLOCK, p=1, maxmem=memory, dklen=32).hex()
