"""Remove old rows of the log at CHURN_LOG_URL: `python -m serve.log prune --days 400`."""

import argparse
import logging
from datetime import UTC, datetime, timedelta

from churn.script import InputError, run
from serve.log.database import opened
from serve.log.prune import prune
from serve.settings import read_settings

log = logging.getLogger("serve.log")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m serve.log", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("prune", help="remove predictions, outcomes and checks older than a number of days")
    command.add_argument("--days", type=float, required=True, help="how many days are kept")
    days = parser.parse_args().days
    if not 0 <= days < 36500:
        raise InputError(f"--days is {days:g}; expected 0 to 36500")
    with opened(read_settings().log) as engine:
        removed = prune(engine, datetime.now(UTC) - timedelta(days=days))
    log.info("removed %s older than %g days", ", ".join(f"{n} {name}" for name, n in removed.items()), days)


if __name__ == "__main__":
    run(main, "serve.log")
