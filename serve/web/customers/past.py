"""What the log holds of one customer: answers, offers and outcomes, the newest first."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from serve.log.tables import IS_ANSWER, contacts, outcomes, predictions

LISTED = 20  # of each


@dataclass(frozen=True)
class PastAnswer:
    at: datetime
    churn_probability: float
    threshold: float
    prediction: str
    model_version: str
    arm: str
    request_id: str


@dataclass(frozen=True)
class PastOffer:
    at: datetime
    campaign: str
    offered: bool  # false: held back as control


@dataclass(frozen=True)
class PastOutcome:
    observed_at: datetime
    churned: bool


@dataclass(frozen=True)
class Past:
    customer: Mapping[str, Any]  # as it was sent last
    answers: list[PastAnswer]
    offers: list[PastOffer]
    outcomes: list[PastOutcome]


def past(connection: Connection, customer_id: str) -> Past | None:
    """None where the log has no answer for the customer."""
    p, c, o = predictions.c, contacts.c, outcomes.c
    columns = p.at, p.churn_probability, p.threshold, p.prediction, p.model_version, p.arm, p.request_id
    of_customer = select(p.features, *columns).where(p.customer_id == customer_id, IS_ANSWER)
    answers = connection.execute(of_customer.order_by(p.id.desc()).limit(LISTED)).all()
    if not answers:
        return None
    offers = select(c.at, c.campaign, c.offered).where(c.customer_id == customer_id).order_by(c.at.desc())
    named = (o.customer_id == customer_id) & (o.request_id == "")
    by_request = (o.customer_id == "") & o.request_id.in_([answer.request_id for answer in answers])
    became = [
        row
        for whose in (named, by_request)
        for row in connection.execute(
            select(o.observed_at, o.churned).where(whose).order_by(o.observed_at.desc()).limit(LISTED)
        )
    ]
    return Past(
        answers[0].features,
        [PastAnswer(*answer[1:]) for answer in answers],
        [PastOffer(*offer) for offer in connection.execute(offers.limit(LISTED))],
        sorted((PastOutcome(*row) for row in became), key=lambda row: row.observed_at, reverse=True),
    )
