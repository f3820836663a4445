"""The log's tables brought to the version that this code knows, by Alembic's migrations in serve/log/migrations.

Each change of serve/log/tables.py brings a migration, so that upgrading the service takes no step of its own.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from churn.script import InputError
from serve.log.database import create_file, first_line

HEAD = "0002"  # of the newest file in migrations/versions
VERSIONS = "churn_log_version"  # a table of one row; MLflow may keep an alembic_version in the same database
NEEDED = {
    VERSIONS: ("SELECT",),
    "predictions": ("SELECT", "INSERT", "DELETE"),
    "outcomes": ("SELECT", "INSERT", "UPDATE"),
    "contacts": ("SELECT", "INSERT", "UPDATE"),
    "campaigns": ("SELECT", "INSERT"),
    "checks": ("SELECT",),
}


class Unusable(InputError):
    """The log's database is there, and the service can't work with it as it is."""


def migrate(engine: Engine, turn: Callable[[], AbstractContextManager[Any]] = nullcontext) -> None:
    """Create the tables or bring them to HEAD, one process at a time; Unusable says what must be done.

    Tables that are at HEAD already are only looked at: that needs no right to create any. `turn` is SQLite's lock.
    """
    with turn():  # another process may be switching the file to WAL, which would fail as locked
        create_file(engine)
        with engine.connect() as connection:
            is_postgresql = connection.dialect.name == "postgresql"
            if is_postgresql and (encoding := connection.scalar(text("SHOW server_encoding"))) != "UTF8":
                raise Unusable(f"the log's database has the encoding {encoding}; make one with ENCODING 'UTF8'")
            if is_postgresql and inspect(connection).has_table(VERSIONS):
                _check_rights(connection, VERSIONS)
            is_at_head = version_of(connection) == HEAD
            if is_postgresql and is_at_head:
                _check_rights(connection, *NEEDED)
    if not is_at_head:
        # imported here, out of the lock: nearly every start finds the tables as they should be
        from alembic.command import upgrade

        with turn(), engine.connect() as connection:
            _upgrade(connection, upgrade)


def version_of(connection: Connection) -> str | None:
    """Of the log's tables; None where there are none, or only those of a time before versions."""
    if not inspect(connection).has_table(VERSIONS):
        return None
    return connection.scalar(text(f"SELECT version_num FROM {VERSIONS}"))  # nosec B608: a constant


def _upgrade(connection: Connection, upgrade: Callable[[Any, str], None]) -> None:
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes |= {"connection": connection, "version_table": VERSIONS}
    try:
        with _alone(connection):
            upgrade(config, "head")
    except CommandError:
        found = version_of(connection)
        words = f"the log's tables have version {found}, this service knows them up to {HEAD}; start a newer one"
        raise Unusable(words) from None
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) not in ("42501", "3F000"):  # no right to create, or to see the schema
            raise
        way_out = "let a user that may create tables run `python -m serve.log migrate`"
        raise Unusable(f"the log's database: {first_line(error)}; {way_out}") from None


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """One transaction, which no other process migrates beside."""
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(5170391)"))
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # Python's driver begins none for CREATE and ALTER
        yield


def _check_rights(connection: Connection, *tables: str) -> None:
    """That this user may do with the tables what the service does; else the first row, or outcome, would say so."""
    asked = text("SELECT current_user, has_table_privilege(:table, :right)")
    for table in tables:
        for right in NEEDED[table]:
            user, is_granted = connection.execute(asked, {"table": table, "right": right}).one()
            if not is_granted:
                rights = ", ".join(NEEDED[table])
                raise Unusable(f"the log's user {user} has no right: GRANT {rights} ON {table} TO {user}")
