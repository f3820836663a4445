"""Keep the prediction log at CHURN_LOG_URL in order.

`python -m serve.log prune --days 400` removes old rows. `python -m serve.log erase CUSTOMER_ID` removes one customer
from all that is known to hold customers, names the rest, and leaves a receipt. `python -m serve.log migrate` brings the
tables to the version that this code knows, where the service's own user may not create any. `python -m serve.log retry`
brings in the rows that the database refused and that stand in a file beside the spool.
"""

import argparse
import logging
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from churn.script import InputError, run
from serve.log.database import connect, first_line, opened
from serve.log.erase import NeverSeen, Places, erase
from serve.log.migrate import HEAD, migrate
from serve.log.prediction_log import PredictionLog
from serve.log.prune import prune
from serve.log.receipts import Receipts
from serve.log.spool import Spool
from serve.settings import read_settings

log = logging.getLogger("serve.log")

NEVER_SEEN, NOT_ERASED = 1, 2  # exit statuses of an erasure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m serve.log", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("prune", help="remove predictions, outcomes and checks older than a number of days")
    command.add_argument("--days", type=float, required=True, help="how many days are kept")
    command.set_defaults(run=run_prune)
    command = commands.add_parser("erase", help="remove one customer; exit status 1: never seen, 2: run it again")
    command.add_argument("customer_id", metavar="CUSTOMER_ID", help="or - to read it from standard input")
    command.add_argument("--scores", type=Path, action="append", default=[], metavar="FOLDER", help="also from there")
    command.add_argument("--pipeline", type=Path, default=Path(), metavar="FOLDER", help="the repository; default: .")
    command.add_argument("--receipts", type=Path, metavar="FOLDER", help="default: erasures, beside the spool")
    command.set_defaults(run=run_erase)
    command = commands.add_parser("migrate", help="create the tables, or bring them to the version of this code")
    command.set_defaults(run=run_migrate)
    command = commands.add_parser("retry", help="bring in rows that were set aside because the database refused them")
    command.set_defaults(run=run_retry)
    given = parser.parse_args()
    given.run(given)


def run_prune(given: argparse.Namespace) -> None:
    days = given.days
    if not 0 <= days < 36500:
        raise InputError(f"--days is {days:g}; expected 0 to 36500")
    with opened(read_settings().log) as engine:
        removed = prune(engine, datetime.now(UTC) - timedelta(days=days))
    log.info("removed %s older than %g days", ", ".join(f"{n} {name}" for name, n in removed.items()), days)


def run_erase(given: argparse.Namespace) -> None:
    settings = read_settings()
    customer_id = sys.stdin.readline().rstrip("\r\n") if given.customer_id == "-" else given.customer_id
    receipts = Receipts(given.receipts or settings.spool_path.parent / "erasures")
    try:
        with opened(settings.log) as engine:
            spool = Spool(settings.spool_path, settings.spool_max)
            erased = erase(customer_id, Places(engine, spool, given.pipeline, given.scores), receipts)
    except InputError as error:
        for line in str(error).splitlines():
            log.error(line)
        sys.exit(NEVER_SEEN if isinstance(error, NeverSeen) else NOT_ERASED)
    receipt = erased.receipt
    counts = ", ".join(f"{n} of {place}" for place, n in receipt["found"].items())
    log.info("%s: %s; the receipt is %s", "erased" if erased.is_new else "was erased before", counts, erased.file)
    for place, way in receipt["not_reached"].items():
        log.info("not reached: %s; %s", place, way)


def run_migrate(_: argparse.Namespace) -> None:
    engine = connect(read_settings().log)
    try:
        migrate(engine)
    except SQLAlchemyError as error:
        raise InputError(f"the log's database: {first_line(error)}") from None
    finally:
        engine.dispose()
    log.info("the log's tables have version %s", HEAD)


def run_retry(_: argparse.Namespace) -> None:
    settings = read_settings()
    with opened(settings.log):  # which says where there is no log
        kept = PredictionLog(settings.log, Spool(settings.spool_path, settings.spool_max))
        try:
            taken, refused = kept.retry()
        finally:
            kept.close()
    log.info("%d rows are in the log, %d are still refused", taken, refused)


if __name__ == "__main__":
    run(main, "serve.log")
