"""What a folder holds as an in-toto Statement v1, and its signature as a DSSE envelope."""

import base64
import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from churn.script import InputError

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:churn:release-evidence:v1"
PAYLOAD = "application/vnd.in-toto+json"
WAY_OUT = "make one with: openssl genpkey -algorithm ed25519 -out key.pem"


class Signer(Protocol):
    """An Ed25519 key of the package cryptography."""

    def sign(self, message: bytes, /) -> bytes: ...

    def public_key(self) -> Any: ...


def statement(files: Mapping[str, bytes], predicate: Mapping[str, Any]) -> dict[str, Any]:
    """The files by their sha256, and what they are evidence of."""
    subject = [{"name": name, "digest": {"sha256": sha256(files[name]).hexdigest()}} for name in sorted(files)]
    return {"_type": STATEMENT, "subject": subject, "predicateType": PREDICATE, "predicate": dict(predicate)}


def read_key(path: Path) -> Signer:
    """A private Ed25519 key in PEM, without a passphrase."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # no PEM, a passphrase, another kind
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path} is no private Ed25519 key in PEM without a passphrase; {WAY_OUT}")
    return key


def key_id(public: Any) -> str:
    """sha256 of the public key in DER: openssl pkey -pubin -in public.pem -outform DER | sha256sum"""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def signed(payload: bytes, key: Signer) -> dict[str, Any]:
    """The envelope; Ed25519 draws nothing at random, so the same payload and key give the same bytes."""
    signature = {"keyid": key_id(key.public_key()), "sig": text_of(key.sign(to_sign(payload)))}
    return {"payload": text_of(payload), "payloadType": PAYLOAD, "signatures": [signature]}


def to_sign(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding of the payload and its type."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)


def text_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def as_bytes(content: Any) -> bytes:
    return json.dumps(content, indent=2, allow_nan=False).encode() + b"\n"
