"""The experiment behind a campaign: who was made an offer and who was held back, and what became of both."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, literal, select

from churn.script import InputError
from serve.log.outcomes import with_outcomes
from serve.log.tables import IS_ANSWER, campaigns, contacts, has_table, moved, predictions


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The customers of one campaign, each with its first contact; arrays are (n,)."""

    name: str
    expected: dict[str, Any] | None  # what its plan expects
    customer: np.ndarray  # ids
    at: np.ndarray  # datetime64, in UTC
    offered: np.ndarray  # bool
    share: np.ndarray  # the chance with which an offer was drawn
    p: np.ndarray  # P(churned) by the last answer before; NaN without one
    churned: np.ndarray  # 1, 0, or NaN where not known
    observed: np.ndarray  # datetime64, NaT where not known
    hidden: np.ndarray  # bool: held back here, and made an offer all the same, or by another campaign

    def of(self, places: np.ndarray) -> "Experiment":
        """Those of its customers."""
        arrays = {key: value[places] for key, value in vars(self).items() if isinstance(value, np.ndarray)}
        return replace(self, **arrays)


class Listed(NamedTuple):
    """A campaign as the log has it."""

    name: str
    since: datetime | None
    offered: int
    control: int


def read_list(connection: Connection) -> list[Listed]:
    """Every campaign, the newest first."""
    if not has_table(connection, campaigns):
        return []
    c = contacts.c
    sides = [func.count(case((c.offered.is_(side), c.customer_id)).distinct()) for side in (True, False)]
    rows = (
        select(campaigns.c.name, func.min(c.at).label("since"), *sides)
        .outerjoin(contacts, c.campaign == campaigns.c.name)
        .group_by(campaigns.c.name)
        .order_by(func.min(c.at).desc(), campaigns.c.name)
    )
    return [Listed(*row) for row in connection.execute(rows)]


def read_experiment(connection: Connection, name: str, lasts: timedelta) -> Experiment:
    """The campaign's customers; an outcome counts that was observed after the contact, while its effect `lasts`."""
    known = [one.name for one in read_list(connection)]
    if name not in known:
        has = f"it has {known}" if known else "it has none; send contacts to /contacts, or name the list to contacted"
        raise InputError(f"the log has no campaign {name!r}; {has}")
    rows = connection.execution_options(yield_per=10_000).execute(_customers(connection, name, lasts)).all()

    def values(key: str, kind: str) -> np.ndarray:
        return np.array([getattr(row, key) for row in rows], dtype=kind)

    def times(key: str) -> np.ndarray:
        found = [getattr(row, key) for row in rows]
        return np.array([at and at.astimezone(UTC).replace(tzinfo=None) for at in found], dtype="datetime64[us]")

    return Experiment(
        name=name,
        expected=connection.scalar(select(campaigns.c.expected).where(campaigns.c.name == name)),
        customer=values("customer_id", "object"),
        at=times("at"),
        offered=values("offered", "bool"),
        share=values("share", "float64"),
        p=values("p", "float64"),
        churned=values("churned", "float64"),
        observed=times("observed_at"),
        hidden=values("hidden", "bool"),
    )


def _customers(connection: Connection, name: str, lasts: timedelta) -> Select[Any]:
    c, p = contacts.c, predictions.c
    place = func.row_number().over(partition_by=c.customer_id, order_by=c.at)
    ours = select(c.customer_id, c.at, c.offered, c.share, place.label("place")).where(c.campaign == name).cte("ours")
    until = moved(connection, ours.c.at, lasts).label("until")
    answer = (
        select(p.id)
        .where(IS_ANSWER, p.customer_id == ours.c.customer_id, p.at <= ours.c.at)
        .order_by(p.id.desc())
        .limit(1)
    )
    firsts = select(ours, until, answer.scalar_subquery().label("answer")).where(ours.c.place == 1).cte("firsts")
    other = contacts.alias("other").c
    is_hidden = (
        select(literal(1))
        .where(
            and_(other.customer_id == firsts.c.customer_id, other.offered.is_(True)),
            and_(other.at >= firsts.c.at, other.at < firsts.c.until),
        )
        .exists()
    )
    customers = (
        select(
            firsts.c.customer_id.label("id"),
            *(firsts.c[key] for key in ("customer_id", "at", "until", "offered", "share")),
            func.coalesce(p.request_id, "").label("request_id"),
            p.churn_probability.label("p"),
            case((firsts.c.offered.is_(False), case((is_hidden, 1), else_=0)), else_=0).label("hidden"),
        )
        .outerjoin(predictions, p.id == firsts.c.answer)
        .cte("customers")
    )
    columns: Sequence[ColumnElement[Any]] = [
        customers.c[key] for key in ("customer_id", "at", "offered", "share", "p", "hidden")
    ]
    return with_outcomes(customers, *columns, before=customers.c.until)
