"""Campaigns: whom to make an offer, who was made one, and what it brought.

`plan` reads the folder of scores that python -m serve.score made, and says whom to make which offer: the list with the
most expected profit that a budget allows, with a control group that is held back by chance. `curve` says what every
budget would bring. `contacted` tells the log
who of a list was made an offer and who was held back. `result` compares the two by their outcomes; it may be asked for
every day; `measured` keeps what it showed in a file that the pipeline reads. `list` names the campaigns of the log.
"""

import argparse
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

import pyarrow as pa

from campaigns.contacted import contacted
from campaigns.plan.choice import Limit
from campaigns.plan.cool_down import contacted_since
from campaigns.plan.curve import curve
from campaigns.plan.fetched import at_hand
from campaigns.plan.folder import check_free, write_plan
from campaigns.plan.report import content_of, list_of
from campaigns.plan.run import Request, candidates, plan
from campaigns.plan.tables import read_ids
from campaigns.result.experiment import read_experiment, read_list
from campaigns.result.measured import effects_of
from campaigns.result.page import as_html, as_text
from campaigns.result.report import report
from churn.campaigns import Campaigns
from churn.measured import settled, shrunk
from churn.params import read_knobs
from churn.profit import Profit
from churn.report_text import day_and_hour
from churn.schema import ID
from churn.scored import MANIFEST
from churn.script import InputError, as_json, run, write_json, write_text
from churn.text import columns
from serve.log.database import opened
from serve.log.tables import CAMPAIGN, CLOCK_SKEW
from serve.settings import read_settings

log = logging.getLogger("campaigns")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m campaigns", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_plan(
        commands.add_parser("plan", help=(words := "whom to make which offer, from scored files"), description=words)
    )
    add_curve(commands.add_parser("curve", help=(words := "what each budget would bring, as JSON"), description=words))
    add_contacted(
        commands.add_parser("contacted", help=(words := "tell the log who was made an offer"), description=words)
    )
    add_measured(
        commands.add_parser("measured", help=(words := "what campaigns measured, for training"), description=words)
    )
    add_result(commands.add_parser("result", help=(words := "what a campaign brought"), description=words))
    commands.add_parser("list", help=(words := "the campaigns of the log"), description=words)
    return made


def add_contacted(made: argparse.ArgumentParser) -> None:
    made.add_argument("list", metavar="LIST", type=Path, help="folder of a plan, its list, or a table with its columns")
    made.add_argument("--campaign", type=campaign, required=True, help="its name, as in the plan")
    made.add_argument("--at", type=moment, help="when they were contacted, such as 2026-11-01; now")


def add_result(made: argparse.ArgumentParser) -> None:
    made.add_argument("campaign", metavar="NAME", type=campaign, help="of the campaign")
    made.add_argument("--value", type=money, help="of a customer who stays, on average; profit.customer_value")
    made.add_argument("--json", action="store_true", help="print it for programs")
    made.add_argument("--html", type=Path, metavar="FILE", help="also write the result as a page")


def add_curve(made: argparse.ArgumentParser) -> None:
    made.add_argument("scores", metavar="SCORES", help="folder of python -m serve.score, local or in object storage")
    add_customers(made)


def add_measured(made: argparse.ArgumentParser) -> None:
    made.add_argument("names", metavar="NAME", type=campaign, nargs="*", help="of a campaign with this offer; all")
    made.add_argument("--out", metavar="FILE", type=Path, help="where to write it; profit.measured")


def add_plan(made: argparse.ArgumentParser) -> None:
    made.add_argument("scores", metavar="SCORES", help="folder of python -m serve.score, local or in object storage")
    made.add_argument("out", metavar="OUT", type=Path, help="folder for list.csv, list.parquet and plan.json")
    limit = made.add_mutually_exclusive_group(required=True)
    limit.add_argument("--budget", type=money, help="for all offers that are made")
    limit.add_argument("--most", type=count, help="offers that are made, at most")
    add_customers(made)


def add_customers(made: argparse.ArgumentParser) -> None:
    """Whom to plan for."""
    made.add_argument("--campaign", type=campaign, required=True, help="its name: who is control hangs on it")
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
    made.add_argument(
        "--cool-down",
        metavar="DAYS",
        type=days,
        help="leave out whom another campaign has contacted in so many days",
    )
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


def moment(text: str) -> datetime:
    """A past moment; without a zone in UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2026-11-01 or 2026-11-01T09:30:00Z") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if at > datetime.now(UTC) + CLOCK_SKEW:
        raise argparse.ArgumentTypeError(f"{text} lies in the future; contacts are told when they were made")
    return at


def days(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 3650:
        raise argparse.ArgumentTypeError(f"{text} is no number of days from 1 to 3650")
    return int(text)


def share(text: str) -> float:
    if not 0 <= (value := float(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no share from 0 to below 1")
    return value


def main(arguments: Sequence[str] | None = None) -> None:
    given = parser().parse_args(arguments)
    match given.command:
        case "plan":
            with at_hand(given.scores) as given.scores:
                write(given)
        case "curve":
            with at_hand(given.scores) as given.scores:
                show_curve(given)
        case "contacted":
            tell(given)
        case "measured":
            measure(given)
        case "result":
            show(given)
        case "list":
            show_all()


def tell(given: argparse.Namespace) -> None:
    at = given.at or datetime.now(UTC)
    offered, control = contacted(given.list, given.campaign, at, read_settings().log)
    log.info("%s: %d customers made an offer and %d held back are in the log", given.campaign, offered, control)
    if not control:
        log.warning("nobody was held back, so what the offers bring can't be measured")


def show(given: argparse.Namespace) -> None:
    knobs = read_knobs("campaigns", Campaigns)
    profit = read_knobs("profit", Profit)
    if given.value:
        profit = replace(profit, customer_value=float(given.value))
    if isinstance(profit.customer_value, str):
        raise InputError(
            f"params.yaml: profit.customer_value is the column {profit.customer_value!r}, which the log does not have; "
            "say with --value what a customer who stays is worth on average"
        )
    with opened(read_settings().log) as engine, engine.connect() as connection:
        experiment = read_experiment(connection, given.campaign, timedelta(days=knobs.lasts))
    made = report(experiment, profit, knobs, datetime.now(UTC))
    if given.html:
        write_text(given.html, as_html(made))
    sys.stdout.write(as_json(made.as_dict()) if given.json else as_text(made))


def measure(given: argparse.Namespace) -> None:
    """Write what the campaigns measured, and tell of each; the shrunk value is that of params.yaml as it is now."""
    knobs, profit = read_knobs("campaigns", Campaigns), read_knobs("profit", Profit)
    if not (out := given.out or (Path(profit.measured) if profit.measured else None)):
        raise InputError("params.yaml: profit.measured names no file; add it, or name one with --out")
    with opened(read_settings().log) as engine, engine.connect() as connection:
        names = sorted(set(given.names) or {one.name for one in read_list(connection)})
        experiments = (read_experiment(connection, name, timedelta(days=knobs.lasts)) for name in names)
        made = [report(one, replace(profit, customer_value=1), knobs, datetime.now(UTC)) for one in experiments]
    effects, left_out = effects_of(made)
    write_json(out, {"campaigns": [asdict(one) for one in effects], "left_out": left_out})
    for one in effects:
        interval = f"{one.offer_success_low:.3f} to {one.offer_success_high:.3f}"
        log.info("%s: %.3f of the leavers kept (%s)", one.campaign, one.offer_success, interval)
    for name, why in left_out.items():
        log.warning("left out: %s, %s", name, why)
    log.info("wrote %s from %d campaigns", out, len(effects))
    if profit.offer_prior and profit.offer_prior_deviation:
        stated = f"{profit.offer_prior:g} ± {profit.offer_prior_deviation:g}"
        value, low, high = shrunk(effects, profit.offer_prior, profit.offer_prior_deviation)
        log.info("with %s expected beforehand, an offer keeps %.3f (%.3f to %.3f)", stated, value, low, high)


def show_all() -> None:
    with opened(read_settings().log) as engine, engine.connect() as connection:
        found = read_list(connection)
    rows = [
        (one.name, day_and_hour(one.since) if one.since else "", f"{one.offered:,}", f"{one.control:,}")
        for one in found
    ]
    sys.stdout.write("".join(f"{line}\n" for line in columns([("campaign", "since", "offered", "held back"), *rows])))


def request_of(given: argparse.Namespace, limit: Limit, knobs: Campaigns) -> Request:
    return Request(
        scores=given.scores,
        campaign=given.campaign,
        limit=limit,
        control=knobs.control if given.control is None else given.control,
        value=given.value,
        margin=given.margin,
        table=given.table,
        id_header=given.id,
        where=given.where,
        release=given.release,
        left_out=[*listed_in(given.exclude), *cooling_down(given.cool_down, given.campaign)],
    )


def show_curve(given: argparse.Namespace) -> None:
    profit, _ = settled(read_knobs("profit", Profit))
    knobs = read_knobs("campaigns", Campaigns)
    request = request_of(given, Limit(), knobs)
    sys.stdout.write(as_json(curve(request, candidates(request, profit, knobs)).as_dict()))


def write(given: argparse.Namespace) -> None:
    check_free(given.out)
    profit, _ = settled(read_knobs("profit", Profit))
    knobs = read_knobs("campaigns", Campaigns)
    request = request_of(given, Limit(given.budget, given.most), knobs)
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


def listed_in(paths: Sequence[Path]) -> Iterator[tuple[str, pa.ChunkedArray]]:
    for path in paths:
        yield f"listed in {path.name}", read_ids(path, ID)


def cooling_down(days: int | None, campaign: str) -> Iterator[tuple[str, pa.ChunkedArray]]:
    if not days:
        return
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since = today - timedelta(days=days)
    with opened(read_settings().log) as engine, engine.connect() as connection:
        yield f"contacted since {since:%Y-%m-%d}", contacted_since(connection, since, campaign)


if __name__ == "__main__":
    run(main, "campaigns", mistake=2)
