"""Campaigns: whom to make an offer.

`plan` reads the folder of scores that python -m serve.score made, and says whom to make which offer: the list with the
most expected profit that a budget allows, with a control group that is held back by chance.
"""

import argparse
import logging
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

from campaigns.folder import check_free, write_plan
from campaigns.plan import Limit
from campaigns.report import content_of, list_of
from campaigns.run import Request, plan
from campaigns.tables import read_ids
from churn.campaigns import Campaigns
from churn.params import read_knobs
from churn.profit import Profit
from churn.schema import ID
from churn.scored import MANIFEST
from churn.script import run
from serve.log.tables import CAMPAIGN

log = logging.getLogger("campaigns")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m campaigns", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_plan(
        commands.add_parser("plan", help=(words := "whom to make which offer, from scored files"), description=words)
    )
    return made


def add_plan(made: argparse.ArgumentParser) -> None:
    made.add_argument("scores", metavar="SCORES", type=Path, help="folder of python -m serve.score")
    made.add_argument("out", metavar="OUT", type=Path, help="folder for list.csv, list.parquet and plan.json")
    made.add_argument("--campaign", type=campaign, required=True, help="its name: who is control hangs on it")
    limit = made.add_mutually_exclusive_group(required=True)
    limit.add_argument("--budget", type=money, help="for all offers that are made")
    limit.add_argument("--most", type=count, help="offers that are made, at most")
    made.add_argument("--control", type=share, help="of the selected customers, held back; campaigns.control")
    worth = made.add_mutually_exclusive_group()
    worth.add_argument("--value", metavar="COLUMN", default="", help="of a customer who stays; profit.customer_value")
    worth.add_argument("--margin", metavar="COLUMN", default="", help="of a month, in place of a value")
    made.add_argument("--table", metavar="FILE", type=Path, help="Parquet or CSV with more columns of the customers")
    made.add_argument("--id", metavar="HEADER", default=ID, help=f"of the table's id column; {ID}")
    made.add_argument("--where", metavar="EXPRESSION", default="", help="over columns: who may be made an offer")
    made.add_argument(
        "--exclude", metavar="FILE", type=Path, action="append", default=[],
        help="customers to leave out: ids on lines (.txt), or a table with an id column; may be repeated",
    )  # fmt: skip
    made.add_argument("--release", metavar="VERSION", default="", help="whose scores count, where two answered")


def campaign(text: str) -> str:
    if not re.fullmatch(CAMPAIGN, text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name: expected at most 64 of a-z, 0-9, '.', '_' and '-'")
    return text


def money(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= 10**12:
        raise argparse.ArgumentTypeError(f"{text} is no amount of money from 0 on")
    return amount


def count(text: str) -> int:
    if not text.isdecimal() or len(text) > 12:
        raise argparse.ArgumentTypeError(f"{text} is no number of offers from 0 on")
    return int(text)


def share(text: str) -> float:
    if not 0 <= (value := float(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no share from 0 to below 1")
    return value


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser().parse_args(arguments)
    match given.command:
        case "plan":
            write(given)


def write(given: argparse.Namespace) -> None:
    check_free(given.out)
    profit, knobs = read_knobs("profit", Profit), read_knobs("campaigns", Campaigns)
    request = Request(
        scores=given.scores,
        campaign=given.campaign,
        limit=Limit(given.budget, given.most),
        control=knobs.control if given.control is None else given.control,
        value=given.value,
        margin=given.margin,
        table=given.table,
        id_header=given.id,
        where=given.where,
        release=given.release,
        left_out=[(f"listed in {path.name}", read_ids(path, ID)) for path in given.exclude],
    )
    made = plan(request, profit, knobs)
    inputs = {"scores": given.scores / MANIFEST} | ({"table": given.table} if given.table else {})
    inputs |= {f"exclude_{number}": path for number, path in enumerate(given.exclude, start=1)}
    content = content_of(made, inputs)
    write_plan(given.out, list_of(made), content)
    expected, control = content["expected"], content["control"]
    log.info(
        "wrote %s: of %d scored customers %d are selected, %d for an offer, %d as control",
        given.out, content["scored"], content["selected"], expected["offered"], control["customers"],
    )  # fmt: skip
    log.info(
        "expected: cost %.2f, %.1f customers kept, profit %.2f; no plan can expect more than %.2f",
        expected["cost"], expected["churn_avoided"], expected["profit"], expected["upper_bound"],
    )  # fmt: skip
    for reason, n in content["left_out"].items():
        log.info("left out: %d, %s", n, reason)
    if expected["offered"] and not control["customers"]:
        log.warning("nobody is held back as control, so what the offers bring can't be measured")


if __name__ == "__main__":
    run(main, "campaigns", mistake=2)
