"""What clients report of customers, outcomes and contacts: kept once, and the last report of a fact counts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from serve.log.database import check_file
from serve.log.refused import refused_places
from serve.log.tables import campaigns, contacts, outcomes

INSERT_ROWS = 500  # rows of one transaction; predictions are written in between
CORRECTED = {outcomes: ("churned",), contacts: ("offered", "share")}  # what a later report of the same fact may change

Turn = Callable[[], AbstractContextManager[Any]]


def keep(connection: Connection, turn: Turn, table: Table, reports: Sequence[Mapping[str, Any]]) -> list[int]:
    """Commit reports {column: value}, all columns but received_at; the places of those that the database refuses.

    Of reports with the same key the last one counts; one that says what is known already changes nothing. `turn` is
    SQLite's lock.
    """
    check_file(connection)
    insert = _insert(connection)(table)
    changes = {name: insert.excluded[name] for name in (*CORRECTED[table], "received_at")}
    is_news = or_(*(table.c[name] != insert.excluded[name] for name in CORRECTED[table]))
    keys = [str(column.name) for column in table.primary_key]
    upsert = insert.on_conflict_do_update(index_elements=keys, set_=changes, where=is_news)

    def key(report: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(report[name] for name in keys)

    now = datetime.now(UTC)
    rows = list({key(report): {**report, "received_at": now} for report in reports}.values())
    refused = set()
    for part in _parts(rows):
        with turn():
            places = refused_places(connection, part, lambda some: connection.execute(upsert, some))
            refused |= {key(part[place]) for place in places}
    return [place for place, report in enumerate(reports) if key(report) in refused]


def keep_contacts(
    connection: Connection, turn: Turn, reports: Sequence[Mapping[str, Any]], expected: Mapping[str, Any] | None = None
) -> list[int]:
    """The same for contacts, whose campaigns get a row; `expected` by its plan stays as it was first said."""
    check_file(connection)
    names = {report["campaign"] for report in reports}
    with connection.begin():
        known = select(campaigns.c.name).where(campaigns.c.name.in_(names))
        news = sorted(names if expected else names - set(connection.scalars(known)))
    if news:
        insert = _insert(connection)(campaigns)
        is_open = campaigns.c.expected.is_(None)
        upsert = insert.on_conflict_do_update(
            index_elements=["name"], set_={"expected": insert.excluded.expected}, where=is_open
        )
        now = datetime.now(UTC)
        with turn(), connection.begin():
            connection.execute(upsert, [{"name": name, "received_at": now, "expected": expected} for name in news])
    return keep(connection, turn, contacts, reports)


def _insert(connection: Connection) -> Any:
    return sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert


def _parts(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (rows[start : start + INSERT_ROWS] for start in range(0, len(rows), INSERT_ROWS))
