"""Where predictions are written: the database, or the spool while it is down; and outcomes, to the database alone."""

import logging
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, delete, event, select
from sqlalchemy.exc import SQLAlchemyError

from serve.log.database import (
    check_file,
    connect,
    first_line,
    wait_impatiently,
    write_lock,
)
from serve.log.migrate import Unusable, migrate
from serve.log.outcomes import matched
from serve.log.refused import ReportsRefused, is_row_refused, kind_of, refused_places
from serve.log.reported import keep, keep_contacts
from serve.log.spool import Spool, SpoolFull
from serve.log.tables import (
    CLOCK_SKEW,
    COLUMNS,
    Check,
    Row,
    as_line,
    as_row,
    checks,
    db_time,
    new_id,
    outcomes,
    predictions,
)
from serve.telemetry import metrics

log = logging.getLogger("serve.log")

RETRY_SECONDS = 0.5  # seconds between attempts to reach a database that is down
INSERT_ROWS = 500  # rows of one INSERT; both databases have room for so many parameters
JOURNAL_PAGES = 24_000  # pages of SQLite's journal from which on writers wait until it begins anew
MANY_PAGES = 1_000  # that come a second: more of them are moved each MOMENT, as commits wait while the disk takes them
MOMENT = 0.03  # seconds
CHECK_SECONDS = 10.0  # seconds between looks at the last check
PING_SECONDS = 2.0  # seconds without a write after which the database is asked whether it is there


class LogFull(Exception):
    """Neither the database nor the spool takes rows."""


class LogDown(Exception):
    """The database can't be asked or written to now."""


class Written(NamedTuple):
    """What became of rows: how many of those beside the answers the database took, and the places of the answers' rows
    that it refuses for what they hold."""

    beside: int
    refused: frozenset[int] = frozenset()


class PredictionLog:
    """Where predictions are written: the database, or the spool while it is down.

    A thread of its own drains the spool and watches the database.
    """

    def __init__(self, url: str, spool: Spool):
        self.engine, self.spool = connect(url), spool
        self.problem = "not connected yet"  # why the database can't be written to, empty when it can
        self.accepts = True  # the database or the spool takes rows
        self.check: Check | None = None  # the last one, as far as the database could be asked
        self.is_file = self.engine.dialect.name == "sqlite"
        if not self.is_file:
            event.listen(self.engine, "do_connect", wait_impatiently)
        self._connection: Connection | None = None  # of write, which one thread at a time calls
        self._recording = threading.Lock()
        self._last_write = 0.0
        self._files: dict[tuple[int, int], int] = {}  # descriptors of SQLite's file, and of one that was in its place
        self._pages = 0  # of the journal
        self._stop = threading.Event()
        self._write_lock = write_lock(self.engine)
        self._mark = "?" if self.engine.dialect.paramstyle == "qmark" else "%s"
        self._watcher = threading.Thread(target=self._watch, name="log-watcher", daemon=True)

    def open(self) -> None:
        """Connect; a database that is down is no error, the spool stands in; Unusable is raised."""
        self._recover(is_start=True)
        self._watcher.start()

    def close(self) -> None:
        self._stop.set()
        if self._watcher.is_alive():
            self._watcher.join()
        self._disconnect()
        self.engine.dispose()
        for file in self._files.values():  # not before: it gives up the locks of this process's connections
            os.close(file)
        self.spool.close()

    def state(self) -> tuple[Literal["ready", "degraded", "unready"], str]:
        """Whether rows are taken, and why not or only by the spool; what the database said stays in the log."""
        if not self.problem:
            return "ready", ""
        if self.accepts:
            return "degraded", "the log's database is down; rows go to the spool"
        return "unready", "the log's database is down, and the spool takes no rows"

    def write(self, rows: Sequence[Row], beside: Sequence[Row] = ()) -> Written:
        """Commit the rows to the database, or append them to the spool; LogFull where neither takes them.

        Those beside are lost where the database does not take them.
        """
        if not self.problem and not self.spool.size:
            try:
                self._connection = self._connection or self.engine.connect()
                refused = self._insert(self._connection, [*rows, *beside])
                self._last_write = time.monotonic()
                ours = frozenset(place for place in refused if place < len(rows))
                if ours:
                    with suppress(SpoolFull, OSError):  # nobody was told that they are kept
                        self._set_aside([as_line(rows[place]) for place in sorted(ours)])
                return Written(len(beside) - len(refused) + len(ours), ours)
            except (SQLAlchemyError, OSError) as error:
                self._down(error)
                self._disconnect()
        if not rows:
            return Written(0)
        try:
            self.spool.append([as_line(row) for row in rows])
        except (SpoolFull, OSError) as error:  # a failing disk is no fault of the model
            if self.accepts:
                log.error("neither the log's database nor the spool takes rows: %s", first_line(error))
            self.accepts = False
            raise LogFull(str(error)) from None
        return Written(0)

    def _insert(self, connection: Connection, rows: Sequence[Row]) -> list[int]:
        """Commit the rows, but for those that the database refuses for what they hold; the places of these."""
        check_file(connection)
        try:
            with self._write_lock(), connection.begin():
                self._execute(connection, rows)
            return []
        except (SQLAlchemyError, UnicodeError) as error:
            if not is_row_refused(error):
                raise
            why = kind_of(error)
        with self._write_lock():
            with connection.begin():
                self._try(connection)  # fails where the table takes no row at all
            refused = list(refused_places(connection, rows, lambda part: self._execute(connection, part)))
        log.error("the log's database refuses %d of %d rows: %s", len(refused), len(rows), why)
        return refused

    def _set_aside(self, lines: Sequence[Mapping[str, Any]]) -> None:
        metrics.log_refused.inc(len(lines))
        self.spool.set_aside(lines)
        log.error("%d rows that the log's database does not take are in %s", len(lines), self.spool.refused_path)

    def _take(self, connection: Connection, lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Commit lines of the spool; those that the database does not take."""
        whole = [line for line in lines if line.keys() >= set(COLUMNS)]  # the others are of another version
        refused = self._insert(connection, [as_row(line) for line in whole])
        return [line for line in lines if not line.keys() >= set(COLUMNS)] + [whole[place] for place in refused]

    def _drain(self, connection: Connection, lines: Sequence[Mapping[str, Any]]) -> None:
        """Commit lines of the spool; those that never will be are set aside, so that they hold up no others."""
        if refused := self._take(connection, lines):
            self._set_aside(refused)

    def retry(self) -> tuple[int, int]:
        """Commit the rows that were set aside; how many the database took, and how many it still refuses.

        A SQLAlchemyError where it takes none at all.
        """
        counts = Counter[str]()

        def insert(lines: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
            with self.engine.connect() as connection:
                refused = self._take(connection, lines)
            counts.update(taken=len(lines) - len(refused), refused=len(refused))
            return refused

        self.spool.retry(insert)
        return counts["taken"], counts["refused"]

    def _execute(self, connection: Connection, rows: Sequence[Row]) -> None:
        # SQLAlchemy's own statement would take as long again as the database
        for start in range(0, len(rows), INSERT_ROWS):
            part = rows[start : start + INSERT_ROWS]
            connection.exec_driver_sql(insert_sql(len(part), self._mark), tuple(chain.from_iterable(part)))

    def _down(self, error: Exception) -> None:
        said = first_line(error)
        if not self.problem:
            log.error("the log's database is down, rows go to the spool: %s", said)
        self.problem = said

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                connection.close()
            except SQLAlchemyError:
                connection.invalidate()

    def _watch(self) -> None:
        looked, pause = -math.inf, RETRY_SECONDS
        while not self._stop.wait(pause):
            quiet = time.monotonic() - self._last_write
            if self.problem or self.spool.size or quiet > PING_SECONDS:
                self._recover()
            is_moved = self.is_file and quiet < 2 * RETRY_SECONDS
            pause = MOMENT if is_moved and self._checkpoint() > MANY_PAGES * pause else RETRY_SECONDS
            if not self.problem and time.monotonic() >= looked + CHECK_SECONDS:
                self._look()
                looked = time.monotonic()

    def _look(self) -> None:
        """Read the last check; keep the one read before where that fails."""
        columns = [checks.c[name] for name in Check._fields]
        in_time = checks.c.at <= datetime.now(UTC) + CLOCK_SKEW  # one of the future would hide all others until then
        newest = select(*columns).where(in_time).order_by(checks.c.at.desc()).limit(1)
        try:
            with self.engine.connect() as connection:
                row = connection.execute(newest).one_or_none()
        except Exception as error:  # the watcher must survive any error
            log.warning("the last check can't be read: %s", first_line(error))
        else:
            self.check = Check(*row) if row else None

    def _checkpoint(self) -> int:
        """Move SQLite's journal into its database, and say how many pages came since the last time.

        Within a commit, where SQLite does it, answers wait for 20 ms.
        """
        before, move = self._pages, "PRAGMA wal_checkpoint(PASSIVE)"  # while others write
        with (
            suppress(SQLAlchemyError, OSError),
            self.engine.connect() as connection,
        ):  # the next write reports it
            check_file(connection)
            _, self._pages, _ = connection.exec_driver_sql(move).one()
            # SQLite leaves the sync to the move that comes to the journal's end, for which writers wait
            os.fsync(self._descriptor(*connection.info["file"]))
            if self._pages > JOURNAL_PAGES:
                with self._write_lock():  # no writer: all is moved and the journal begins anew
                    connection.exec_driver_sql(move)
        return self._pages - before if self._pages >= before else self._pages

    def _descriptor(self, path: Path, opened: os.stat_result) -> int:
        """Of SQLite's file; it stays open until the connections are closed."""
        key = opened.st_dev, opened.st_ino
        if key not in self._files:
            self._files[key] = os.open(path, os.O_RDONLY)
        return self._files[key]

    def _recover(self, is_start: bool = False) -> None:
        """Hand what the spool holds to the database, and see whether both take rows."""
        was_down, waiting = self.problem, self.spool.size
        try:
            if was_down:
                self.engine.dispose()  # connections to the database before
                migrate(self.engine, self._write_lock)
            with self.engine.connect() as connection:
                check_file(connection)
                if waiting:
                    self.spool.drain(lambda lines: self._drain(connection, lines))
                elif was_down:
                    with self._write_lock(), connection.begin():
                        self._try(connection)
                else:
                    connection.execute(select(1))
        except Exception as error:  # the watcher must survive any error
            if is_start and isinstance(error, Unusable):
                raise
            self._down(error)
            self.accepts = self.spool.accepts()
            return
        self.problem, self.accepts = "", True
        if waiting and not self.spool.size:
            log.info("the spool's %d bytes are in the database", waiting)
        elif was_down:
            log.info("the log's database takes rows")

    def _try(self, connection: Connection) -> None:
        """Write a row and remove it again, in the open transaction: a full disk still answers questions."""
        row = (id_ := f"probe-{new_id()}", "", db_time(datetime.now(UTC)), "", "{}", 0.0, "", 0.0, "", "", 0.0)
        self._execute(connection, [row])
        connection.execute(delete(predictions).where(predictions.c.id == id_))

    def record(self, sent: Sequence[Mapping[str, Any]]) -> int:
        """Keep outcomes {customer_id, request_id, observed_at, churned}; how many belong to an answer.

        LogDown where the database does not take them all, ReportsRefused where it refuses some for what they hold;
        those that it took are no harm when they come again.
        """
        with self._reporting() as connection:
            if refused := keep(connection, self._write_lock, outcomes, sent):
                raise ReportsRefused(refused)
            return matched(connection, sent)

    def record_contacts(self, sent: Sequence[Mapping[str, Any]]) -> None:
        """Keep contacts {customer_id, campaign, at, offered, share}; errors as with outcomes."""
        with self._reporting() as connection:
            if refused := keep_contacts(connection, self._write_lock, sent):
                raise ReportsRefused(refused)

    @contextmanager
    def _reporting(self) -> Iterator[Connection]:
        try:
            # one at a time: many writers would keep predictions waiting
            with self._recording, self.engine.connect() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            raise LogDown from error


@cache
def insert_sql(rows: int, mark: str) -> str:
    """One statement for a group: executing one a row would hand over the interpreter's lock as often."""
    one = f"({', '.join([mark] * len(COLUMNS))})"
    values = ", ".join([one] * rows)
    names = ", ".join(COLUMNS)
    return f"INSERT INTO predictions ({names}) VALUES {values} ON CONFLICT (id) DO NOTHING"  # nosec B608: no values
