"""The first page: which releases answer and why, how production goes, and what wants attention."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any, Literal

import numpy as np
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from serve.log.tables import IS_ANSWER, Check, campaigns, predictions
from serve.releases.ledger import Act, act_of, time_of
from serve.web.console import Console, TheConsole

RECENT = 1_000  # answers, at most, that say how fast answers are
MINUTES = 10  # that they go back, at most
CAMPAIGNS = 5  # the newest
CHECK_HOURS = 36  # of a check a day, until it counts as missing
# reason of a check -> section of the runbook
RUNBOOK = {
    "input_drift": "churninputdrift",
    "prediction_drift": "churnpredictiondrift",
    "more_missing": "churndataquality",
    "outside": "churndataquality",
    "unseen": "churnunseenlevels",
    "estimated_auc": "churnestimatedloss",
    "realised_auc": "churnrealisedloss",
    "concept_drift": "churnconceptdrift",
    "calibration_drift": "churncalibrationdrift",
    "selected_outcomes": "churnoutcomesselected",
    "offers_without_control": "churnofferswithoutcontrol",
    "too_few_customers": "churnmonitoringunknown",
}


@dataclass(frozen=True)
class Answering:
    """A release at work, and the act that gave it its role."""

    role: Literal["champion", "challenger", "shadow"]
    version: str
    model: str
    share: float  # of the customers
    since: datetime
    by: str
    reason: str


@dataclass(frozen=True)
class Checked:
    """The last check of production."""

    at: datetime
    model_version: str
    verdict: str


@dataclass(frozen=True)
class Traffic:
    """Of the last answers, at most a thousand and of ten minutes."""

    answers: int
    per_minute: float
    median_ms: float
    p99_ms: float
    last: datetime


@dataclass(frozen=True)
class LogState:
    """Where answers are kept; the spool stands in for a database that is down."""

    status: Literal["ready", "degraded", "unready"]
    reason: str
    spool_bytes: int
    spool_limit: int


@dataclass(frozen=True)
class Attention:
    """A sentence, how bad it is, and the section of the runbook that says what to do."""

    level: Literal["warn", "breach", "unknown"]
    text: str
    section: str


@dataclass(frozen=True)
class Started:
    """A campaign, and when its first contact came."""

    name: str
    since: datetime


@dataclass(frozen=True)
class Overview:
    answering: list[Answering]
    checked: Checked | None
    traffic: Traffic | None
    log: LogState
    attention: list[Attention]
    campaigns: list[Started]


def overview(console: TheConsole) -> Overview:
    """What answers, what the last check of production found, and what wants attention."""
    service = console.service
    status, reason = service.log.state()
    spool = service.log.spool
    check = service.log.check
    try:
        traffic, started = recent_answers(console), newest_campaigns(console)
    except (SQLAlchemyError, OSError):  # the log's state says so
        traffic, started = None, []
    return Overview(
        answering=list(answering(console)),
        checked=check and Checked(check.at, check.model_version, check.verdict),
        traffic=traffic,
        log=LogState(status, reason, spool.size, spool.limit),
        attention=[*of_service(status, reason, service.live.problem), *of_check(check, datetime.now(UTC))],
        campaigns=started,
    )


def answering(console: Console) -> Iterator[Answering]:
    live, acts = console.service.live, console.service.store.history()
    for model in live.models:
        share = live.share if live.challenger else 0.0
        shares = {"champion": 1 - share, "challenger": share, "shadow": 0.0}
        act = role_act(acts, model.arm)
        yield Answering(
            model.arm, model.version, model.release.card["model"], shares[model.arm], time_of(act), act["who"],
            act["reason"],
        )  # fmt: skip


def role_act(acts: Sequence[Act], arm: str) -> Act:
    """The act by which the release of that role got it."""
    return act_of(acts, *(("challenger", "share") if arm == "challenger" else (arm,)))


def recent_answers(console: Console) -> Traffic | None:
    """None where there was no answer in the last minutes."""
    c, now = predictions.c, datetime.now(UTC)
    newest = select(c.at, c.latency_ms).where(IS_ANSWER).order_by(c.id.desc()).limit(RECENT)
    with console.engine.connect() as connection:
        rows = connection.execute(newest).all()
    recent = list(takewhile(lambda row: row.at > now - timedelta(minutes=MINUTES), rows))
    if not recent:
        return None
    whole = len(recent) < len(rows) or len(rows) < RECENT  # the span is the minutes, not the number of answers
    minutes = MINUTES if whole else max((now - recent[-1].at).total_seconds(), 1e-3) / 60
    median, p99 = np.quantile([row.latency_ms for row in recent], [0.5, 0.99]).tolist()
    return Traffic(len(recent), len(recent) / minutes, median, p99, recent[0].at)


def newest_campaigns(console: Console) -> list[Started]:
    c = campaigns.c
    with console.engine.connect() as connection:
        rows = connection.execute(select(c.name, c.received_at).order_by(c.received_at.desc()).limit(CAMPAIGNS))
        return [Started(row.name, row.received_at) for row in rows]


def of_service(status: str, reason: str, problem: str) -> Iterator[Attention]:
    if status != "ready":
        yield Attention("breach", reason, "churnlogdown")
    if problem:
        yield Attention("breach", problem, "churnreleaserefused")


def of_check(check: Check | None, now: datetime) -> Iterator[Attention]:
    if check is None:
        yield Attention("unknown", "Production was not checked yet: python -m monitoring.check", "churnmonitoringstale")
        return
    if now - check.at > timedelta(hours=CHECK_HOURS):
        yield Attention("unknown", f"The last check is of {check.at:%Y-%m-%d}", "churnmonitoringstale")
    reasons: list[dict[str, Any]] = check.found.get("reasons", [])
    for reason in reasons:
        yield Attention(reason["level"], reason["words"], RUNBOOK.get(reason["id"], "churncheckfails"))
