"""Which outcome belongs to which answer: one rule, for the gate, the check, the A/B and shadow reports, retraining
and the `matched` of /feedback.

An outcome belongs to an answer when it names the answer's request_id or customer_id and was observed when the answer
was given or later: what was known before is no test of a prediction. Of several outcomes the one received last
counts, so that a correction does, whatever moment it names; of those the one observed last, then the customer's.

Every report counts a customer once. Reports of a window take the first answer in it, because a customer who is
asked about every day has the same story every day; the gate takes the outcome received last and the last answer that it
belongs to, the customer as it was nearest to the outcome.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import numpy as np
from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Engine,
    FromClause,
    Integer,
    Select,
    case,
    cast,
    func,
    select,
    union,
)

from churn.offers import uncovered
from serve.log.contacts import offers, read_contacts
from serve.log.tables import IS_ANSWER, NAMES, first_id, outcomes, predictions

MAX_CUSTOMERS = 20_000  # of the gate, the newest
MAX_NAMES = 500  # of one query


def with_outcomes(
    answers: CTE,
    *columns: ColumnElement[Any],
    of_outcome: Sequence[Literal["observed_at", "received_at", "request_id"]] = ("observed_at",),
    before: datetime | ColumnElement[Any] | None = None,
) -> Select[Any]:
    """Those columns of `answers` (which have id, at, customer_id, request_id), in the order of ids, then churned and
    columns of the outcome that counts, NULL where there is none. With `before`, a time or a column of `answers`, only
    outcomes observed before then.
    """
    counted = {name: outcomes.alias(f"of_{name}") for name in NAMES}
    chosen = _later(counted["customer_id"], counted["request_id"], of_outcome)
    statement = select(*columns, *chosen).select_from(answers)
    for name, other in (NAMES, NAMES[::-1]):
        known, o = outcomes.alias(f"known_of_{name}").c, counted[name].c
        # a seek in the primary key for each row: a join of all outcomes of all rows would have to be sorted
        in_time = [] if before is None else [known.observed_at < before]
        belongs = known[name] == answers.c[name], known[other] == "", known.observed_at >= answers.c.at, *in_time
        newest = known.received_at.desc(), known.observed_at.desc()
        last = select(known.observed_at).where(*belongs).order_by(*newest).limit(1)
        counts = (o[name] == answers.c[name]) & (o[other] == "") & (o.observed_at == last.scalar_subquery())
        statement = statement.outerjoin(counted[name], counts & (answers.c[name] != ""))
    return statement.order_by(answers.c.id)


def _later(customer: FromClause, request: FromClause, names: Sequence[str]) -> list[ColumnElement[Any]]:
    """churned and columns of the outcome received last, then of the one observed last, then of the customer's."""
    a, b = customer.c, request.c
    is_later = (b.received_at > a.received_at) | ((b.received_at == a.received_at) & (b.observed_at > a.observed_at))
    is_request = is_later | a.observed_at.is_(None)
    churned = case((is_request, cast(b.churned, Integer)), else_=cast(a.churned, Integer))
    return [churned.label("churned"), *(case((is_request, b[name]), else_=a[name]).label(name) for name in names)]


class Labelled(NamedTuple):
    """Customers as they were answered, and what became of them."""

    customers: list[dict[str, Any]]
    churned: list[bool]
    weights: np.ndarray  # (n,) how often each counts
    uncovered: float  # share of them whom offers reached, and nobody stands for


def labelled(engine: Engine, since: datetime, lasts: timedelta, answered: datetime | None = None) -> Labelled:
    """The newest customers whose outcome came in after `since`; offers have an effect for `lasts`.

    With `answered`, only answers from then on. Each customer counts once, with the outcome received last and the last
    answer that it belongs to; an answer without a customer_id is a customer of its own.
    """
    p, o = predictions.c, outcomes.c
    news = [
        select(p.id)
        .join(outcomes, (o[name] == p[name]) & (o[name] != "") & (p.at <= o.observed_at))
        .where(IS_ANSWER, o.received_at > since, *([p.id >= first_id(answered)] if answered else []))
        for name in NAMES
    ]
    wanted = p.id, p.at, p.customer_id, p.request_id, p.features, p.churn_probability
    answers = select(*wanted).where(p.id.in_(union(*news))).cte("answers")
    columns = [answers.c[name] for name in ("id", "customer_id", "features", "churn_probability")]
    statement = with_outcomes(answers, *columns, of_outcome=["observed_at", "received_at"])
    last: dict[str, Any] = {}
    with engine.connect() as connection:
        for row in connection.execute(statement):  # in the order of their ids
            unit = row.customer_id or row.id
            if unit not in last or _word(row) >= _word(last[unit]):
                last[unit] = row
        reached = read_contacts(connection, answers)
    news_alone = (row for row in last.values() if row.received_at > since)
    newest = sorted(news_alone, key=lambda row: str(row.id))[-MAX_CUSTOMERS:]
    observed = np.array([row.observed_at.replace(tzinfo=None) for row in newest], dtype="datetime64[us]")
    found = offers([row.id for row in newest], observed, reached, lasts)
    missed = uncovered(np.array([row.churn_probability for row in newest]), found.offered, found.spared)
    counted = [(row, weight) for row, weight in zip(newest, found.weights.tolist(), strict=True) if weight]
    return Labelled(
        [row.features for row, _ in counted],
        [bool(row.churned) for row, _ in counted],
        np.array([weight for _, weight in counted]),
        missed,
    )


def _word(row: Any) -> tuple[datetime, datetime]:
    return row.received_at, row.observed_at


def matched(connection: Connection, sent: Sequence[Mapping[str, Any]]) -> int:
    """How many of the outcomes {customer_id, request_id, observed_at} belong to an answer of the log."""
    first = {name: _first_answers(connection, name, {o[name] for o in sent} - {""}) for name in NAMES}

    def belongs(outcome: Mapping[str, Any], name: str) -> bool:
        at = first[name].get(outcome[name])
        return at is not None and at <= outcome["observed_at"]

    return sum(any(belongs(outcome, name) for name in NAMES) for outcome in sent)


def _first_answers(connection: Connection, name: str, values: set[str]) -> dict[str, datetime]:
    """customer_id or request_id -> when it was first answered."""
    column, ordered = predictions.c[name], sorted(values)
    found: dict[str, datetime] = {}
    for start in range(0, len(ordered), MAX_NAMES):
        some = column.in_(ordered[start : start + MAX_NAMES])
        rows = connection.execute(select(column, func.min(predictions.c.at)).where(IS_ANSWER, some).group_by(column))
        found |= {value: at for value, at in rows}  # noqa: C416, rows are no pairs to mypy
    return found
