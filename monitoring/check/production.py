"""Production as it is now: a snapshot that ends now, and the log, which keeps its report."""

import logging
from dataclasses import replace
from datetime import UTC, datetime

from churn.campaigns import read_lasts
from churn.params import read_knobs
from churn.script import InputError
from monitoring.check.findings import Reason, Report
from monitoring.check.knobs import SnapshotKnobs
from monitoring.check.snapshot import champion, snapshot
from monitoring.check.snapshot_files import Snapshot
from monitoring.frames import open_log
from serve.log import checks

log = logging.getLogger("monitoring.check")


def snapshot_now(end: datetime | None = None) -> Snapshot:
    """A snapshot of the champion whose window ends now, or at `end`."""
    knobs = replace(read_knobs("monitoring.snapshot", SnapshotKnobs), end=end or "now")
    release = champion()
    with open_log() as connection:
        return snapshot(connection, release, datetime.now(UTC), knobs, read_lasts())


def nothing_to_see(error: Exception) -> Report:
    """The report without a log, a champion or knobs."""
    reason = Reason(id="nothing_to_see", level="unknown", words=str(error))
    return Report(verdict="unknown", reasons=[reason], findings=None)


def record(made: Report) -> None:
    """Keep it in the log, if there is something to keep; a failure to do so is only a warning."""
    if made.findings is None:
        return
    try:
        with open_log() as connection:
            checks.record(connection, datetime.now(UTC), made.as_dict())
    except (InputError, OSError) as error:
        log.warning("this check is not kept: %s", str(error).partition("\n")[0])
