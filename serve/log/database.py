"""The log's database, SQLite or PostgreSQL: connecting, making its file, and one writer at a time."""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from churn.script import InputError
from serve.log.spool import FLAGS, SpoolFull, lock
from serve.telemetry.logs import raised_at

LOCK_SECONDS = 0.5  # for each of two locks, the service's and SQLite's own: the service stands still for as long
SCRUB_SECONDS = 30.0  # that an erasure waits for others to let go of SQLite's file
ANSWER_SECONDS = 4.0  # for an answer of PostgreSQL, which itself gives up on a lock sooner
EXAMPLES = "expected sqlite:///folder/log.db or postgresql://user:password@host/database"


def connect(url: str) -> Engine:
    """An engine for the log's database, which need not be there yet; an InputError where the URL can't be used."""
    try:
        parsed = make_url(url)
        match parsed.get_backend_name():
            case "sqlite":
                if not parsed.database or parsed.database.startswith((":memory:", "file:")):
                    raise InputError(f"CHURN_LOG_URL names no file; {EXAMPLES}")
                engine = create_engine(parsed, connect_args={"timeout": LOCK_SECONDS, "check_same_thread": False})
                event.listen(engine, "connect", _set_up_sqlite)
            case "postgresql":
                driver = parsed.set(drivername="postgresql+psycopg")
                limits = {
                    "connect_timeout": 3,
                    "tcp_user_timeout": 5000,
                    "options": "-c timezone=utc",
                    "client_encoding": "utf8",  # whatever the database's: it then says itself what it can't take
                }
                engine = create_engine(driver, connect_args=limits, pool_pre_ping=True)
            case other:
                raise InputError(f"CHURN_LOG_URL names the database {other!r}; {EXAMPLES}")
    except (ArgumentError, ImportError, ValueError) as error:
        raise InputError(f"CHURN_LOG_URL is no URL of a database ({type(error).__name__}); {EXAMPLES}") from None
    return engine


def wait_impatiently(dialect: Any, record: Any, words: Any, options: dict[str, Any]) -> Any:
    """A connection that waits for ever neither for a server that stands still nor for a lock on a table."""
    import psycopg  # SQLite does without

    class Impatient(psycopg.Connection[Any]):
        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            try:
                return super().wait(gen, interval, timeout or ANSWER_SECONDS)
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


def create_file(engine: Engine) -> None:
    """SQLite's file, for this user's eyes alone: it holds customers."""
    if engine.dialect.name == "sqlite":
        with suppress(FileExistsError):
            # not by open: to close it would give up the locks of this process's connections, and the next process to
            # leave would remove the journal they write to
            os.mknod(str(engine.url.database), 0o600)


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """An existing log; an InputError where there is none or its database refuses."""
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


def scrub(engine: Engine) -> None:
    """Have no byte of removed rows in SQLite's file and its journal; a TimeoutError where others do not let go of them.

    The file is written anew, as free pages and gaps between cells hold what once was there. The service's rows go to
    its spool meanwhile.
    """
    if engine.dialect.name != "sqlite":
        return
    end = time.monotonic() + SCRUB_SECONDS
    turn = write_lock(engine)
    with turn(SCRUB_SECONDS), engine.connect() as connection:
        plain = connection.execution_options(isolation_level="AUTOCOMMIT")
        plain.exec_driver_sql(f"PRAGMA busy_timeout = {SCRUB_SECONDS * 1000:.0f}")
        plain.exec_driver_sql("VACUUM")
        plain.exec_driver_sql(f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000:.0f}")
        while plain.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:
            if time.monotonic() > end:
                raise TimeoutError("a reader holds the journal; it still has removed rows")
            time.sleep(0.05)


def first_line(error: Exception) -> str:
    """What the database said, without the statement and its values; of other errors where they come from."""
    if isinstance(error, InputError | SpoolFull):
        return str(error)
    if not isinstance(error, SQLAlchemyError | OSError):
        return raised_at(error)
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0] or type(error).__name__


def write_lock(engine: Engine) -> Callable[..., AbstractContextManager[Any]]:
    """One writer at a time for SQLite, which waits by sleeping; with this lock the next worker goes on at once.

    Its argument is how many seconds it waits, LOCK_SECONDS where it has none.
    """
    if engine.dialect.name != "sqlite":
        return nullcontext
    path = Path(f"{engine.url.database}.turn")
    path.parent.mkdir(parents=True, exist_ok=True)
    threads, file = threading.Lock(), os.open(path, FLAGS, 0o600)
    line = os.open(path.with_suffix(".line"), FLAGS, 0o600)

    @contextmanager
    def turn(seconds: float = 0.0) -> Iterator[None]:
        seconds = seconds or LOCK_SECONDS
        end = time.monotonic() + seconds
        if not threads.acquire(timeout=seconds):
            raise TimeoutError("another thread holds the lock")
        try:
            lock(file, end - time.monotonic(), line)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)
        finally:
            threads.release()

    return turn
