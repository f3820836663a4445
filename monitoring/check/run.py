"""A look at production now: the champion's latest answers, the drift of its inputs, and how good it is.

`python -m monitoring.check [--json] [--end TIME] [--html FOLDER]` reads the log and prints the verdict with its
reasons. Exit status 0: healthy, or nothing worse than a warning; 1: a threshold is crossed; 2: it could not tell, for
there is no log, no champion or there are too few customers. What it found is kept in the log, for the service's
/metrics and for pages; but not with --end, since a look back is no news. `dvc --cd monitoring repro` does the same
in two steps, for a window that can be looked at again, and keeps nothing in the log.
"""

import argparse
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from churn.params import read_knobs, read_params
from churn.profit import Profit
from churn.script import InputError, as_json
from monitoring.check.page import known, performance, title
from monitoring.check.report import report, write_report
from monitoring.check.snapshot import champion, snapshot
from monitoring.check.snapshot_files import Snapshot
from monitoring.frames import open_log
from monitoring.text import row
from serve.log.checks import record

log = logging.getLogger("monitoring.check")

STATUS = {"healthy": 0, "warn": 0, "breach": 1, "unknown": 2}


def take(end: datetime | None) -> Snapshot:
    knobs = read_params("monitoring.snapshot", snapshot) | {"end": end or "now"}
    release = champion()
    with open_log() as connection:
        return snapshot(connection, release, datetime.now(UTC), **knobs)


def keep(found: Mapping[str, Any]) -> None:
    """Record it in the log; one that can't be written now is no reason to say less."""
    try:
        with open_log() as connection:
            record(connection, datetime.now(UTC), found)
    except (InputError, OSError) as error:
        log.warning("this check is not kept: %s", str(error).partition("\n")[0])


def no_answer(error: Exception) -> dict[str, Any]:
    """The report where there is nothing to look at."""
    return {"verdict": "unknown", "reasons": [{"id": "nothing_to_see", "level": "unknown", "words": str(error)}]}


def table(found: Mapping[str, Any]) -> str:
    """The report for people."""
    lines = [f"{reason['level']}: {reason['words']}" for reason in found["reasons"]]
    if "window" in found:
        lines = [title(found), "", row("", "estimated", "by outcomes", "minus estimated")]
        lines += [row(*cells) for cells in performance(found)]
        if drift := found["drift"]:
            lines += ["", f"{len(drift['drifted'])} of {len(drift['features'])} inputs drifted ({drift['share']:.0%}); "
                      f"the probabilities moved by {drift['prediction']:.3f} standard deviations"]  # fmt: skip
        lines += [known(found), "", *(f"{reason['level']}: {reason['words']}" for reason in found["reasons"])]
    lines.append(f"verdict: {found['verdict']}")
    return "".join(f"{line.rstrip()}\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m monitoring.check", description=__doc__)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--end", type=datetime.fromisoformat, help="of the window; now, where left out")
    parser.add_argument("--html", type=Path, metavar="FOLDER", help="write check.json, report.html and drift.html, too")
    given = parser.parse_args()
    try:
        knobs, profit = read_params("monitoring.report", report), read_knobs("profit", Profit)
        made = report(take(given.end), profit, **knobs)
        found = made.found
        if given.html:
            write_report(made, *(given.html / name for name in ("check.json", "report.html", "drift.html")))
    except (InputError, OSError) as error:  # else exit status 1, which says that a threshold is crossed
        found = no_answer(error)
    if not given.end and "window" in found:
        keep(found)
    sys.stdout.write(as_json(found) if given.json else table(found))
    sys.exit(STATUS[found["verdict"]])
