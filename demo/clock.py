"""The demo's clock. A month passes by moving all that was written down a month back: what ran is real, its dates move.

Nobody waits thirty days for a demo, and no code of the service or the monitoring knows of another clock than the
system's. So answers, outcomes, checks and acts of the demo's own store get older, and all their distances stay.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from churn.script import write_text
from churn.urls import sqlite_url
from serve.log.database import connect, write_lock
from serve.log.tables import db_time
from serve.releases.store import LEDGER

STAMP = 14  # digits of an id that are its moment, in microseconds
FORMAT = "%Y-%m-%d %H:%M:%S.%f"  # in which SQLite keeps times
WINDOW = ("start", "end", "cohort_start", "cohort_end")


def pass_time(releases: Path, by: timedelta) -> None:
    """Make all that stands in the log (SQLite) and in the ledger of these releases older by so much.

    In one transaction and in turn with the service, which has the file open. Who holds acts in memory, as the service
    does, goes on seeing them where they were.
    """
    engine = connect(sqlite_url(releases / "log.db"))
    try:
        with write_lock(engine)(), engine.begin() as connection:
            driver: Any = connection.connection.driver_connection
            functions: dict[str, Callable[[Any], Any]] = {
                "moved_id": lambda name: moved_id(name, by),
                "moved": lambda text: db_time(datetime.strptime(text, FORMAT) - by),
                "moved_check": lambda found: moved_check(found, by),
            }
            for name, function in functions.items():
                driver.create_function(name, 1, function, deterministic=True)
            for change in (
                "predictions SET id = moved_id(id), at = moved(at)",
                "outcomes SET observed_at = moved(observed_at), received_at = moved(received_at)",
                "contacts SET at = moved(at), received_at = moved(received_at)",
                "campaigns SET received_at = moved(received_at)",
                "checks SET at = moved(at), found = moved_check(found)",
            ):
                connection.exec_driver_sql(f"UPDATE {change}")
    finally:
        engine.dispose()
    for path in sorted((releases / LEDGER).glob("*.json")):
        write_text(path, moved_act(path.read_text(encoding="utf-8"), by))


def moved_id(name: str, by: timedelta) -> str:
    """An id begins with its moment; what makes it the only one of that moment stays."""
    return f"{int(name[:STAMP], 16) - by // timedelta(microseconds=1):0{STAMP}x}{name[STAMP:]}"


def moved_check(found: str, by: timedelta) -> str:
    """What a check found, as JSON, in an earlier window."""
    report = json.loads(found)
    return json.dumps(report | {"window": _earlier(report["window"], WINDOW, by)})


def moved_act(act: str, by: timedelta) -> str:
    """An act of the ledger, as JSON, and what a retraining learned from."""
    content = _earlier(json.loads(act), ("at",), by)
    if "lineage" in content:
        content["lineage"] = _earlier(content["lineage"], ("since", "until"), by)
    return json.dumps(content, indent=1) + "\n"


def _earlier(content: dict[str, Any], names: tuple[str, ...], by: timedelta) -> dict[str, Any]:
    times = {name: content[name] for name in names if content.get(name)}
    return content | {name: (datetime.fromisoformat(at) - by).astimezone(UTC).isoformat() for name, at in times.items()}
