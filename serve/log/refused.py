"""Rows that the database refuses for what they hold, told from a database that is down, and found among others."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

# SQLSTATE classes: data exception, integrity constraint, check option, limit of the program, raised by a trigger
ROW_REFUSED = ("22", "23", "44", "54", "P0")


class ReportsRefused(Exception):
    """The database refuses outcomes or contacts for what they hold; their places."""

    def __init__(self, places: Sequence[int]):
        super().__init__(f"{len(places)} reports are refused")
        self.places = places


def is_row_refused(error: Exception) -> bool:
    """Whether the database refuses what a row holds, and would again: it is not down."""
    if sqlstate := getattr(getattr(error, "orig", None), "sqlstate", None):
        return str(sqlstate).startswith(ROW_REFUSED)
    return isinstance(error, DataError | IntegrityError | UnicodeError)  # SQLite's, and what no database is sent


def kind_of(error: Exception) -> str:
    """The name of a database's error, without its words, which may hold values."""
    orig = getattr(error, "orig", None) or error
    return " ".join(filter(None, (type(orig).__name__, getattr(orig, "sqlstate", None))))


def refused_places(
    connection: Connection, rows: Sequence[Any], insert: Callable[[Any], object], first: int = 0
) -> Iterator[int]:
    """Commit the rows by `insert`, halves apart where the database refuses one; yield the places of those it does."""
    try:
        with connection.begin():
            insert(rows)
    except (SQLAlchemyError, UnicodeError) as error:
        if not is_row_refused(error):
            raise
        if len(rows) == 1:
            yield first
            return
        half = len(rows) // 2
        yield from refused_places(connection, rows[:half], insert, first)
        yield from refused_places(connection, rows[half:], insert, first + half)
