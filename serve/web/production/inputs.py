"""One input in production: how far it moved, how it is distributed, and the customers behind its flaws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from sqlalchemy import select

from churn.features import add_features
from churn.scorer import Scorer
from serve.http.middleware import Refused
from serve.log.tables import IS_ANSWER, predictions
from serve.web.charts import Bar, Chart, Event, Series, bars, distributions, over_time
from serve.web.console import Console, TheConsole
from serve.web.production.checks import From, Range, Shown, To, last_found, read_checks, releases_between

SCANNED = 2_000  # newest answers in which flaws are looked for
LISTED = 25  # of those that have it
FLAWS = {"missing": "missing", "unseen": "a level that training never saw", "outside": "beyond the training's range"}
PARTS = {"features": ("drift", "features"), "flaws": ("quality", "features")}
PROBABILITY = "churn_probability"  # is compared like an input

Flaw = Literal["missing", "unseen", "outside"]


@dataclass(frozen=True)
class State:
    """What one check says of the input; None where it does not."""

    at: datetime
    distance: float | None
    threshold: float | None
    missing: float | None
    unseen: float | None
    outside: float | None


@dataclass(frozen=True)
class Distribution:
    """Shares of the customers in training and in production, between edges or of levels."""

    edges: list[float]
    levels: list[str]
    reference: list[float]
    current: list[float]
    low: float | None  # the training's range
    high: float | None


@dataclass(frozen=True)
class Flawed:
    """An answer to a customer whose input has the flaw."""

    at: datetime
    request_id: str
    customer_id: str | None
    value: str | float | None
    churn_probability: float


@dataclass(frozen=True)
class Behind:
    """The newest answers with a flaw, of those that were looked through."""

    flaw: Flaw
    scanned: int  # answers of the champion, the newest
    since: datetime | None  # the oldest of them
    flawed: int
    answers: list[Flawed]


@dataclass(frozen=True)
class Input:
    range: Range
    name: str
    possible: list[Flaw]
    states: list[State]
    releases: list[Event]
    distribution: Distribution | None  # by the last check that has one
    behind: Behind | None

    @property
    def drift(self) -> Chart | None:
        known = [state for state in self.states if state.distance is not None]
        if not known:
            return None
        limit = known[-1].threshold
        line = Series("distance", [one.at.timestamp() for one in known], [one.distance for one in known])
        level = None if limit is None else (limit, "threshold")
        days = self.range.start, self.range.end
        return over_time("Distance from the training", [line], *days, ".3f", level, self.releases, least=0)

    @property
    def flaws(self) -> Chart | None:
        at = [one.at.timestamp() for one in self.states]
        lines = [
            Series(FLAWS[flaw], at, shares)
            for flaw in self.possible
            if any(shares := [getattr(one, flaw) for one in self.states])
        ]
        days = self.range.start, self.range.end
        return over_time("Share of the customers", lines, *days, ".1%", None, self.releases, least=0) if lines else None

    @property
    def sides(self) -> Chart | None:
        """Both distributions of a number."""
        one = self.distribution
        if one is None or not one.edges:
            return None
        shares = [("training", one.reference), ("production", one.current)]
        return distributions(f"{self.name} in training and in production", one.edges, shares, ",.4g")

    @property
    def levels(self) -> list[tuple[str, float, Bar, float, Bar]]:
        """Both distributions of levels; of a level the share and its bar in training, and in production."""
        one = self.distribution
        if one is None or not one.levels:
            return []
        most = max([*one.reference, *one.current])
        drawn = [bars(shares, most=most) for shares in (one.reference, one.current)]
        rows = zip(one.levels, one.reference, drawn[0], one.current, drawn[1], strict=True)
        return [row for row in rows if row[1] or row[3]]


def input_page(
    console: TheConsole,
    name: Annotated[str, Query(max_length=200, description="of an input of the model")],
    first: From = None,
    last: To = None,
    flaw: Annotated[Flaw | None, Query(description="whose newest answers are listed")] = None,
) -> Input:
    """How far an input moved and how it is distributed; with `flaw` the newest answers that have it."""
    scorer = console.service.live.champion.scorer
    days, checks = read_checks(console, first, last, PARTS)
    if name not in {*scorer.numbers, *scorer.categories, *(part for one in checks for part in one.part("features"))}:
        raise Refused(404, "input", "neither the champion nor a check of these days has an input of that name")
    newest = last_found(console, checks[-1].at) if checks else {}
    sides = (newest.get("distributions") or {}).get(name)
    distribution = sides and Distribution(**sides)
    possible: list[Flaw] = ["missing", "unseen"] if name in scorer.categories else ["missing", "outside"]
    return Input(
        range=days,
        name=name,
        possible=possible,
        states=[state_of(one, name) for one in checks],
        releases=releases_between(console.service.store.history(), days.start, days.end),
        distribution=distribution,
        behind=flaw and behind(console, name, flaw, distribution),
    )


def state_of(check: Shown, name: str) -> State:
    moved, flaws = (check.part(part).get(name) or {} for part in ("features", "flaws"))
    return State(check.at, moved.get("distance"), moved.get("threshold"), *(flaws.get(flaw) for flaw in FLAWS))


def behind(console: Console, name: str, flaw: Flaw, distribution: Distribution | None) -> Behind:
    """Look through the champion's among the newest answers; by their ids, so the log's size does not matter."""
    scorer, c = console.service.live.champion.scorer, predictions.c
    newest = (
        select(c.at, c.request_id, c.customer_id, c.churn_probability, c.model_version, c.features)
        .where(IS_ANSWER)
        .order_by(c.id.desc())
        .limit(SCANNED)
    )
    with console.engine.connect() as connection:
        rows = [row for row in connection.execute(newest) if row.model_version == scorer.release.version]
    values = values_of(scorer, name, [row.features for row in rows]) if name in inputs_of(scorer) else []
    places = [i for i, value in enumerate(values) if has_flaw(value, flaw, scorer, name, distribution)]
    answers = [
        Flawed(rows[i].at, rows[i].request_id, rows[i].customer_id, plain(values[i]), rows[i].churn_probability)
        for i in places[:LISTED]
    ]
    return Behind(flaw, len(rows), rows[-1].at if rows else None, len(places), answers)


def inputs_of(scorer: Scorer) -> list[str]:
    return [*scorer.numbers, *scorer.categories]


def values_of(scorer: Scorer, name: str, customers: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The input of each customer as the model reads it; NaN or None where it is missing."""
    values: list[Any] = add_features(scorer.columns(customers), scorer.features)[name].tolist()
    return values


def plain(value: Any) -> str | float | None:
    return None if value is None or value != value else value  # NaN


def has_flaw(value: Any, flaw: Flaw, scorer: Scorer, name: str, distribution: Distribution | None) -> bool:
    if plain(value) is None:
        return flaw == "missing"
    if flaw == "unseen":
        return name in scorer.categories and value not in scorer.release.card["inputs"]["categories"][name]
    if flaw == "outside" and distribution and distribution.low is not None and distribution.high is not None:
        return not distribution.low <= value <= distribution.high
    return False
