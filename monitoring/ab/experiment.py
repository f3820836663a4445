"""The experiment behind a split: its two releases, since when they answer, and the customers in it.

The unit is the customer, with the first prediction since champion, challenger and share are what they are now: a share
that was changed in between would mix customers of different weeks (Simpson's paradox; Kohavi, Tang, Xu 2020,
Trustworthy Online Controlled Experiments).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import pandas as pd
from sqlalchemy import Connection, case, func, select

from churn.script import InputError
from monitoring.frames import ARMS, between, flagged, read_outcomes
from serve.log.tables import predictions
from serve.releases.ledger import Act, current_state, since


class Experiment(NamedTuple):
    champion: str
    challenger: str
    share: float  # of customers that the challenger answers
    since: datetime


def running(acts: Sequence[Act]) -> Experiment:
    """The split that runs, since its champion, challenger and share are what they are; acts oldest first."""
    state = current_state(acts)
    champion, challenger, share = state["champion"], state["challenger"], state["share"]
    if not champion or not challenger or not share:
        raise InputError("no split is running; start one with: python -m serve.releases split VERSION --share 0.1")
    return Experiment(champion, challenger, share, since(acts, "champion", "challenger", "share"))


def read_customers(connection: Connection, experiment: Experiment, lasts: timedelta) -> pd.DataFrame:
    """A row for each customer of the experiment, in the order of their first predictions in it.

    challenger (0 or 1: the arm that came first), switched (1: the other came too), p, flagged, churned (NaN where not
    known yet), observed_at, offered and spared. Predictions without a customer_id are left out: the split goes by it.
    """
    c = predictions.c
    ours = case((c.arm == "champion", experiment.champion), else_=experiment.challenger) == c.model_version
    firsts = (
        select(func.min(c.id).label("id"), case((func.min(c.arm) != func.max(c.arm), 1), else_=0).label("switched"))
        .where(between(experiment.since), c.arm.in_(ARMS), ours, c.customer_id != "")
        .group_by(func.coalesce(c.customer_id, ""))  # not by the index, which would seek every row by itself
        .subquery()
    )
    rows = (
        select(
            *(c.id, c.at, c.customer_id, c.request_id, c.churn_probability.label("p")),
            case((c.arm == "challenger", 1), else_=0).label("challenger"),
            flagged(c.prediction).label("flagged"),
            firsts.c.switched,
        )
        .join(firsts, firsts.c.id == c.id)
        .cte("customers")
    )
    names = ("challenger", "switched", "p", "flagged")
    return read_outcomes(connection, rows, names, lasts, experiment.since).drop(columns="id")
