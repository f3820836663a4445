"""Customers of other campaigns who were contacted lately, as the log knows them: a plan leaves them out."""

from datetime import datetime

import pyarrow as pa
from sqlalchemy import Connection, select

from serve.log.tables import contacts, has_table

CHUNK = 100_000  # rows that are objects of Python at a time


def contacted_since(connection: Connection, since: datetime, campaign: str) -> pa.ChunkedArray:
    """Ids of all whom another campaign made an offer, or held back, from then on."""
    if not has_table(connection, contacts):
        return pa.chunked_array([], pa.string())
    c = contacts.c
    lately = select(c.customer_id).where(c.at >= since, c.campaign != campaign).distinct().order_by(c.customer_id)
    found = connection.execution_options(yield_per=CHUNK).execute(lately)
    return pa.chunked_array([[name for (name,) in part] for part in found.partitions()], pa.string())
