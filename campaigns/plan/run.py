"""From scored files to a plan: who may be made an offer, what each customer is worth, who is selected."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from campaigns.plan.choice import Choice, Limit, choose
from campaigns.plan.control import places
from campaigns.plan.eligibility import holds, names_in
from campaigns.plan.scores import PROBABILITY, Pieces, Scores, headers_of, pieces_of, read_scores
from campaigns.plan.sieve import Sieve
from campaigns.plan.tables import read_columns
from campaigns.plan.value import Value
from churn.campaigns import Campaigns, Offer
from churn.profit import Profit
from churn.schema import ID
from churn.script import InputError
from churn.text import listed


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for."""

    scores: Path
    campaign: str
    limit: Limit
    control: float  # share of the selected customers
    value: str = ""  # column; empty: as profit.customer_value says
    margin: str = ""  # column of a month's margin, in place of a value
    table: Path | None = None  # of more columns
    id_header: str = ID  # in it
    where: str = ""  # expression over columns
    release: str = ""  # whose scores count, where there are two
    left_out: Sequence[tuple[str, pa.ChunkedArray]] = ()  # (reason, ids)


@dataclass(frozen=True)
class Plan:
    """m selected customers, those with the highest expected profit first."""

    request: Request
    value_from: Value
    offers: dict[str, Offer]
    choice: Choice
    pieces: Pieces
    model_version: str
    scored: int  # rows
    left_out: dict[str, int]  # rows, by reason
    ids: pa.ChunkedArray  # (m,)
    rows: np.ndarray  # (m,) among those of all files
    p: np.ndarray  # (m,) P(churned = 1)
    value: np.ndarray  # (m,)
    is_control: np.ndarray  # bool (m,)


@dataclass(frozen=True)
class Candidates:
    """n customers who may be made an offer."""

    pieces: Pieces
    value_from: Value
    offers: dict[str, Offer]
    scores: Scores
    left_out: dict[str, int]  # rows, by reason
    ids: pa.ChunkedArray  # (n,)
    rows: np.ndarray  # (n,) among those of all files
    p: np.ndarray  # (n,) P(churned = 1)
    value: np.ndarray  # (n,)
    is_control: np.ndarray  # bool (n,), as they were drawn


def candidates(request: Request, profit: Profit, knobs: Campaigns) -> Candidates:
    pieces, value_from = pieces_of(request.scores), value_of(request, profit, knobs)
    scores, customers = read(request, pieces, names_in(request.where) | ({value_from.column} - {""}))
    sieve = Sieve(len(customers))
    for reason, ids in request.left_out:
        sieve.leave_out(reason, pc.is_in(customers[ID], value_set=ids).to_numpy())
    if request.where:
        sieve.leave_out(f"not where {request.where}", ~holds(request.where, customers))
    rows = scores.rows
    if sieve.left_out:
        rows, customers = rows[sieve.kept], customers.filter(pa.array(sieve.kept))
    p = customers[PROBABILITY].to_numpy()
    return Candidates(
        pieces=pieces,
        value_from=value_from,
        offers=knobs.offers or {"offer": Offer(cost=profit.offer_cost, success=float(profit.offer_success))},
        scores=scores,
        left_out=scores.left_out | sieve.left_out,
        ids=customers[ID],
        rows=rows,
        p=p,
        value=value_from.of(customers, p),
        is_control=places(request.campaign, customers[ID]) < request.control,
    )


def plan(request: Request, profit: Profit, knobs: Campaigns) -> Plan:
    one = candidates(request, profit, knobs)
    choice = choose(one.p * one.value, one.is_control, list(one.offers.values()), request.limit)
    ours, no_gain = choice.customer, len(one.rows) - choice.pays
    at_last = {"no offer pays": no_gain, "beyond the limit": len(one.rows) - no_gain - len(ours)}
    left_out = one.left_out | {reason: n for reason, n in at_last.items() if n}
    return Plan(
        request, one.value_from, one.offers, choice, one.pieces, one.scores.model_version, one.scores.scored, left_out,
        one.ids.take(pa.array(ours)), one.rows[ours], one.p[ours], one.value[ours], one.is_control[ours],
    )  # fmt: skip


def value_of(request: Request, profit: Profit, knobs: Campaigns) -> Value:
    if request.margin:
        return Value(column=request.margin, months=knobs.months, discount=knobs.discount)
    worth = request.value or profit.customer_value
    return Value(column=worth) if isinstance(worth, str) else Value(number=float(worth))


def read(request: Request, pieces: Pieces, names: set[str]) -> tuple[Scores, pa.Table]:
    """The scores, and n customers: their scores, and the columns of these names from the scores or beside them."""
    has = headers_of(pieces)
    if (beside := sorted(names - set(has))) and request.table is None:
        raise InputError(
            f"{request.scores} has no column {listed(beside)}; it has {listed(has)}: name a table with it by --table"
        )
    scores = read_scores(pieces, sorted(names & set(has)), request.release)
    if not beside or request.table is None:
        return scores, scores.table
    table = read_columns(request.table, request.id_header, beside, scores.table[ID])
    columns = [*scores.table.columns, *table.columns]
    return scores, pa.table(columns, [*scores.table.column_names, *table.column_names])
