"""The checks of production that the log keeps: those of a range of days, thinned so that a page stays small."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from fastapi import Query
from pydantic import BeforeValidator
from sqlalchemy import select

from churn.reasons import LEVELS
from serve.log.tables import CLOCK_SKEW, checks
from serve.releases.ledger import Act, retrainings, time_of
from serve.web.charts import Event
from serve.web.console import Console

DAYS = 90  # that a page shows by default
MAX_READ = 20_000  # checks whose verdict is read: more than two years of one an hour
MAX_SHOWN = 120

FIRST, LAST = date(2000, 1, 1), date(2100, 1, 1)  # what lies beyond is brought here


def _day(text: object) -> object:
    if isinstance(text, str) and not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):  # pydantic takes numbers as well
        raise ValueError("expected a day such as 2026-01-31")
    return text


Day = Annotated[date, BeforeValidator(_day)] | None
From = Annotated[Day, Query(alias="from", description=f"the first day in UTC; by default {DAYS} days before the last")]
To = Annotated[Day, Query(alias="to", description="the last day in UTC; by default today")]


@dataclass(frozen=True)
class Range:
    """Days in UTC, both included, and how many checks there are of them."""

    start: datetime
    end: datetime
    checks: int
    shown: int  # of each stretch of time the worst one

    @property
    def days(self) -> tuple[str, str]:
        """As the form and links have them."""
        return f"{self.start:%Y-%m-%d}", f"{self.end:%Y-%m-%d}"


@dataclass(frozen=True)
class Shown:
    """Parts of one check: `found` holds those that were asked for, {} where it lacks them."""

    at: datetime
    model_version: str
    verdict: str
    found: Mapping[str, Any]

    def part(self, name: str) -> Mapping[str, Any]:
        return self.found.get(name) or {}


def read_checks(
    console: Console, first: date | None, last: date | None, parts: Mapping[str, Sequence[str]]
) -> tuple[Range, list[Shown]]:
    """Checks of these days, the oldest first; `parts`: name -> keys that lead to it in the report."""
    start, end = bounds(first, last)
    c = checks.c
    within = (c.at >= start) & (c.at <= min(end, datetime.now(UTC) + CLOCK_SKEW))
    columns = [c.found[tuple(keys)].label(name) for name, keys in parts.items()]
    with console.engine.connect() as connection:
        newest = select(c.at, c.verdict).where(within).order_by(c.at.desc()).limit(MAX_READ)
        rows = connection.execute(newest).all()[::-1]
        times = thinned([(row.at, row.verdict) for row in rows])
        query = select(c.at, c.model_version, c.verdict, *columns).where(c.at.in_(times)).order_by(c.at)
        shown = [
            Shown(row[0], row[1], row[2], dict(zip(parts, row[3:], strict=True))) for row in connection.execute(query)
        ]
    return Range(start, end, len(rows), len(shown)), shown


def last_found(console: Console, at: datetime) -> dict[str, Any]:
    """The whole report of the check of that moment."""
    with console.engine.connect() as connection:
        found: dict[str, Any] = connection.scalars(select(checks.c.found).where(checks.c.at == at)).one()
    return found


def bounds(first: date | None, last: date | None) -> tuple[datetime, datetime]:
    """From the first moment of a day to the last one of another, whichever of the two is the earlier."""
    last = last or datetime.now(UTC).date()
    last = min(max(last, FIRST), LAST)
    first, last = sorted((min(max(first or last - timedelta(days=DAYS), FIRST), LAST), last))
    return datetime.combine(first, time.min, UTC), datetime.combine(last, time.max, UTC)


def thinned(verdicts: Sequence[tuple[datetime, str]]) -> list[datetime]:
    """Of so many neighbours the last one with the worst verdict; the newest check always."""
    group = -(-len(verdicts) // MAX_SHOWN) or 1
    chosen = []
    for begin in range(0, len(verdicts), group):
        chosen.append(max(verdicts[begin : begin + group], key=lambda check: (LEVELS.index(check[1]), check[0]))[0])
    return sorted({*chosen, *(at for at, _ in verdicts[-1:])})


def releases_between(acts: Sequence[Act], start: datetime, end: datetime) -> list[Event]:
    """Promotions, rollbacks and retrainings of these days."""
    trained = [id(act) for act in retrainings(acts)]
    events = []
    for act in acts:
        if not start <= (at := time_of(act)) <= end:
            continue
        if act["act"] == "promote":
            events.append(Event(at, "P", f"{act['version']} was promoted"))
        elif act["act"] == "rollback":
            events.append(Event(at, "B", f"rolled back to {act['state']['champion']}"))
        elif id(act) in trained:
            events.append(Event(at, "R", f"{act['version']} came from a retraining"))
    return events
