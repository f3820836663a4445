"""Every row of one customer in the log's tables: counted, and removed in steps between which the service writes.

A table is looked at for its column customer_id alone, so one that is added later is looked at, too.
"""

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, Engine, Table, delete, func, inspect, or_, select, tuple_

from serve.log.database import write_lock
from serve.log.prune import STEP_ROWS
from serve.log.tables import IS_ANSWER, metadata, outcomes, predictions

Answer = tuple[str, str]  # id, request_id


def customer_tables(connection: Connection) -> list[Table]:
    """Those of the database that have a customer_id; what refers to another one comes before it."""
    there = set(inspect(connection).get_table_names())
    return [t for t in reversed(metadata.sorted_tables) if "customer_id" in t.columns and t.name in there]


def count_rows(engine: Engine, customer_id: str) -> dict[str, int]:
    """Table -> its rows of the customer; an outcome may name the customer or a request that is theirs alone."""
    with engine.connect() as connection:
        counts = {
            table.name: connection.scalar(select(func.count()).where(table.c.customer_id == customer_id)) or 0
            for table in customer_tables(connection)
        }
        for part in parts(answers_of(connection, customer_id)):
            named = outcomes.c.request_id.in_(own_requests(connection, customer_id, part))
            counts[outcomes.name] += connection.scalar(select(func.count()).where(named)) or 0
    return counts


def remove_rows(engine: Engine, customer_id: str) -> None:
    """Remove them. Whatever is interrupted, a row that is left can still be found by the id."""
    turn = write_lock(engine)
    with engine.connect() as connection:
        tables, answers = customer_tables(connection), answers_of(connection, customer_id)
    for part in parts(answers):
        with engine.connect() as connection:
            requests = own_requests(connection, customer_id, part)
        with turn(), engine.begin() as connection:  # together: without the answers those outcomes can't be found
            connection.execute(delete(outcomes).where(outcomes.c.request_id.in_(requests)))
            connection.execute(delete(predictions).where(predictions.c.id.in_([name for name, _ in part])))
    for table in tables:
        if table is predictions:  # the shadow's rows have no index: to look for them takes longer than a turn may
            continue
        keys = list(table.primary_key)
        some = select(*keys).where(table.c.customer_id == customer_id).limit(STEP_ROWS)
        n = STEP_ROWS
        while n >= STEP_ROWS:
            with turn(), engine.begin() as connection:
                n = connection.execute(delete(table).where(tuple_(*keys).in_(some))).rowcount


def answers_of(connection: Connection, customer_id: str) -> list[Answer]:
    """Of all arms."""
    p = predictions.c
    rows = connection.execute(select(p.id, p.request_id).where(p.customer_id == customer_id).order_by(p.id))
    return [(row.id, row.request_id) for row in rows]


def own_requests(connection: Connection, customer_id: str, answers: Sequence[Answer]) -> list[str]:
    """The requests of these answers in which no other customer was asked about: a client may repeat its names, and the
    customers of a scored file have one name together."""
    p = predictions.c
    others = or_(p.customer_id.is_(None), p.customer_id != customer_id)

    def is_shared(request: str) -> bool:
        one = select(p.id).where(p.request_id == request, IS_ANSWER, others).limit(1)  # the first one is enough
        return connection.scalar(one) is not None

    return [name for name in sorted({request for _, request in answers} - {""}) if not is_shared(name)]


def parts(answers: Sequence[Answer]) -> Iterator[Sequence[Answer]]:
    for start in range(0, len(answers), STEP_ROWS):
        yield answers[start : start + STEP_ROWS]
