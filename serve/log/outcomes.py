"""Logged customers whose outcome is known: what production says about a model."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, and_, func, select

from serve.log.tables import ANSWERED, first_id, outcomes, predictions

MAX_CUSTOMERS = 20_000  # customers at most


def labelled(
    engine: Engine, since: datetime, answered: datetime | None = None
) -> tuple[list[dict[str, Any]], list[bool]]:
    """The newest customers whose outcome came in after that moment, as they were answered, and whether they churned.

    With `answered` those alone who were answered from then on.

    Each customer counts once: with the last outcome, and the last answer before it was observed. Whoever was answered
    without a customer_id is another customer each time.
    """
    o, p = outcomes.c, predictions.c
    of_customer = _last(and_(o.customer_id != "", o.customer_id == p.customer_id, p.at <= o.observed_at), o.customer_id)
    of_request = _last(and_(o.request_id != "", o.request_id == p.request_id), o.request_id)
    found: dict[tuple[str, str], Any] = {}
    with engine.connect() as connection:
        for asked in (of_customer, of_request):
            in_time = [p.id >= first_id(answered)] if answered else []
            told = asked.where(o.received_at > since, *in_time).subquery()
            for row in connection.execute(told.select().where(told.c.place == 1)):
                who = (row.customer_id, "") if row.customer_id else ("", row.id)  # of several requests of one customer
                if who not in found or (row.observed_at, row.id) > (found[who].observed_at, found[who].id):
                    found[who] = row
    newest = sorted(found.values(), key=lambda row: str(row.id))[-MAX_CUSTOMERS:]
    return [row.features for row in newest], [row.churned for row in newest]


def _last(match: ColumnElement[bool], name: ColumnElement[Any]) -> Select[Any]:
    """Outcomes beside the answers they belong to; place 1 is the last of each name."""
    o, p = outcomes.c, predictions.c
    place = func.row_number().over(partition_by=name, order_by=(o.observed_at.desc(), p.id.desc())).label("place")
    columns = (p.id, p.customer_id, p.features, o.churned, o.observed_at, place)
    return select(*columns).select_from(outcomes.join(predictions, match)).where(ANSWERED)
