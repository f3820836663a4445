"""Old rows removed."""

import logging
from datetime import datetime

from sqlalchemy import Engine, delete, select, tuple_

from serve.log.database import write_lock
from serve.log.tables import checks, contacts, first_id, has_table, outcomes, predictions

log = logging.getLogger("serve.log")

STEP_ROWS = 1_000  # rows that one transaction removes


def prune(engine: Engine, before: datetime) -> dict[str, int]:
    """Remove predictions and checks made, and outcomes and contacts received, before that moment; how many of each.

    In steps, so that the service writes in between.
    """
    turn, removed = write_lock(engine), {}
    is_old = {
        predictions: predictions.c.id < first_id(before),
        outcomes: outcomes.c.received_at < before,
        contacts: contacts.c.received_at < before,
        checks: checks.c.at < before,
    }
    for table in [table for table in is_old if table in (predictions, outcomes) or has_table(engine, table)]:
        keys = list(table.primary_key)
        old = select(*keys).where(is_old[table]).limit(STEP_ROWS)
        removed[table.name] = 0
        while True:
            with turn(), engine.begin() as connection:
                n = connection.execute(delete(table).where(tuple_(*keys).in_(old))).rowcount
            removed[table.name] += n
            if n < STEP_ROWS:
                break
            log.info("%d %s removed so far", removed[table.name], table.name)
    return removed
