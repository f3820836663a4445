"""Keep the prediction log at CHURN_LOG_URL in order.

`python -m serve.log prune --days 400` removes old rows. `python -m serve.log migrate` brings the tables to the version
that this code knows, where the service's own user may not create any. `python -m serve.log retry` brings in the rows
that the database refused and that stand in a file beside the spool.
"""

import argparse
import logging
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from churn.script import InputError, run
from serve.log.database import connect, first_line, opened
from serve.log.migrate import HEAD, migrate
from serve.log.prediction_log import PredictionLog
from serve.log.prune import prune
from serve.log.spool import Spool
from serve.settings import read_settings

log = logging.getLogger("serve.log")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m serve.log", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("prune", help="remove predictions, outcomes and checks older than a number of days")
    command.add_argument("--days", type=float, required=True, help="how many days are kept")
    command.set_defaults(run=run_prune)
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
