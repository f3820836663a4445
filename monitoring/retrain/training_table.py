"""The table of a retraining: production's customers whose outcome is known, behind those of the table before."""

import logging
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import pandas as pd
from sqlalchemy import Connection

from churn.offers import MAX_UNCOVERED
from churn.schema import WEIGHT, Schema, as_text
from churn.table import as_texts as as_cells
from churn.table import cell_of, typed
from monitoring.check.realised import selection
from monitoring.check.snapshot import read_customers
from monitoring.counting import counting, not_covered
from monitoring.frames import read_sent
from serve.log.tables import time_of_id

log = logging.getLogger("monitoring.retrain")


class Production(NamedTuple):
    """Answers with an outcome, as texts under schema names, and how often each counts: 0 times where an offer reached
    it."""

    table: pd.DataFrame
    customers: int  # of the answers that count
    off: float  # how far the known ones' probabilities are from everybody's, in standard deviations
    new: int  # customers answered since what the champion learned from
    until: datetime


def read_production(
    connection: Connection, schema: Schema, now: datetime, *,
    days: float, slice_days: float, delay: float, most: int, min_known: float, lasts: timedelta,
    since: datetime | None, learned: datetime | None,
) -> Production:  # fmt: skip
    """Customers answered in the last `days`, or from `since` on, and at least `delay` days ago: `most` answers.

    Slice by slice, each as long as the check's window, and outcomes count as the check counts them: observed at most
    `delay` days after the slice's end. So leavers and stayers are known alike, and all had as long to leave. A slice of
    which less than `min_known` is known does not count: mostly those are the leavers, who alone are reported.

    A customer has a row of each slice (person-periods: Allison 1982, "Discrete-Time Methods for the Analysis of Event
    Histories", Sociological Methodology 13:61-98): one row for each customer would stand for three months of a stayer
    and for the last of a leaver. Where the schema has a time, a customer has one row of each. Without an id nothing
    keeps such rows on one side of a split: there the first answer to each customer counts, as all had as long to leave
    behind it, of those from `learned` on.
    """
    until = now - timedelta(days=delay)
    begins = [until - timedelta(days=days), since, None if schema.id else learned]
    begin = max(moment for moment in begins if moment)
    tables, left = [as_texts(connection, schema, pd.DataFrame())], most
    everybody: list[pd.DataFrame] = []
    for start, end in slices(begin, until, timedelta(days=slice_days)):
        asked = read_customers(connection, None, start, end, end + timedelta(days=delay), lasts)
        known, answers = int(asked["churned"].count()), counting(asked)
        if answers.empty or known < min_known * len(asked):
            continue
        missed = not_covered(asked)
        if missed > MAX_UNCOVERED:
            words = (
                "offers went to %.0f %% of the customers from %s to %s, and nobody like them was held back: left out"
            )
            log.warning(words, 100 * missed, start, end)
            continue
        everybody.append(asked)
        reached = asked.dropna(subset=["churned"]).drop(answers.index).assign(weight=0.0)
        taken = pd.concat([answers, reached]).sort_index()[::-1][:left]
        texts = acceptable(as_texts(connection, schema, taken), schema)
        texts = texts[~texts.index.get_level_values("customer").duplicated()]
        tables.append(texts)
        left -= len(texts)
    table = pd.concat(tables[::-1])
    key = pd.DataFrame({"customer": table.index.get_level_values("customer")})
    if schema.time:
        key["time"] = table[schema.time.name].to_numpy()
    if schema.time or schema.id is None:
        table = table[~key.duplicated().to_numpy()]
    counted = table.index[table[WEIGHT] != "0"]
    new = {customer for customer, name in counted if learned is None or time_of_id(name) >= learned}
    all_asked = pd.concat(everybody) if everybody else pd.DataFrame({"p": [], "churned": []})
    off = selection(all_asked["p"].to_numpy(), all_asked["churned"].notna().to_numpy())
    customers = counted.get_level_values("customer").nunique()
    return Production(table.reset_index(drop=True), customers, off, len(new), until)


def slices(start: datetime, end: datetime, length: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """[start, end) in pieces of that length, the latest first."""
    while end > start:
        yield max(start, end - length), end
        end -= length


def as_texts(connection: Connection, schema: Schema, answers: pd.DataFrame) -> pd.DataFrame:
    """The customers of these answers (id, churned, weight) as they were sent, in the texts of a table file.

    The index holds the customer, also where the schema has no id, and the answer's id.
    """
    sent = read_sent(connection, answers["id"].tolist()) if len(answers) else {}
    rows, ids = [], []
    outcomes = zip(answers.get("churned", ()), answers.get("weight", ()), strict=True)
    for name, (churned, weight) in zip(sent, outcomes, strict=True):
        customer, features = sent[name]
        ids.append(as_text(customer or name))
        row: dict[str, Any] = {}
        described = described_at(features, schema, name)
        for column in schema.columns:
            value = features.get(column.name)
            if value is not None and schema.as_of and column.type == "date":
                # the table has one day for all rows: the date moves with it, so that the days between stay
                value = (date.fromisoformat(value) + (schema.as_of - described.date())).isoformat()
            row[column.name] = None if value is None else cell_of(value, column)
        row |= {schema.target.name: as_text(bool(churned)), WEIGHT: as_text(weight)}
        if schema.id:
            row[schema.id.name] = ids[-1]
        if schema.time:
            of_time = schema.time.format
            row[schema.time.name] = described.strftime(of_time) if of_time else described.isoformat()
        rows.append(row)
    index = pd.MultiIndex.from_arrays([ids, list(sent)], names=["customer", "id"])
    return pd.DataFrame(rows, index, columns=[*(part.name for part in schema.parts), WEIGHT], dtype="str")


def described_at(features: Mapping[str, Any], schema: Schema, answer: str) -> datetime:
    """The day that the request named, else the time of its answer."""
    named = features.get(schema.moment) if schema.moment else None
    return datetime.fromisoformat(named) if named else time_of_id(answer)


def acceptable(texts: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Those that the pipeline accepts: it refuses a whole table for one value that the service answers.

    That is a level which the schema does not list, a text that means missing there, what another schema allowed.
    """
    is_fit = pd.Series(True, texts.index)
    if schema.id:
        is_fit &= as_cells(texts[schema.id.name], schema.missing).notna()
    for column in schema.columns:
        cells = as_cells(texts[column.name], schema.missing)
        values, is_broken = typed(cells, column)
        is_fit &= ~is_broken & (column.nullable | cells.notna())
        if column.type == "number":
            is_fit &= values.isna() | values.between(column.low, column.high)
        if column.levels is not None:
            is_fit &= cells.isna() | cells.isin(column.levels)
    if not is_fit.all():
        log.warning("%d of %d customers have values that the schema does not allow", (~is_fit).sum(), len(is_fit))
    return texts[is_fit]


def joined(before: pd.DataFrame | None, production: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """One table, of the schema's columns and of WEIGHT where some count more than others.

    A row of both, which an earlier retraining added, is what production knows of it by now: its outcome may have been
    corrected, an offer may have been reported that reached it. Without an id equal rows may be two customers.
    """
    names = [part.name for part in schema.parts]
    table = production[[*names, WEIGHT]]
    if before is not None:
        kept = before if WEIGHT in before else before.assign(**{WEIGHT: "1"})
        parts = [part.reindex(columns=list(table)) for part in (kept, table)]
        table = pd.concat(parts, ignore_index=True)
        if schema.id:
            moment = [schema.time.name] if schema.time else [column.name for column in schema.columns]
            same = [schema.id.name, *moment]
            nth = [part.groupby(same, dropna=False, sort=False).cumcount() for part in parts]
            key = table[same].assign(**{WEIGHT: pd.concat(nth, ignore_index=True)})
            table = table[~key.duplicated(keep="last")]
    table = table[table[WEIGHT] != "0"].reset_index(drop=True)
    return table if (table[WEIGHT] != "1").any() else table.drop(columns=WEIGHT)


def has_repeats(table: pd.DataFrame, schema: Schema) -> bool:
    """Whether a customer has several rows, and no time tells them apart."""
    return bool(schema.id and not schema.time and table[schema.id.name].dropna().str.strip().duplicated().any())
