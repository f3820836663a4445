"""Check production now: the champion's latest answers, the drift of its inputs, and how good it is.

`python -m monitoring.check [--json] [--end TIME] [--html FOLDER]` reads the log and prints the verdict with its
reasons. Exit status 0: healthy, or nothing worse than a warning; 1: a limit is crossed; 2: unknown, because there is
no log, no champion, or too few customers. The report is kept in the log, for the service's /metrics and for
monitoring.retrain; with --end it is not, since a look back is no news. `dvc --cd monitoring repro` does the same in two
steps, for a window that can be looked at again, and keeps nothing in the log. Nor does --scores OUT, which looks at the
files that python -m serve.score wrote there, in seconds however large they are.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from churn.script import InputError, as_json, run

STATUS = {"healthy": 0, "warn": 0, "breach": 1, "unknown": 2}


def main(argv: Sequence[str] | None = None) -> None:
    # imported here: a module that can't be is a crash like any other, which ends with 2, not with Python's own 1
    from churn.params import read_knobs
    from churn.profit import Profit
    from monitoring.check.knobs import Limits
    from monitoring.check.page import as_text
    from monitoring.check.production import nothing_to_see, record, snapshot_now
    from monitoring.check.report import report, write_report
    from monitoring.check.scored import snapshot_of

    parser = argparse.ArgumentParser(prog="python -m monitoring.check", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print it for programs")
    parser.add_argument("--end", type=datetime.fromisoformat, help="of the window; by default now")
    parser.add_argument("--html", type=Path, metavar="FOLDER", help="also write check.json, report.html and drift.html")
    parser.add_argument("--scores", metavar="OUT", help="of python -m serve.score, in place of the log")
    arguments = parser.parse_args(argv)
    try:
        limits, profit = read_knobs("monitoring.report", Limits), read_knobs("profit", Profit)
        taken = snapshot_of(arguments.scores) if arguments.scores else snapshot_now(arguments.end)
        made, charts = report(taken, profit, limits)
        if arguments.html:
            files = (arguments.html / name for name in ("check.json", "report.html", "drift.html"))
            write_report(made, charts, *files)
    except (InputError, OSError) as error:  # --json says why
        made = nothing_to_see(error)
    if not arguments.end and not arguments.scores:
        record(made)
    sys.stdout.write(as_json(made.as_dict()) if arguments.json else as_text(made))
    sys.exit(STATUS[made.verdict])


if __name__ == "__main__":
    run(main, "monitoring.check", mistake=2)
