"""Scored pieces in the prediction log, as the service's answers are, each customer of a piece exactly once.

A piece's rows have ids that follow from its name and go in, in their order, a group a transaction: so the log itself
tells where a killed run got to. A group is small, its rows are made before the database is asked for its turn, and a
pause follows it: the service that writes there too waits for one group at most, and finds disk and processor free.
"""

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from pyarrow import parquet
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from tqdm import tqdm

from churn.schema import ID
from churn.script import InputError
from serve.log.database import connect, first_line, write_lock
from serve.log.migrate import migrate
from serve.log.spool import FLAGS
from serve.log.tables import COLUMNS, IS_ANSWER, Row, db_time, first_id, predictions, time_of_id
from serve.score.columns import check, records, with_schema_names
from serve.score.engines import AGAIN
from serve.score.job import Job, live
from serve.score.pieces import Piece
from serve.score.places import Place, place_at

log = logging.getLogger("serve.score")

GROUP = {"sqlite": 200, "postgresql": 1000}  # rows of a transaction
# of the time that a transaction took, until the next one; SQLite's service also waits for the journal, which fills less
# often so. benchmarks.score_log weighs both
PAUSE = {"sqlite": 4.0, "postgresql": 0.5}
WAITING = "another run logs the same scores; this one waits for it"


def write_log(url: str, scored: Sequence[tuple[Piece, str, dict[str, Any]]], job: Job) -> None:
    """The answers of all pieces into the prediction log, as far as they are not there."""
    engine = connect(url)
    try:
        migrate(engine)
        turn = write_lock(engine)
        with tqdm(unit=" answers", unit_scale=True, disable=None) as bar:
            for piece, name, entry in scored:
                written = log_piece(engine, turn, piece, name, entry, job)
                bar.update(written)
                if bar.disable:
                    log.info("%s: %d answers logged, %d were there", entry["file"], written, entry["scored"] - written)
        outlive_power_cuts(engine)
    except (SQLAlchemyError, TimeoutError) as error:
        raise InputError(f"the log's database: {first_line(error)}; {AGAIN}") from None
    finally:
        engine.dispose()


def log_piece(
    engine: Engine,
    turn: Callable[[], AbstractContextManager[Any]],
    piece: Piece,
    name: str,
    entry: Mapping[str, Any],
    job: Job,
) -> int:
    """Write the answers of a piece that is scored, as far as they are not there; how many were written.

    `name` is the piece's without reasons, which change no answer; the manifest's entry names the file of its scores.
    """
    piece_hash = Path(name).stem[-16:]
    request_id = f"score-{piece_hash}"
    size, pause = GROUP[engine.dialect.name], PAUSE[engine.dialect.name]
    written, resume = 0, 0.0
    with engine.connect() as connection, reserved(connection, piece_hash):
        of_piece = select(func.min(predictions.c.id), func.max(predictions.c.id)).where(
            predictions.c.request_id == request_id, IS_ANSWER
        )
        first, last = connection.execute(of_piece).one()
        connection.commit()
        there = int(last[-8:], 16) + 1 if last else 0  # not how many: rows of erased customers do not come again
        if there == entry["scored"]:
            return 0
        if connection.dialect.name == "sqlite":
            # a group is there for all at once; a power cut may take the last ones, until `write_log` has ended
            connection.exec_driver_sql("PRAGMA synchronous = NORMAL")
            connection.commit()
        at = time_of_id(first) if first else datetime.now(UTC)
        rows = islice(rows_of(piece, entry["file"], job, request_id, at), there, None)
        while group := list(islice(rows, size)):
            time.sleep(max(0, resume - time.perf_counter()))
            began = time.perf_counter()
            with turn(), connection.begin():
                insert(connection, group)
            written += len(group)
            ended = time.perf_counter()
            resume = ended + pause * (ended - began)
    return written


def outlive_power_cuts(engine: Engine) -> None:
    """Have SQLite's disk keep what was committed without waiting for it."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            while connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)").one()[0]:  # another does it just now
                time.sleep(0.05)


@contextmanager
def reserved(connection: Connection, piece_hash: str) -> Iterator[None]:
    """Keep other runs from logging this piece, in SQLite any piece: they wait for the end of the block.

    The primary key alone would not do: its ids begin with the time at which a run began to log the piece.
    """
    if connection.dialect.name == "sqlite":
        file = os.open(f"{connection.engine.url.database}.score", FLAGS, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info(WAITING)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)
        return
    key = int.from_bytes(bytes.fromhex(piece_hash), signed=True)
    keepalives = {"tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3"}
    # else the server would keep the lock of a machine that is gone for two hours
    connection.execute(select(*(func.set_config(name, value, False) for name, value in keepalives.items())))
    if not connection.scalar(select(func.pg_try_advisory_lock(key))):
        log.info(WAITING)
        connection.execute(select(func.pg_advisory_lock(key)))
    connection.commit()
    yield
    connection.execute(select(func.pg_advisory_unlock(key)))  # where the block ends with an error the run ends, too
    connection.commit()


def insert(connection: Connection, rows: Sequence[Row]) -> None:
    names = ", ".join(COLUMNS)
    if connection.dialect.name == "sqlite":
        marks = ", ".join("?" * len(COLUMNS))
        connection.exec_driver_sql(f"INSERT INTO predictions ({names}) VALUES ({marks})", list(rows))  # nosec B608: ours
        return
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(f"COPY predictions ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    except connection.dialect.loaded_dbapi.Error as error:
        raise DBAPIError(None, None, error) from None


def rows_of(piece: Piece, file: str, job: Job, request_id: str, at: datetime) -> Iterator[Row]:
    """Rows of the log for the answers of a piece, in their order."""
    models = live(job)
    prefix, when = f"{first_id(at)}{request_id[-10:]}", db_time(at)
    arms = {model.version: model.arm for model in models.models}
    answers = answers_in(place_at(job.out), file)
    number = 0
    for table in piece.batches(models.texts):
        found = check(with_schema_names(table, models.schema, piece.source), models.schema, job.day)
        left = {*found.refused, *found.left_out}
        for i, features in enumerate(records(found, models.schema)):
            if i in left:
                continue
            answer = next(answers)
            yield (
                f"{prefix}{number:08x}",
                request_id,
                when,
                answer[ID],
                orjson.dumps(features).decode(),
                answer["churn_probability"],
                answer["prediction"],
                answer["threshold"],
                answer["model_version"],
                arms[answer["model_version"]],
                0.0,
            )
            number += 1


def answers_in(out: Place, name: str) -> Iterator[dict[str, Any]]:
    with out.open(name) as file:
        for batch in parquet.ParquetFile(file).iter_batches():
            yield from batch.to_pylist()
