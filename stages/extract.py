"""extract: where data.path is a query (.sql), ask it of the database CHURN_DATA_URL; write data/extracted.parquet.

For any other table the file has no columns. It starts without pandas, for most pipelines have nothing to extract.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import compute, parquet, types

from churn.params import read_section
from churn.query import FINGERPRINT, fingerprint, is_query
from churn.script import InputError, replacing, run

if TYPE_CHECKING:
    from sqlalchemy import URL

log = logging.getLogger("extract")

VARIABLE = "CHURN_DATA_URL"
EXAMPLES = "expected postgresql://user:password@host/database or duckdb:///folder/file.duckdb (absolute: four slashes)"
CONNECT_SECONDS = "10"
ROWS = 2**15  # of a row group, always in full: the same rows give the same bytes however the database cuts them
LOG_EVERY = 10**6  # rows
READING = ("select", "with", "values", "table", "from")  # how a query begins
TOKEN = re.compile(
    r"""(?P<gap>\s+|--[^\n]*|/\*.*?\*/)|(?P<end>;)|[eE]'(?:\\.|''|[^'\\])*'|'[^']*'|"[^"]*"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|\w+|.""",
    re.DOTALL,
)
POSTGRESQL_TYPE = b"POSTGRESQL:type"  # the driver's note on a column
DAYS = (-719162, 2932897)  # of the years 1 and 10000, since 1970
SECONDS_PER_DAY, PER_SECOND = 86_400, {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
INTEGERS = (b"int2", b"int4", b"int8")  # what else comes as one is none: money in cents, object numbers


def statement(path: Path) -> str:
    """The one query in the file, without what follows it; an InputError where it is none that only reads."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path} is missing; set data.path to a table or a query") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not utf-8: {error.reason}; save it as utf-8") from None
    tokens = [token for token in TOKEN.finditer(text) if token["gap"] is None]
    while tokens and tokens[-1]["end"]:
        tokens.pop()
    if not tokens:
        raise InputError(f"{path} is empty; expected a query that returns one row per customer")
    if n := sum(token["end"] is not None for token in tokens):
        raise InputError(f"{path} holds {n + 1} statements; expected one query")
    first = next((token[0] for token in tokens if token[0] != "("), "(")
    if first.lower() not in READING:
        raise InputError(f"{path} begins with {first!r}; a query only reads and begins with {', '.join(READING)}")
    return text[: tokens[-1].end()]


@contextmanager
def asked(url: "URL", query: str, path: Path) -> Iterator[pa.RecordBatchReader]:
    """The rows of the query as a stream, in a connection that only reads; an InputError where the database refuses."""
    where = url.set(query={}).render_as_string()  # which hides a password, but not one of the query
    connect = {"postgresql": _postgresql, "duckdb": _duckdb}[url.get_backend_name()]
    with connect(
        url, where, lambda error: InputError(f"{path}: {where} says: {words(error)}; correct the query"), query
    ) as reader:
        yield reader


@contextmanager
def _postgresql(url: "URL", where: str, refusal: Any, query: str) -> Iterator[pa.RecordBatchReader]:
    from adbc_driver_manager import Error
    from adbc_driver_postgresql import dbapi
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo

    options = {key: value if isinstance(value, str) else ",".join(value) for key, value in url.query.items()}
    named = url.translate_connect_args(username="user", database="dbname")
    try:
        # not the URL: what a password may hold unescaped differs between SQLAlchemy and libpq
        connection = dbapi.connect(make_conninfo(**{"connect_timeout": CONNECT_SECONDS} | options | named))
    except (Error, ProgrammingError) as error:
        raise InputError(_unreachable(where, error)) from None
    with connection, connection.cursor() as cursor:
        try:
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute("SET LOCAL TIME ZONE 'UTC'")  # a cast of a time to a date must not depend on the machine
            cursor.execute(query)
            reader = cursor.fetch_record_batch()
        except Error as error:
            raise refusal(error) from None
        with reader:
            yield _stream(reader, refusal)


@contextmanager
def _duckdb(url: "URL", where: str, refusal: Any, query: str) -> Iterator[pa.RecordBatchReader]:
    import duckdb

    if not url.database or url.database.startswith(":"):
        raise InputError(f"{VARIABLE} names no file; {EXAMPLES}")
    if not Path(url.database).is_file():
        raise InputError(f"{VARIABLE}: there is no file {url.database}; {EXAMPLES}")
    try:
        connection = duckdb.connect(url.database, read_only=True)
    except duckdb.Error as error:
        raise InputError(_unreachable(where, error)) from None
    with connection:
        try:
            reader = connection.sql(query).to_arrow_reader(ROWS)
        except duckdb.Error as error:
            raise refusal(error) from None
        with reader:
            yield _stream(reader, refusal)


def _stream(reader: pa.RecordBatchReader, refusal: Any) -> pa.RecordBatchReader:
    """The same, whose errors are the database's words: Arrow wraps them as it wraps a full disk."""

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except (OSError, pa.ArrowException) as error:
            raise refusal(error) from None

    return pa.RecordBatchReader.from_batches(reader.schema, batches())


def _unreachable(where: str, error: Exception) -> str:
    return f"{VARIABLE}: {where} cannot be reached: {words(error)}; correct the URL, or see that the database is up"


def words(error: Exception) -> str:
    """What the database said, in one line, without its driver's words around."""
    text = str(error)
    if said := re.search(r"(?:ERROR|FATAL): +(.+)", text):
        return said[1].strip()
    return re.sub(r"^(?:[A-Z_]+: )?(?:\[libpq\] )?(?:Failed to connect: )?", "", text.strip()).partition("\n")[0]


def read_url(text: str | None) -> "URL":
    from sqlalchemy import make_url  # a fifth of a second, which a pipeline without a query does without
    from sqlalchemy.exc import ArgumentError

    if not text:
        raise InputError(f"{VARIABLE} is not set, and data.path is a query; {EXAMPLES}")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise InputError(f"{VARIABLE} is no URL of a database ({type(error).__name__}); {EXAMPLES}") from None
    if (name := url.get_backend_name()) not in {"postgresql", "duckdb"}:
        raise InputError(f"{VARIABLE} names the database {name!r}; {EXAMPLES}")
    return url


def cell_type(column: pa.Field) -> pa.DataType | None:
    """The type in which the column's cells become the texts of a CSV file (see `as_text`); None where there is none."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        # numeric and JSON come as text
        return pa.string() if isinstance(kind, pa.UuidType) or types.is_string(kind.storage_type) else None
    if types.is_dictionary(kind) and types.is_string(kind.value_type):
        return pa.string()
    if types.is_decimal(kind):
        return pa.string()  # Python's decimals end at 28 digits
    if types.is_floating(kind):
        return pa.float64()
    if types.is_timestamp(kind) and kind.tz:
        return pa.timestamp(kind.unit, "UTC")  # DuckDB names the machine's zone
    if types.is_integer(kind):
        return kind if (column.metadata or {}).get(POSTGRESQL_TYPE, INTEGERS[0]) in INTEGERS else None
    plain = (types.is_string, types.is_boolean, types.is_date32, types.is_timestamp, types.is_time, types.is_null)
    return kind if any(is_one(kind) for is_one in plain) else None


def cell_schema(schema: pa.Schema, path: Path) -> pa.Schema:
    """The snapshot's; an InputError where a column has no name of its own or a type that is no cell's."""
    mistakes = [
        f"{path}: the query has the column {name!r} twice; name one otherwise by AS"
        for name in dict.fromkeys(schema.names)
        if schema.names.count(name) > 1
    ]
    kinds = {column.name: cell_type(column) for column in schema}
    mistakes += [
        f"{path}: column {column.name!r} is of the type {_type_name(column)}, which is no cell of a table; cast it "
        f"in the query, for instance CAST({column.name} AS text)"
        for column in schema
        if kinds[column.name] is None
    ]
    if mistakes:
        raise InputError("\n".join(mistakes))
    return pa.schema(list(kinds.items()), metadata={FINGERPRINT: fingerprint(path)})


def _type_name(column: pa.Field) -> str:
    return (column.metadata or {}).get(POSTGRESQL_TYPE, str(column.type).encode()).decode()


def cells(column: pa.ChunkedArray, name: str, path: Path) -> pa.ChunkedArray:
    """The column in the type that `cell_type` says."""
    kind = column.type
    if isinstance(kind, pa.UuidType):
        return pa.chunked_array([pa.array([cell and str(cell) for cell in column.to_pylist()], pa.string())])
    if isinstance(kind, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type)
        if getattr(kind, "type_name", "") != "numeric":
            return column
    if isinstance(kind, pa.BaseExtensionType) or types.is_decimal(kind):
        # 1.00 and 1 are one cell, as in every other table
        return compute.replace_substring_regex(column.cast(pa.string()), r"\.0+$", "")
    if types.is_floating(kind):
        # by its text: 1.1 of four bytes is 1.100000023841858 of eight
        return column.cast(pa.string()).cast(pa.float64()) if kind != pa.float64() else column
    if types.is_dictionary(kind):
        return column.cast(pa.string())
    if types.is_date(kind) or types.is_timestamp(kind):
        _refuse_endless(column, name, path)
    return column.cast(pa.timestamp(kind.unit, "UTC")) if types.is_timestamp(kind) and kind.tz else column


def _refuse_endless(column: pa.ChunkedArray, name: str, path: Path) -> None:
    """A database's infinity comes as some day in the year 294247."""
    is_date = types.is_date(column.type)
    per_day = 1 if is_date else SECONDS_PER_DAY * PER_SECOND[column.type.unit]
    ends = compute.min_max(column.cast(pa.int32() if is_date else pa.int64())).as_py()
    if ends["min"] is not None and not DAYS[0] * per_day <= ends["min"] <= ends["max"] < DAYS[1] * per_day:
        raise InputError(
            f"{path}: column {name!r} holds a time outside the years 1 to 9999, perhaps infinity; replace it in the "
            f"query, for instance by NULLIF({name}, 'infinity')"
        )


def row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows as tables of ROWS rows, the last one of the rest."""
    held = pa.Table.from_batches([], schema)
    for batch in batches:
        held = pa.concat_tables([held, pa.Table.from_batches([batch], schema)])
        while len(held) >= ROWS:
            yield held[:ROWS].combine_chunks()
            held = held[ROWS:]
    if len(held):
        yield held.combine_chunks()


def extract(reader: pa.RecordBatchReader, path: Path, file: Path) -> int:
    """Write the rows of the query `path` to `file`; how many there are."""
    from tqdm import tqdm

    schema, rows = cell_schema(reader.schema, path), 0
    with (
        parquet.ParquetWriter(file, schema) as writer,
        tqdm(unit=" rows", unit_scale=True, disable=None) as bar,
    ):
        for part in row_groups(reader, reader.schema):
            columns = [cells(column, name, path) for name, column in zip(schema.names, part.columns, strict=True)]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            bar.update(len(part))
            if bar.disable and rows // LOG_EVERY < (rows + len(part)) // LOG_EVERY:
                log.info("%d rows", rows + len(part))
            rows += len(part)
    if not rows:
        raise InputError(f"{path}: the query returned no rows; expected one row per customer")
    return rows


def main(snapshot: Path = Path("data/extracted.parquet")) -> None:
    path = Path(str(read_section("data").get("path")))
    if not is_query(path):
        with replacing(snapshot) as temporary:
            parquet.write_table(pa.table({}), temporary)
        log.info("no database to ask: load reads %s itself", path)
        return
    query, url = statement(path), read_url(os.environ.get(VARIABLE))
    with asked(url, query, path) as reader, replacing(snapshot) as temporary:
        rows = extract(reader, path, temporary)
    log.info("wrote %s: %d rows, %d columns of %s", snapshot, rows, len(reader.schema), path)


if __name__ == "__main__":
    run(main, "extract")
