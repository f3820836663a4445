"""One piece of the input and the releases give one file of scores, one of refused rows, and what the manifest says.

The file of scores appears last and whole, and carries that in its own notes: who finds it need not do the work again,
and who does it again writes the same bytes.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import file_digest, sha256
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from churn.schema import ID
from churn.script import InputError
from serve.score.columns import Checked, Reasons, check, with_schema_names
from serve.score.job import Job, Live, live
from serve.score.pieces import Piece
from serve.score.places import Draft, Place, place_at
from serve.score.summary import Summary

FORMAT = 1  # of what is written; another gives other names
NOTES = b"churn_scores"  # among the file's metadata
WHY = "why_refused"
FEW = ["prediction", "threshold", "model_version"]  # columns with few different values
SCORES = pa.schema(
    [
        (ID, pa.string()),
        ("churn_probability", pa.float64()),
        ("prediction", pa.string()),
        ("threshold", pa.float64()),
        ("model_version", pa.string()),
    ]
)


def name_of(piece: Piece, job: Job) -> str:
    """part-NUMBER-HASH.parquet, of the piece's source and content and of the releases."""
    what = [FORMAT, piece.source, piece.kind, piece.start, piece.stop, piece.content(), job.identity]
    return f"part-{piece.number:05d}-{sha256(json.dumps(what).encode()).hexdigest()[:16]}.parquet"


def number_of(name: str) -> int:
    """The piece's, of its file's name."""
    return int(name.split("-")[1])


def score_piece(piece: Piece, name: str, job: Job) -> dict[str, Any]:
    """Write the piece's files, unless they are there, and return its entry of the manifest."""
    out, models = place_at(job.out), live(job)
    if out.has(name):  # its refused rows were there before it
        return entry_of(out, name)
    rejected = name.replace("part-", "rejected-")
    counts: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    summaries = {
        model.version: Summary(models.edges[model.version], model.release.card["inputs"]["categories"])
        for model in models.models
    }
    with writing(out, name, FEW) as scores, writing(out, rejected) as refused:
        for table in piece.batches(models.texts):
            table = with_schema_names(table, models.schema, piece.source)
            found = check(table, models.schema, job.day)
            counts.update(rows=len(table), rejected=len(found.refused))
            left_out.update(found.left_out.values())
            scores.add(answers(table, found, models, summaries))
            if not_scored := found.refused | {row: [f"left out: {why}"] for row, why in found.left_out.items()}:
                refused.add(with_reasons(table, not_scored))
        scores.add(SCORES.empty_table())
        entry = {
            "source": piece.source,
            "span": [piece.start, piece.stop],
            "rows": counts["rows"],
            "scored": sum(summary.rows for summary in summaries.values()),
            "rejected": counts["rejected"],
            "left_out": dict(sorted(left_out.items())),
            "rejected_file": refused.close() or None,
            "summaries": {version: summary.as_json() for version, summary in summaries.items()},
        }
        return {**scores.close({NOTES: json.dumps(entry)}), **entry}


def entry_of(out: Place, name: str) -> dict[str, Any]:
    """What the manifest says of a file of scores that is there."""
    try:
        with out.open(name) as file:
            entry = json.loads((parquet.read_metadata(file).metadata or {})[NOTES])
            return {"file": name, "sha256": digest_of(file), **entry}
    except (pa.ArrowInvalid, OSError, KeyError, ValueError) as error:
        raise InputError(f"{out}/{name} is no file of scores: {error}; remove it") from None


def answers(table: pa.Table, found: Checked, models: Live, summaries: Mapping[str, Summary]) -> pa.Table:
    """The scores of the rows that are neither refused nor left out, in their order."""
    found = found.without([*found.refused, *found.left_out])
    n = len(found.ids)
    challenged = models.is_challenged(found.ids)
    p, threshold = np.empty(n), np.empty(n)
    for model in models.models:
        rows = challenged if model.arm == "challenger" else ~challenged
        own = found if rows.all() else found.without(np.flatnonzero(~rows))
        scorer = models.scorers[model.version]
        q = scorer.probabilities(inputs := scorer.inputs(own))
        p[rows], threshold[rows] = q, model.threshold
        summaries[model.version].add(inputs, q, q >= model.threshold)
    words = one_of(["no_churn", "churn"], p >= threshold)
    versions = one_of([model.version for model in models.models], challenged)
    return pa.table([found.ids, p, words, threshold, versions], schema=SCORES)


def one_of(texts: list[str], places: np.ndarray) -> pa.Array:
    """(n,) strings; bool (n,) of the second one."""
    return pa.DictionaryArray.from_arrays(places.astype("int8"), texts).cast(pa.string())


def with_reasons(table: pa.Table, reasons: Reasons) -> pa.Table:
    """Refused rows as they came, and why."""
    rows = sorted(reasons)
    table = table.drop_columns(WHY) if WHY in table.column_names else table  # of an earlier run
    texts = pa.array(["; ".join(reasons[row]) for row in rows], pa.string())
    plain = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in table.schema]
    return table.take(pa.array(rows)).cast(pa.schema(plain, table.schema.metadata)).append_column(WHY, texts)


class Writer:
    """A Parquet file that appears when `close` gives it its name; without rows there is none."""

    def __init__(self, place: Place, name: str, levels: list[str] | bool = True):
        self.levels = levels  # columns of few different values
        self.place, self.name = place, name
        self._open: tuple[Draft, parquet.ParquetWriter] | None = None

    def add(self, table: pa.Table) -> None:
        with self._named():
            if not self._open:
                draft = self.place.draft(self.name)
                self._open = draft, parquet.ParquetWriter(draft.file, table.schema, use_dictionary=self.levels)
            if len(table):
                self._open[1].write_table(table.cast(self._open[1].schema))

    def close(self, notes: Mapping[bytes, str] | None = None) -> dict[str, str]:
        """Give the file its name; that and its sha256, nothing where there is no file."""
        if not self._open:
            return {}
        draft, writer = self._open
        with self._named():
            if notes:
                writer.add_key_value_metadata({key: value.encode() for key, value in notes.items()})
            writer.close()
            digest = digest_of(draft.file)
            try:
                draft.commit()
            except FileExistsError:  # what another run wrote meanwhile counts
                with self.place.open(self.name) as file:
                    digest = digest_of(file)
        return {"file": self.name, "sha256": digest}

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # Arrow does not say of which file
            where = self._open[0] if self._open else f"{self.place}/{self.name}"
            raise InputError(f"{where}: {os.strerror(error.errno) if error.errno else error}") from None

    def abandon(self) -> None:
        if self._open:
            with suppress(OSError):  # of a full disk, a second time
                self._open[1].close()  # else it writes its last lines when nobody hears them
            self._open[0].abandon()


@contextmanager
def writing(place: Place, name: str, levels: list[str] | bool = True) -> Iterator[Writer]:
    """A writer of whose file nothing is left after the block, unless it was closed."""
    writer = Writer(place, name, levels)
    try:
        yield writer
    finally:
        writer.abandon()


def digest_of(file: Any) -> str:
    """sha256 of its bytes."""
    file.seek(0)
    return file_digest(file, "sha256").hexdigest()
