"""Which offers reached which outcomes, as the log's contacts tell; how much an outcome counts says churn.offers."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import CTE, Connection, select

from churn.offers import Offers, no_offers
from serve.log.tables import contacts, has_table


def read_contacts(connection: Connection, answers: CTE, since: datetime | None = None) -> Sequence[Any]:
    """(id, answered, campaign, contacted, offered, share) of the contacts of these answers' customers.

    answers: has id, at and customer_id; `since`: contacts before then have no effect any more.
    """
    c = contacts.c
    begun = [] if since is None else [c.at > since]
    if not has_table(connection, contacts) or connection.scalar(select(c.at).where(*begun).limit(1)) is None:
        return ()
    columns = answers.c.id, answers.c.at.label("answered"), c.campaign, c.at.label("contacted"), c.offered, c.share
    reached = select(*columns).join(contacts, c.customer_id == answers.c.customer_id).where(*begun)
    return connection.execute(reached.order_by(answers.c.id, c.at)).all()


def offers(ids: Sequence[str], observed: np.ndarray, rows: Sequence[Any], lasts: timedelta) -> Offers:
    """What reached the outcomes of the answers `ids` (n,), observed (n,) in UTC as datetime64, NaT where unknown."""
    if not rows:
        return no_offers(len(ids))
    place = {name: i for i, name in enumerate(ids)}
    rows = [row for row in rows if row.id in place]
    answer = np.array([place[row.id] for row in rows], dtype=np.intp)
    answered, contacted = (_times(rows, name) for name in ("answered", "contacted"))
    reached = (contacted <= observed[answer]) & (contacted + np.timedelta64(lasts) > answered)
    answer, (offered, share) = answer[reached], (_values(rows, name)[reached] for name in ("offered", "share"))
    names = np.array([row.campaign for row in rows], dtype=object)[reached]
    _, campaign = np.unique(names.astype("str"), return_inverse=True)
    # drawn once for each campaign, however many letters came of it
    _, draws = np.unique(np.stack([answer, campaign]), axis=1, return_index=True)
    result = no_offers(len(ids))
    np.multiply.at(result.spared, answer[draws], 1 - share[draws])
    result.offered[answer[offered > 0]] = True
    return result


def _times(rows: Sequence[Any], name: str) -> np.ndarray:
    return np.array([getattr(row, name).replace(tzinfo=None) for row in rows], dtype="datetime64[us]")


def _values(rows: Sequence[Any], name: str) -> np.ndarray:
    return np.array([getattr(row, name) for row in rows], dtype="float64")
