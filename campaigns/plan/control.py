"""The control group: selected customers who are held back by chance, so that what the offers bring can be measured."""

from hashlib import blake2b

import numpy as np
import pyarrow as pa

CHUNK = 2**17  # ids that are Python objects at once


def places(campaign: str, ids: pa.ChunkedArray) -> np.ndarray:
    """(n,) from 0 to 1: each customer's place in the draw of a campaign, always the same; ids (n,) texts.

    The first eight bytes of BLAKE2b of "CAMPAIGN:ID", as the service splits customers between champion and challenger.
    """
    salt, parts = f"{campaign}:".encode(), []
    for batch in pa.table([ids], ["id"]).to_batches(CHUNK):
        names = batch["id"].cast(pa.binary()).to_pylist()
        parts.append(b"".join([blake2b(salt + name, digest_size=8).digest() for name in names]))
    return np.frombuffer(b"".join(parts), ">u8") / 2**64
