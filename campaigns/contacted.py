"""A list of customers told to the log: who was made an offer, and who was held back."""

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from campaigns.plan.folder import PARQUET, PLAN
from campaigns.plan.lists import read_sides
from churn.schema import ID
from churn.script import InputError
from serve.log.database import opened, write_lock
from serve.log.migrate import migrate
from serve.log.reported import keep_contacts

log = logging.getLogger("campaigns")

BLOCK = 50_000  # customers between two lines of progress


def contacted(path: Path, campaign: str, at: datetime, url: str) -> tuple[int, int]:
    """How many were made an offer and how many were held back; `at`: when. Telling it twice changes nothing.

    path: a list of `plan`, its folder, or another table with customer_id, offered and share (left out: 1).
    """
    expected = expected_of(path, campaign)
    customers = read_sides(path / PARQUET if path.is_dir() else path)
    check(customers, path)
    with opened(url) as engine:
        turn = write_lock(engine)
        migrate(engine, turn)
        with engine.connect() as connection:
            for done, block in blocks(customers):
                rows = [{**row, "campaign": campaign, "at": at} for row in block.to_pylist()]
                if refused := keep_contacts(connection, turn, rows, expected):
                    raise InputError(f"{path}: the log's database takes no row of {len(refused)} customers")
                if len(customers) > BLOCK:
                    log.info("%d of %d customers", done, len(customers))
    offered = int(pc.sum(customers["offered"]).as_py())
    return offered, len(customers) - offered


def expected_of(path: Path, campaign: str) -> Mapping[str, Any] | None:
    """What the plan beside the list expects; an InputError where it is that of another campaign."""
    plan = (path if path.is_dir() else path.parent) / PLAN
    if not plan.exists():
        if path.is_dir():
            raise InputError(f"{path} holds no {PLAN}; name a list, or the folder of a plan")
        return None
    content = json.loads(plan.read_text(encoding="utf-8"))
    if content["campaign"] != campaign:
        raise InputError(f"{path} is the list of the campaign {content['campaign']!r}, not of {campaign!r}")
    expected: Mapping[str, Any] = content["expected"]
    return expected


def check(customers: pa.Table, path: Path) -> None:
    if not len(customers):
        raise InputError(f"{path} holds no customer")
    for name in (ID, "offered", "share"):
        if nulls := customers[name].null_count:
            raise InputError(f"{path}: {name} is missing in {nulls} of {len(customers)} rows")
    if len(pc.unique(customers[ID])) < len(customers):
        counts = pc.value_counts(customers[ID])
        twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")[0].as_py()
        raise InputError(f"{path}: the customer {twice!r} stands in two rows; a campaign has each once")
    lengths = pc.utf8_length(customers[ID])
    if (bad := customers[ID].filter(pc.or_(pc.equal(lengths, 0), pc.greater(lengths, 128)))) and len(bad):
        raise InputError(f"{path}: customer_id {bad[0].as_py()[:140]!r} must have 1 to 128 characters")
    share = customers["share"]
    is_share = pc.and_(pc.greater(share, 0), pc.less_equal(share, 1))
    drawn = pc.and_(is_share, pc.or_(customers["offered"], pc.less(share, 1)))
    if (wrong := customers.filter(pc.invert(drawn))) and len(wrong):
        row = wrong.slice(0, 1).to_pylist()[0]
        side = "an offer" if row["offered"] else "a customer who was held back"
        words = f"share is {row['share']:g} for {side}, {row[ID]!r}"
        raise InputError(f"{path}: {words}; it must be above 0 and at most 1, and below 1 for who was held back")


def blocks(customers: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    for start in range(0, len(customers), BLOCK):
        yield min(start + BLOCK, len(customers)), customers.slice(start, BLOCK)
