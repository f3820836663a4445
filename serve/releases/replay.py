"""A replay: what a candidate would have answered to the requests of the last days, beside what was answered.

All answered requests are scored, as the candidate would have taken them: one that its schema refuses is counted by the
reason. They are compared as the shadow report compares: one pair for each customer, the first; without a customer_id a
request stands for a customer. Requests are read a page at a time, so memory and locks do not grow with the log.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Engine, Row, Text, cast, exists, or_, select

from churn.customer_model import customer_model
from churn.scorer import Scorer
from serve.log.database import connect
from serve.log.tables import IS_ANSWER, first_id, predictions
from serve.releases.agreement import Agreement, Comparison, Side, decision_words, difference_words

PAGE_ROWS = 10_000
CANDIDATE = Side("candidate", "the candidate")
ANSWERED, CHAMPION = Side("answered", "the answer"), Side("champion", "the champion")


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The fields are the keys of `--json`."""

    candidate: str
    against: str  # answers, or the champion's version
    since: datetime  # of the first request
    until: datetime
    requests: int  # answered ones
    refused: int  # by the candidate's schema
    reasons: dict[str, int]  # column and why -> requests, the most frequent first
    refused_by_champion: int  # which are not compared
    rows_per_second: float  # that the candidate checks and scores
    agreement: Agreement


class Replayed:
    """A release that takes customers as the service would: checked against its schema, then scored."""

    def __init__(self, scorer: Scorer):
        self.scorer, self.threshold = scorer, float(scorer.release.card["threshold"]["value"])
        self.check: Callable[[Any], Any] = TypeAdapter[Any](
            customer_model(scorer.release.schema, {})
        ).validator.validate_python
        self.reasons, self.refused, self.seconds = Counter[str](), 0, 0.0

    def score(self, customers: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """(n,) probabilities, NaN of a customer whom the schema refuses."""
        begun = time.perf_counter()
        accepted, places = [], []
        for place, customer in enumerate(customers):
            try:
                accepted.append(self.check(customer))
                places.append(place)
            except ValidationError as error:
                self._refuse(error)
        p = np.full(len(customers), math.nan)
        if accepted:
            p[places] = self.scorer.probabilities(accepted)
        self.seconds += time.perf_counter() - begun
        return p

    def _refuse(self, error: ValidationError) -> None:
        self.refused += 1
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        self.reasons[f"{'.'.join(map(str, first['loc']))}: {first['msg']}"] += 1


def replay(
    engine: Engine, candidate: Scorer, champion: Scorer | None, start: datetime, most: int | None = None
) -> Replay | None:
    """The requests answered from `start` on, the newest `most` of them; compared with the champion's scores, or without
    one with the answers. None where there was no request."""
    until = datetime.now(UTC)
    after, before = Replayed(candidate), Replayed(champion) if champion else None
    comparison = Comparison(CHAMPION if champion else ANSWERED, CANDIDATE)
    requests, since = 0, until
    for page in pages(engine, begin(engine, start, most), first_id(until)):
        if not requests:
            since = page[0].at
        requests += len(page)
        customers = [orjson.loads(row.features) for row in page]
        p, flagged = np.empty((len(page), 2)), np.empty((len(page), 2), dtype=bool)
        if before:
            p[:, 0] = before.score(customers)
            flagged[:, 0] = p[:, 0] >= before.threshold
        else:
            p[:, 0] = [row.churn_probability for row in page]
            flagged[:, 0] = [row.prediction == "churn" for row in page]
        p[:, 1] = after.score(customers)
        flagged[:, 1] = p[:, 1] >= after.threshold
        compared = np.array([bool(row.is_first) for row in page]) & ~np.isnan(p).any(axis=1)
        comparison.add(p[compared], flagged[compared])
    if not requests:
        return None
    return Replay(
        candidate=candidate.release.version,
        against=champion.release.version if champion else "answers",
        since=since,
        until=until,
        requests=requests,
        refused=after.refused,
        reasons=dict(after.reasons.most_common()),
        refused_by_champion=before.refused if before else 0,
        rows_per_second=requests / after.seconds,
        agreement=comparison.agreement(),
    )


def begin(engine: Engine, start: datetime, most: int | None) -> str:
    """The id behind which the replay begins."""
    behind, p = first_id(start), predictions.c
    if most is not None:
        newest = select(p.id).where(p.id > behind, IS_ANSWER).order_by(p.id.desc()).offset(most).limit(1)
        with engine.connect() as connection:
            behind = connection.scalar(newest) or behind
    return behind


def pages(engine: Engine, behind: str, end: str) -> Iterator[Sequence[Row[Any]]]:
    """Answers in the order of their ids, each page read by a transaction of its own; is_first: the customer's first one
    since `behind`."""
    p, earlier = predictions.c, predictions.alias("earlier").c
    same = exists().where(earlier.customer_id == p.customer_id, earlier.id > behind, earlier.id < p.id, IS_ANSWER)
    is_first = or_(p.customer_id.is_(None), p.customer_id == "", ~same).label("is_first")
    answers = select(p.id, p.at, cast(p.features, Text).label("features"), p.churn_probability, p.prediction, is_first)
    last = behind
    while True:
        page = answers.where(p.id > last, p.id < end, IS_ANSWER).order_by(p.id).limit(PAGE_ROWS)
        with engine.connect() as connection:
            rows = connection.execute(page).all()
        if not rows:
            return
        yield rows
        last = rows[-1].id


def replayed(
    log_url: str, candidate: Scorer, champion: Scorer | None, start: datetime, most: int | None = None
) -> Replay | None:
    """As `replay`; None also where there is no log yet."""
    engine = connect(log_url)
    try:
        if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).is_file():
            return None
        return replay(engine, candidate, champion, start, most)
    finally:
        engine.dispose()


def as_dict(made: Replay) -> dict[str, Any]:
    """The replay for programs; the agreement's figures stand beside the others."""
    found = asdict(made)
    agreement = found.pop("agreement")
    return {**found, "since": made.since.isoformat(), "until": made.until.isoformat(), **agreement}


def in_words(made: Replay) -> list[str]:
    """The replay for people."""
    found, before = made.agreement, ANSWERED if made.against == "answers" else CHAMPION
    whose = "what was answered" if made.against == "answers" else f"champion {made.against}"
    lines = [
        f"{made.candidate} beside {whose}: {made.requests:,} requests since {made.since:%Y-%m-%d %H:%M} UTC, "
        f"{found.customers:,} customers compared",
        f"refused by the candidate's schema {made.refused:,}",
        *(f"  {n:,}  {reason}" for reason, n in made.reasons.items()),
    ]
    if made.refused_by_champion:
        lines.append(f"refused by the champion's schema, and not compared {made.refused_by_champion:,}")
    if found.customers:
        changed = f"{found.changed:.2%} ({found.changed_low:.2%} to {found.changed_high:.2%})"
        sizes = found.difference_50, found.difference_90, found.difference_99, found.difference_max
        medians = (f"median {found.probabilities[s.key]['quantile_50']:.4f} ({s.key})" for s in (before, CANDIDATE))
        lines += [
            decision_words(changed, found.decisions, before, CANDIDATE),
            difference_words(found.mean_difference, sizes, before, CANDIDATE),
            f"drift of the probabilities {found.drift:.3f} standard deviations; {', '.join(medians)}",
        ]
    return [*lines, f"the candidate checks and scores {made.rows_per_second:,.0f} rows a second"]
