"""Queries as tables: a .sql file that params.yaml names, and the snapshot in which the stage extract keeps its rows."""

from hashlib import sha256
from pathlib import Path

from churn.script import InputError

SNAPSHOT = Path("data/extracted.parquet")
FINGERPRINT = b"query_sha256"  # among the notes of the snapshot: of which query its rows are


def is_query(path: Path) -> bool:
    return path.suffix.lower() == ".sql"


def fingerprint(path: Path) -> bytes:
    return sha256(path.read_bytes()).hexdigest().encode()


def table_file(path: Path, snapshot: Path) -> Path:
    """The file that holds the cells of the table `path`: itself, or of a query its snapshot, which must be of it."""
    if not is_query(path):
        return path
    from pyarrow import parquet  # who names no query does without

    way_out = f"set data.path to {path} and ask the database: dvc repro extract"
    if not snapshot.is_file():
        raise InputError(f"{snapshot}, the rows of {path}, is missing; {way_out}")
    if (parquet.read_schema(snapshot).metadata or {}).get(FINGERPRINT) != fingerprint(path):
        raise InputError(f"{snapshot} is not of {path} as it is now; {way_out}")
    return snapshot
