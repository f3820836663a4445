"""The log, in SQLite or PostgreSQL: a table of predictions, one of outcomes, one of checks; and old rows removed.

`python -m serve.log prune --days 400` removes what is older. The log is where CHURN_LOG_URL says.
"""

import argparse
import fcntl
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import chain, count
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    DateTime,
    Dialect,
    Double,
    Engine,
    Index,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    create_engine,
    delete,
    event,
    inspect,
    make_url,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.schema import CreateIndex, CreateTable

from churn.script import InputError
from serve.log.spool import FLAGS, Spool, SpoolFull, lock
from serve.settings import read_settings
from serve.telemetry.logs import place

log = logging.getLogger("serve.log")

RETRY = 0.5  # seconds between attempts to reach a database that is down
STEP = 1_000  # rows that one transaction of `prune` removes
GROUP = 500  # rows of one INSERT; both databases have room for so many parameters
WAIT = 0.5  # seconds for each of two locks, the service's and SQLite's own: the service stands still for as long
PATIENCE = 4.0  # seconds for an answer of PostgreSQL, which itself gives up on a lock sooner
JOURNAL = 16_000  # pages of SQLite's journal from which on writers wait until it begins anew
LOOK = 10.0  # seconds between looks at the last check
PING = 2.0  # seconds without a write after which the database is asked whether it is there


class Moment(TypeDecorator[datetime]):
    """A time in UTC: timestamptz in PostgreSQL, text in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value and (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC))


metadata = MetaData()
ANSWERED = text("arm <> 'shadow'")  # said by a query in these words, or it can't use the indexes by name

predictions = Table(
    "predictions",
    metadata,
    Column("id", Text, primary_key=True),  # the service's own, ascending in time: `first_id` is how to ask for a window
    Column("request_id", Text, nullable=False),  # what the answer calls it; a client that repeats itself may repeat it
    Column("at", Moment, nullable=False),
    Column("customer_id", Text),
    Column("features", JSON, nullable=False),  # the customer as it was sent, schema names; {} in the shadow's rows
    Column("churn_probability", Double, nullable=False),
    Column("prediction", Text, nullable=False),  # churn or no_churn
    Column("threshold", Double, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("arm", Text, nullable=False),  # champion, challenger; shadow: beside the answer of the same request_id
    Column("latency_ms", Double, nullable=False),  # from the request's arrival to its probability
    # answers are what is looked for by name: the shadow's rows would cost as much again
    Index("predictions_request_id", "request_id", sqlite_where=ANSWERED, postgresql_where=ANSWERED),
    Index("predictions_customer_id", "customer_id", sqlite_where=ANSWERED, postgresql_where=ANSWERED),
    sqlite_with_rowid=False,  # rows lie in the order of their ids, without an index beside the table
)

outcomes = Table(
    "outcomes",
    metadata,
    # one of the two names whose outcome it is, the other is empty
    Column("customer_id", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("observed_at", Moment, primary_key=True),
    Column("churned", Boolean, nullable=False),
    Column("received_at", Moment, nullable=False),
    Index("outcomes_received_at", "received_at"),
)

checks = Table(
    "checks",
    metadata,
    Column("at", Moment, primary_key=True),
    Column("model_version", Text, nullable=False),  # whose answers were looked at
    Column("verdict", Text, nullable=False),  # healthy, warn, breach, unknown
    Column("found", JSON, nullable=False),  # the whole report, as `python -m monitoring.check --json` prints it
)


class Check(NamedTuple):
    """A row of checks."""

    at: datetime
    model_version: str
    verdict: str
    found: dict[str, Any]  # null where a number is not known


NAMES = ("customer_id", "request_id")  # an outcome has one of them
COLUMNS = [str(column.name) for column in predictions.columns]  # orjson takes no subclass of str for a key
Row = tuple[Any, ...]  # of predictions, plain values in the order of COLUMNS


def as_row(named: Mapping[str, Any]) -> Row:
    """The row of a line of the spool."""
    return tuple(named[name] for name in COLUMNS)


@cache
def insert_sql(rows: int, mark: str) -> str:
    """One statement for a group: executing one a row would hand over the interpreter's lock as often."""
    one = f"({', '.join([mark] * len(COLUMNS))})"
    values = ", ".join([one] * rows)
    names = ", ".join(COLUMNS)
    return f"INSERT INTO predictions ({names}) VALUES {values} ON CONFLICT (id) DO NOTHING"  # nosec B608: no values


def moment(at: datetime) -> str:
    """`at` (UTC) as both databases take it from INSERT, and as SQLite keeps it."""
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")


_own, _numbers = os.urandom(5).hex(), count()


def new_id() -> str:
    """Hexadecimal digits: microseconds since 1970, then this process's own, then a number. Later ids sort later."""
    # no chance for each id: asking the system for it hands over the interpreter's lock
    return f"{time.time_ns() // 1000:014x}{_own}{next(_numbers) & 0xFFFFFFFF:08x}"


def first_id(at: datetime) -> str:
    """Below every id of that moment and later, above every earlier one."""
    return f"{int(at.timestamp() * 1_000_000):014x}"


def moment_of(name: str) -> datetime:
    """When the answer of that id was given."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(name[:14], 16))


class LogFull(Exception):
    """Neither the database nor the spool takes rows."""


class LogDown(Exception):
    """The database can't be asked or written to now."""


EXAMPLES = "expected sqlite:///folder/log.db or postgresql://user:password@host/database"


def connect(url: str) -> Engine:
    """An engine for the log's database, which need not be there yet; an InputError where the URL can't be used."""
    try:
        parsed = make_url(url)
        match parsed.get_backend_name():
            case "sqlite":
                if not parsed.database or parsed.database.startswith((":memory:", "file:")):
                    raise InputError(f"CHURN_LOG_URL names no file; {EXAMPLES}")
                engine = create_engine(parsed, connect_args={"timeout": WAIT, "check_same_thread": False})
                event.listen(engine, "connect", _set_up_sqlite)
            case "postgresql":
                driver = parsed.set(drivername="postgresql+psycopg")
                limits = {"connect_timeout": 3, "tcp_user_timeout": 5000, "options": "-c timezone=utc"}
                engine = create_engine(driver, connect_args=limits, pool_pre_ping=True)
            case other:
                raise InputError(f"CHURN_LOG_URL names the database {other!r}; {EXAMPLES}")
    except (ArgumentError, ImportError, ValueError) as error:
        raise InputError(f"CHURN_LOG_URL is no URL of a database ({type(error).__name__}); {EXAMPLES}") from None
    return engine


def _impatiently(dialect: Any, record: Any, words: Any, options: dict[str, Any]) -> Any:
    """A connection that waits for ever neither for a server that stands still nor for a lock on a table."""
    import psycopg  # SQLite does without

    class Impatient(psycopg.Connection[Any]):
        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            try:
                return super().wait(gen, interval, timeout or PATIENCE)
            except psycopg.OperationalError:
                self.close()  # where it gave up waiting, the connection is in the middle of something
                raise

    return Impatient.connect(*words, **options | {"options": f"{options['options']} -c lock_timeout=2000"})


def _set_up_sqlite(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # a committed row outlives a power cut
    connection.execute("PRAGMA wal_autocheckpoint = 100000")  # pages: the watcher is there long before
    path = Path(connection.execute("PRAGMA database_list").fetchone()[2])
    record.info["file"] = path, path.stat()


def check_file(connection: Connection) -> None:
    """SQLite would go on writing to a file that was removed or replaced."""
    if file := connection.info.get("file"):
        path, opened = file
        if not os.path.samestat(opened, path.stat()):
            raise FileNotFoundError(f"{path} is not the file that was opened")


def create_tables(engine: Engine) -> None:
    """The tables and indexes that are not there yet."""
    if engine.dialect.name == "sqlite":
        with suppress(FileExistsError):
            # for this user's eyes alone: it holds customers. Not by open: to close it would give up the locks of this
            # process's connections, and the next process to leave would remove the journal they write to
            os.mknod(str(engine.url.database), 0o600)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # IF NOT EXISTS alone fails when two workers start at once
            connection.execute(text("SELECT pg_advisory_xact_lock(5170391)"))
        for table in metadata.sorted_tables:
            connection.execute(CreateTable(table, if_not_exists=True))
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                connection.execute(CreateIndex(index, if_not_exists=True))


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
            event.listen(self.engine, "do_connect", _impatiently)
        self._connection: Connection | None = None  # of write, which one thread at a time calls
        self._recording = threading.Lock()
        self._last_write = 0.0
        self._stop = threading.Event()
        self._turn = turns(self.engine)
        self._mark = "?" if self.engine.dialect.paramstyle == "qmark" else "%s"
        self._watcher = threading.Thread(target=self._watch, name="log-watcher", daemon=True)

    def open(self) -> None:
        """Connect; a database that is down is no error, the spool stands in."""
        self._recover()
        self._watcher.start()

    def close(self) -> None:
        self._stop.set()
        self._watcher.join()
        self._disconnect()
        self.engine.dispose()
        self.spool.close()

    def state(self) -> tuple[Literal["ready", "degraded", "unready"], str]:
        """Whether rows are taken, and why not or only by the spool; what the database said stays in the log."""
        if not self.problem:
            return "ready", ""
        if self.accepts:
            return "degraded", "the log's database is down; rows go to the spool"
        return "unready", "the log's database is down, and the spool takes no rows"

    def write(self, rows: Sequence[Row], beside: Sequence[Row] = ()) -> int:
        """Commit the rows to the database, or append them to the spool; LogFull where neither takes them.

        Those beside are lost where the database does not take them; returns how many it took.
        """
        if not self.problem and not self.spool.size:
            try:
                self._connection = self._connection or self.engine.connect()
                self._insert(self._connection, [*rows, *beside])
                self._last_write = time.monotonic()
                return len(beside)
            except (SQLAlchemyError, OSError) as error:
                self._down(error)
                self._disconnect()
        if not rows:
            return 0
        try:
            self.spool.append([dict(zip(COLUMNS, row, strict=True)) for row in rows])
        except (SpoolFull, OSError) as error:  # a disk that fails is no fault of who was asked for the probability
            self.accepts = False
            raise LogFull(str(error)) from None
        return 0

    def _insert(self, connection: Connection, rows: Sequence[Row]) -> None:
        check_file(connection)
        with self._turn(), connection.begin():
            self._execute(connection, rows)

    def _execute(self, connection: Connection, rows: Sequence[Row]) -> None:
        # SQLAlchemy's own statement would take as long again as the database
        for start in range(0, len(rows), GROUP):
            part = rows[start : start + GROUP]
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
        looked = -math.inf
        while not self._stop.wait(RETRY):
            quiet = time.monotonic() - self._last_write
            if self.problem or self.spool.size or quiet > PING:
                self._recover()
            if self.is_file and quiet < 2 * RETRY:
                self._checkpoint()
            if not self.problem and time.monotonic() >= looked + LOOK:
                self._look()
                looked = time.monotonic()

    def _look(self) -> None:
        """See what the last check found; where it can't be read, what was read last stays."""
        newest = select(*(checks.c[name] for name in Check._fields)).order_by(checks.c.at.desc()).limit(1)
        try:
            with self.engine.connect() as connection:
                row = connection.execute(newest).one_or_none()
        except Exception as error:  # whatever it is, the watcher goes on watching
            log.warning("the last check can't be read: %s", first_line(error))
        else:
            self.check = Check(*row) if row else None

    def _checkpoint(self) -> None:
        """Move SQLite's journal into its database: within a commit, where SQLite does it, answers wait for 20 ms."""
        move = "PRAGMA wal_checkpoint(PASSIVE)"  # while others write
        with (
            suppress(SQLAlchemyError, OSError),
            self.engine.connect() as connection,
        ):  # the next to write says what it is
            check_file(connection)
            _, pages, _ = connection.exec_driver_sql(move).one()
            if pages > JOURNAL:
                with self._turn():  # nobody writes, so that all is moved and the journal begins anew
                    connection.exec_driver_sql(move)

    def _recover(self) -> None:
        """Hand what the spool holds to the database, and see whether both take rows."""
        was_down, waiting = self.problem, self.spool.size
        try:
            if was_down:
                self.engine.dispose()  # connections to what was there before
                with self._turn():  # who finds another one on the way to WAL is told at once that it is locked
                    create_tables(self.engine)
            with self.engine.connect() as connection:
                check_file(connection)
                if waiting:
                    self.spool.drain(lambda rows: self._insert(connection, [as_row(row) for row in rows]))
                elif was_down:
                    self._try(connection)
                else:
                    connection.execute(select(1))
        except Exception as error:  # whatever it is, the watcher goes on watching
            self._down(error)
            self.accepts = self.spool.accepts()
            return
        self.problem, self.accepts = "", True
        if waiting and not self.spool.size:
            log.info("the spool's %d bytes are in the database", waiting)
        elif was_down:
            log.info("the log's database takes rows")

    def _try(self, connection: Connection) -> None:
        """Write a row and remove it again: a full disk still answers questions."""
        row = (id_ := f"probe-{new_id()}", "", moment(datetime.now(UTC)), "", "{}", 0.0, "", 0.0, "", "", 0.0)
        with self._turn(), connection.begin():
            self._execute(connection, [row])
            connection.execute(delete(predictions).where(predictions.c.id == id_))

    def record(self, found: Sequence[Mapping[str, Any]]) -> int:
        """Keep outcomes {customer_id, request_id, observed_at, churned}; how many belong to a logged prediction.

        LogDown where the database does not take them all; those that it took are no harm when they come again.
        The last word on a customer, or a request, at one moment counts; saying it again changes nothing.
        """
        insert = sqlite.insert(outcomes) if self.is_file else postgresql.insert(outcomes)
        upsert = insert.on_conflict_do_update(
            index_elements=list(outcomes.primary_key),
            set_={"churned": insert.excluded.churned, "received_at": insert.excluded.received_at},
            where=outcomes.c.churned != insert.excluded.churned,
        )
        now = datetime.now(UTC)
        last = {(o["customer_id"], o["request_id"], o["observed_at"]): {**o, "received_at": now} for o in found}
        rows = list(last.values())
        try:
            # one at a time: a crowd of writers would keep predictions waiting
            with self._recording, self.engine.connect() as connection:
                check_file(connection)
                for start in range(0, len(rows), GROUP):  # predictions are written in between
                    with self._turn(), connection.begin():
                        connection.execute(upsert, rows[start : start + GROUP])
                logged = {key: _logged(connection, key, {o[key] for o in found} - {""}) for key in NAMES}
        except (SQLAlchemyError, OSError) as error:
            raise LogDown from error
        return sum(any(o[key] in logged[key] for key in NAMES) for o in found)


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """A log that is there; an InputError where it is not, or its database says no."""
    engine = connect(url)
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).is_file():
        raise InputError(f"there is no log {engine.url.database}; say where it is by CHURN_LOG_URL or CHURN_RELEASES")
    try:
        yield engine
    except (SQLAlchemyError, TimeoutError) as error:
        where = engine.url.set(query={}).render_as_string()  # which hides a password, but not one of the query
        raise InputError(f"the log {where}: {first_line(error)}") from None
    finally:
        engine.dispose()


def first_line(error: Exception) -> str:
    """What the database said, without the statement and its values; of other errors where they come from."""
    if not isinstance(error, SQLAlchemyError | OSError):
        return place(error)
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0] or type(error).__name__


def _logged(connection: Connection, key: str, values: Set[str]) -> set[str]:
    """Those of `values` under which a prediction is in the log."""
    column, ordered = predictions.c[key], sorted(values)
    chunks = (ordered[i : i + 500] for i in range(0, len(ordered), 500))
    named = select(column).where(ANSWERED).distinct()
    return {found for c in chunks for found in connection.scalars(named.where(column.in_(c)))}


def turns(engine: Engine) -> Callable[[], AbstractContextManager[Any]]:
    """One writer at a time for SQLite, whose own waiting is sleeping: the next worker in line goes on at once."""
    if engine.dialect.name != "sqlite":
        return nullcontext
    path = Path(f"{engine.url.database}.turn")
    path.parent.mkdir(parents=True, exist_ok=True)
    threads, file = threading.Lock(), os.open(path, FLAGS, 0o600)

    @contextmanager
    def turn() -> Iterator[None]:
        end = time.monotonic() + WAIT
        if not threads.acquire(timeout=WAIT):
            raise TimeoutError("another thread holds the lock")
        try:
            lock(file, end - time.monotonic())
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)
        finally:
            threads.release()

    return turn


def prune(engine: Engine, before: datetime) -> dict[str, int]:
    """Remove predictions and checks made, and outcomes received, before that moment; how many of each table. In steps,
    so that the service writes in between."""
    turn, removed = turns(engine), {}
    is_old = {
        predictions: predictions.c.id < first_id(before),
        outcomes: outcomes.c.received_at < before,
        checks: checks.c.at < before,
    }
    if not has_checks(engine):
        del is_old[checks]
    for table in is_old:
        keys = list(table.primary_key)
        old = select(*keys).where(is_old[table]).limit(STEP)
        removed[table.name] = 0
        while True:
            with turn(), engine.begin() as connection:
                n = connection.execute(delete(table).where(tuple_(*keys).in_(old))).rowcount
            removed[table.name] += n
            if n < STEP:
                break
            log.info("%d %s removed so far", removed[table.name], table.name)
    return removed


def has_checks(database: Engine | Connection) -> bool:
    """False for a log that no service opened since there are checks."""
    return inspect(database).has_table(checks.name)


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
