"""Scored files for a plan: each customer once, in the order of the files."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from campaigns.plan.sieve import Sieve
from churn.release import file_hash
from churn.schema import ID
from churn.scored import read_manifest
from churn.script import InputError
from churn.text import quoted

PROBABILITY, VERSION, REASON = "churn_probability", "model_version", "reason_"
NO_ID, REPEATED, OTHER_RELEASE = "no customer_id", "scored again in a later row", "scored by another release"

Pieces = list[tuple[Path, Mapping[str, Any]]]  # file -> its entry of the manifest


@dataclass(frozen=True)
class Scores:
    table: pa.Table  # n customers: customer_id, churn_probability, and the columns that were asked for
    rows: np.ndarray  # (n,) of each among the rows of all files
    scored: int  # rows of all files
    model_version: str
    left_out: dict[str, int]  # rows by reason


def pieces_of(folder: Path) -> Pieces:
    """The files that the manifest names, each as the manifest has it."""
    pieces = [(folder / piece["file"], piece) for piece in read_manifest(folder)["pieces"]]
    for path, piece in pieces:
        if not path.is_file():
            raise InputError(f"{path} is missing; score the files again")
        if file_hash(path) != piece["sha256"]:
            raise InputError(f"{path} is not what the manifest says; score the files again")
    if not any(piece["scored"] for _, piece in pieces):
        raise InputError(f"{folder}: nobody is scored there")
    return pieces


def headers_of(pieces: Pieces) -> list[str]:
    return list(parquet.read_schema(pieces[0][0]).names)


def read_scores(pieces: Pieces, names: Collection[str], release: str) -> Scores:
    """The customers with the columns of these names; of one `release`, unless it is "".

    Of several rows with one id the last counts: in a table that holds customers more than once, newer rows follow.
    """
    version = version_of(pieces, release)
    wanted = list(dict.fromkeys([ID, PROBABILITY, *([VERSION] if release else []), *names]))
    table = pa.concat_tables(read(path, wanted) for path, _ in pieces)
    sieve = Sieve(len(table))
    if release:
        sieve.leave_out(OTHER_RELEASE, pc.not_equal(table[VERSION], version).to_numpy())
    sieve.leave_out(NO_ID, table[ID].is_null().to_numpy())
    if not sieve.kept.any():
        raise InputError(f"{pieces[0][0].parent}: no row has a {ID}; give the schema an id and score the table again")
    rows = np.flatnonzero(sieve.kept)
    ids = table[ID].filter(pa.array(sieve.kept)) if sieve.left_out else table[ID]
    again = np.zeros(len(table), bool)
    again[rows] = is_repeated(ids)
    sieve.leave_out(REPEATED, again)
    scored = len(table)
    if sieve.left_out:
        rows, table = np.flatnonzero(sieve.kept), table.filter(pa.array(sieve.kept))
    check(table, pieces[0][0].parent)
    return Scores(table, rows, scored, version, sieve.left_out)


def version_of(pieces: Pieces, release: str) -> str:
    """The release that scored the customers to plan for; two models' probabilities are not ranked as one."""
    counts: Counter[str] = Counter()
    for _, piece in pieces:
        counts.update({version: part["rows"] for version, part in piece["summaries"].items() if part["rows"]})
    folder = pieces[0][0].parent
    has = " and ".join(f"{version} ({n} customers)" for version, n in sorted(counts.items()))
    if release and release not in counts:
        raise InputError(f"{folder} has no scores of release {quoted(release)}; it has those of {has}")
    if not release and len(counts) > 1:
        raise InputError(f"{folder} has scores of two releases, {has}; plan for the customers of one with --release")
    return release or next(iter(counts))


def read(path: Path, names: list[str]) -> pa.Table:
    """The columns, texts in one type of Arrow's whatever wrote the file."""
    table = parquet.ParquetFile(path).read(columns=names)
    types = [field.with_type(pa.string()) if pa.types.is_large_string(field.type) else field for field in table.schema]
    return table.cast(pa.schema(types))


def is_repeated(ids: pa.ChunkedArray) -> np.ndarray:
    """bool (n,): whether the same id follows."""
    first = pc.index_in(ids, value_set=ids).to_numpy()
    last = np.zeros(len(ids), "int32")
    last[first] = np.arange(len(ids))  # of rows with the same id the last one stays
    return last[first] != np.arange(len(ids))


def check(table: pa.Table, folder: Path) -> None:
    """An InputError for a probability that is none."""
    p = table[PROBABILITY].to_numpy()
    wrong = ~((p >= 0) & (p <= 1))
    if n := int(wrong.sum()):
        first = table[ID][int(np.argmax(wrong))].as_py()
        raise InputError(
            f"{folder}: {n} churn probabilities are missing or not from 0 to 1, the first of customer {quoted(first)}; "
            "score the files again"
        )


def reasons_of(pieces: Pieces, rows: np.ndarray) -> pa.Table:
    """The reasons in words of customers (m,) by their rows among those of all files; no column where none are."""
    if not (names := [name for name in headers_of(pieces) if name.startswith(REASON)]):
        return pa.table({})
    order = np.argsort(rows)
    return pa.concat_tables(rows_of(pieces, names, rows[order])).take(pa.array(np.argsort(order)))


def rows_of(pieces: Pieces, names: list[str], rows: np.ndarray) -> Iterator[pa.Table]:
    """These rising rows, piece by piece."""
    begin = 0
    for path, piece in pieces:
        own = rows[(rows >= begin) & (rows < begin + piece["scored"])] - begin
        yield read(path, names).take(pa.array(own))
        begin += piece["scored"]
