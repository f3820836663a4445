"""The campaigns of the log, and what each was planned to bring and has brought."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import Field
from sqlalchemy import Connection, select, text

from serve.http.middleware import Refused
from serve.log.tables import CAMPAIGN, campaigns, contacts
from serve.web.charts import Chart, Series, over_time
from serve.web.console import Console, TheConsole, is_there
from serve.web.processes import Failed

LISTED = 20  # campaigns of a page
COUNTED = 1_000  # contacts of each that the list looks at
WIDEST = 4  # times the last day's interval: the first days know little, and are cut off
MISSING = (
    "The folder campaigns/ or its packages are not in this image: python -m campaigns result {} says it elsewhere."
)
MEASURES = {  # key of the report -> name, format, how long its interval holds
    "churn_avoided": ("Churn avoided", ".2%", "for one look"),
    "churn_avoided_at_all_looks": ("Churn avoided", ".2%", "at all looks"),
    "offer_success": ("Share of leavers kept", ".1%", "for one look"),
    "profit_per_contact": ("Incremental profit per contact", ",.2f", "for one look"),
    "profit_per_contact_at_all_looks": ("Incremental profit per contact", ",.2f", "at all looks"),
    "profit_per_1000_contacts": ("Incremental profit per 1,000 contacts", ",.0f", "at all looks"),
    "profit": ("Incremental profit in all", ",.0f", "at all looks"),
}
TONES = {"profitable": "good", "unprofitable": "bad", "invalid": "warn"}

CampaignName = Annotated[str, Field(pattern=CAMPAIGN, max_length=64)]
Name = Annotated[CampaignName, Path()]


@dataclass(frozen=True)
class Counted:
    """Contacts of a campaign, as far as the list looks at them."""

    offered: int
    control: int
    share: float | None  # the chance with which an offer was drawn, where it is one for all
    is_all: bool  # false: there are more


@dataclass(frozen=True)
class Listed:
    name: str
    since: datetime  # when its first contact came in
    contacts: Counted
    expected_profit: float | None  # by its plan


@dataclass(frozen=True)
class Campaigns:
    """The newest campaigns; the next page goes on `after` one."""

    campaigns: list[Listed]
    after: str | None


@dataclass(frozen=True)
class Measure:
    name: str
    shape: str
    value: float | None
    low: float | None
    high: float | None
    holds: str

    @property
    def text(self) -> str:
        if self.value is None:
            return "–"
        if self.low is None or self.high is None:
            return f"{self.value:+{self.shape}}"
        return f"{self.value:+{self.shape}} ({self.low:+{self.shape}} to {self.high:+{self.shape}})"


@dataclass(frozen=True)
class Side:
    """Customers who were made an offer, or who were held back."""

    name: str
    customers: int
    known: int  # with an outcome that counts
    churn_rate: float | None

    @property
    def churned(self) -> str:
        return "–" if self.churn_rate is None else f"{self.churn_rate:.1%}"


@dataclass(frozen=True)
class Fifth:
    """Customers of neighbouring scores."""

    low: float
    high: float
    customers: int
    churn_avoided: Measure


@dataclass(frozen=True)
class ByDay:
    """Incremental profit per contact by the outcomes up to that day, with its interval at all looks."""

    day: str
    profit: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Result:
    """What python -m campaigns result says."""

    verdict: str
    text: str
    sides: list[Side]
    measures: list[Measure]
    fifths: list[Fifth]
    days: list[ByDay]
    hidden: int  # held back, and made an offer all the same
    hidden_customers: list[str]  # the first of them


@dataclass(frozen=True)
class Campaign:
    name: str
    since: datetime
    contacts: Counted
    expected: dict[str, float] | None  # by its plan
    state: Literal["known", "running", "failed", "missing"]
    problem: str
    result: Result | None

    @property
    def tone(self) -> str:
        return TONES.get(self.result.verdict, "") if self.result else ""

    @property
    def side_rows(self) -> list[list[str]]:
        sides = self.result.sides if self.result else []
        return [[one.name, f"{one.customers:,}", f"{one.known:,}", one.churned] for one in sides]

    @property
    def measure_rows(self) -> list[list[str]]:
        return [[one.name, one.text, one.holds] for one in (self.result.measures if self.result else [])]

    @property
    def fifth_rows(self) -> list[list[str]]:
        fifths = self.result.fifths if self.result else []
        return [[f"{one.low:.3f} to {one.high:.3f}", f"{one.customers:,}", one.churn_avoided.text] for one in fifths]

    @property
    def chart(self) -> Chart | None:
        days = self.result.days if self.result else []
        if not (known := [day for day in days if day.low is not None and day.high is not None]):
            return None
        at = [datetime.fromisoformat(day.day).replace(tzinfo=UTC) for day in known]
        lows, highs = [day.low or 0.0 for day in known], [day.high or 0.0 for day in known]
        width, middle = WIDEST * (highs[-1] - lows[-1]), (highs[-1] + lows[-1]) / 2
        line = Series("profit per contact", [t.timestamp() for t in at], [day.profit for day in known], lows, highs)
        end = max(at[-1], at[0] + timedelta(days=1))
        within = max(min(lows), middle - width / 2), min(max(highs), middle + width / 2)
        label = "Incremental profit per contact by day"
        return over_time(label, [line], at[0], end, ",.2f", (0.0, "no effect"), within=within)


def list_campaigns(
    console: TheConsole,
    after: Annotated[CampaignName | None, Query(description="a campaign; earlier ones are listed")] = None,
) -> Campaigns:
    """The campaigns of the log, the newest first, with the contacts of each as far as they are quickly counted."""
    c = campaigns.c
    query = select(c.name, c.received_at, c.expected).order_by(c.received_at.desc(), c.name.desc()).limit(LISTED + 1)
    with console.engine.connect() as connection:
        if after:
            at = connection.scalar(select(c.received_at).where(c.name == after))
            if at is None:
                raise Refused(404, "campaign", "the log has no campaign of that name")
            query = query.where((c.received_at < at) | ((c.received_at == at) & (c.name < after)))
        rows = connection.execute(query).all()
        stop_at_limits(connection)
        made = [
            Listed(row.name, row.received_at, counted(connection, row.name), (row.expected or {}).get("profit"))
            for row in rows[:LISTED]
        ]
    return Campaigns(made, made[-1].name if len(rows) > LISTED else None)


def stop_at_limits(connection: Connection) -> None:
    """Have PostgreSQL walk an index up to a LIMIT, in this transaction: a bitmap is of a whole campaign first."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL enable_bitmapscan = off"))
        connection.execute(text("SET LOCAL enable_seqscan = off"))


def counted(connection: Connection, name: str) -> Counted:
    c = contacts.c
    query = select(c.offered, c.share).where(c.campaign == name).limit(COUNTED + 1)
    rows = connection.execute(query).all()
    seen = rows[:COUNTED]
    shares = {row.share for row in seen}
    offered = sum(row.offered for row in seen)
    return Counted(offered, len(seen) - offered, shares.pop() if len(shares) == 1 else None, len(rows) <= COUNTED)


def one_campaign(console: TheConsole, name: Name) -> Campaign:
    """What a campaign was planned to bring, and what it has brought by its outcomes, with the verdict."""
    with console.engine.connect() as connection:
        row = connection.execute(select(campaigns).where(campaigns.c.name == name)).one_or_none()
        if row is None:
            raise Refused(404, "campaign", "the log has no campaign of that name")
        stop_at_limits(connection)
        reach = counted(connection, name)
    expected = {key: value for key, value in (row.expected or {}).items() if isinstance(value, int | float)}
    state, problem, result = result_of(console, name)
    return Campaign(name, row.received_at, reach, expected or None, state, problem, result)


def result_of(
    console: Console, name: str
) -> tuple[Literal["known", "running", "failed", "missing"], str, Result | None]:
    if not (is_there("campaigns") and is_there("pyarrow")):
        return "missing", MISSING.format(name), None
    try:
        report = console.processes.json_of("campaigns", "result", name, "--json")
    except Failed as error:
        return "failed", str(error), None
    return ("running", "", None) if report is None else ("known", "", read(report))


def read(report: Mapping[str, Any]) -> Result:
    """The command's report, as the page has it."""
    return Result(
        verdict=report["verdict"],
        text=report["words"],
        sides=[Side(name, **report[key]) for key, name in (("offered", "Made an offer"), ("control", "Held back"))],
        measures=[measure(report, key, *named) for key, named in MEASURES.items()],
        fifths=[
            Fifth(one["low"], one["high"], one["customers"], measure(one, "churn_avoided", *MEASURES["churn_avoided"]))
            for one in report["fifths"]
        ],
        days=[ByDay(*(day[key] for key in ("day", "profit", "low", "high"))) for day in report["days"]],
        hidden=report["checks"]["hidden"],
        hidden_customers=report["checks"]["hidden_customers"],
    )


def measure(report: Mapping[str, Any], key: str, name: str, shape: str, holds: str) -> Measure:
    return Measure(name, shape, report[key], report[f"{key}_low"], report[f"{key}_high"], holds)
