"""Report what the split between champion and challenger has shown, and whether it is decided.

`python -m monitoring.ab [--json] [--abort] [--html FILE]` reads the running split from the ledger and the log. It may
be run every day: the verdict holds at all looks together. --abort ends the split if the challenger is worse.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from churn.campaigns import read_lasts
from churn.params import read_knobs
from churn.profit import Profit
from churn.release import open_release
from churn.script import as_json, run, write_text
from monitoring.ab.experiment import read_customers, running
from monitoring.ab.page import as_html, as_text
from monitoring.ab.report import Design, end_if_worse, report
from monitoring.frames import open_log
from serve.releases.store import Store
from serve.settings import read_settings

log = logging.getLogger("monitoring.ab")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m monitoring.ab", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print it for programs")
    parser.add_argument("--abort", action="store_true", help="end the split if the challenger is worse")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write the report as a page")
    arguments = parser.parse_args(argv)
    design = read_knobs("ab", Design)
    store = Store(read_settings().releases)
    experiment = running(store.history())
    profit = read_knobs("profit", Profit).on_average(lambda: open_release(store.champion()).card)
    with open_log() as connection:
        customers = read_customers(connection, experiment, read_lasts())
    made = report(customers, experiment, profit, design)
    content = made.as_dict()
    if arguments.abort:
        content["aborted"] = end_if_worse(made, experiment, store)
    if arguments.html:
        write_text(arguments.html, as_html(made))
    sys.stdout.write(as_json(content) if arguments.json else as_text(made))
    if content.get("aborted"):
        log.info("ended the split: %s", made.words)


if __name__ == "__main__":
    run(main, "monitoring.ab")
