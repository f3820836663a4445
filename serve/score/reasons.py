"""The riskiest customers of all pieces get the reasons of their probability, as the service words them.

Who they are is known when every piece is scored. So pieces are scored into a folder of their own first, and then
written once more with the reasons.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from serve.predict.explain import MAX_REASONS
from serve.score.columns import check, records, with_schema_names
from serve.score.job import Job, live
from serve.score.piece import FEW, NOTES, entry_of, writing
from serve.score.pieces import Piece
from serve.score.places import Place, place_at

SCRATCH = ".scores"  # below OUT, until the reasons are there
COLUMNS = [f"reason_{n}" for n in range(1, MAX_REASONS + 1)]


def explained_names(names: Sequence[str], most: int) -> list[str]:
    """The pieces' names with reasons, which hang on all pieces: who is among the riskiest does."""
    of_all = sha256(json.dumps([most, *names]).encode()).hexdigest()
    return [
        f"{name.rpartition('-')[0]}-{sha256(f'{of_all}{name}'.encode()).hexdigest()[:16]}.parquet" for name in names
    ]


def riskiest(out: Place, names: Sequence[str], most: int) -> list[list[int]]:
    """For each file of scores the rows of its customers among the `most` riskiest of all; of equal ones the first."""
    found: list[tuple[float, int, int]] = []
    for number, name in enumerate(names):
        with out.open(f"{SCRATCH}/{name}") as file:
            p = parquet.read_table(file, columns=["churn_probability"])["churn_probability"].to_numpy()
        own = np.argsort(-p, kind="stable")[:most]
        found = sorted([*found, *((-float(p[row]), number, int(row)) for row in own)])[:most]
    return [sorted(row for _, piece, row in found if piece == number) for number in range(len(names))]


def explain_piece(piece: Piece, name: str, explained: str, rows: list[int], job: Job) -> dict[str, Any]:
    """The piece's files once more, with the reasons of these rows; the entry of the manifest."""
    out = place_at(job.out)
    if out.has(explained):
        return entry_of(out, explained)
    with out.open(f"{SCRATCH}/{name}") as file:
        scores = parquet.read_table(file)
    texts = np.full((len(scores), MAX_REASONS), None, dtype=object)
    models, wanted, begun = {model.version: model for model in live(job).models}, np.array(rows, int), 0
    for table in piece.batches(live(job).texts):
        schema = live(job).schema
        found = check(with_schema_names(table, schema, piece.source), schema, job.day)
        found = found.without([*found.refused, *found.left_out])
        here = wanted[(wanted >= begun) & (wanted < begun + len(found.ids))]
        customers = records(found.only(here - begun), schema)
        for row, customer in zip(here.tolist(), customers, strict=True):
            model = models[scores["model_version"][row].as_py()]
            reasons = model.explainer.explain(customer)["reasons"]
            texts[row, : len(reasons)] = reasons
        begun += len(found.ids)
    entry = entry_of(out, f"{SCRATCH}/{name}")
    if refused := entry["rejected_file"]:
        there, refused["file"] = f"{SCRATCH}/{refused['file']}", explained.replace("part-", "rejected-")
        out.copy(there, refused["file"])
    for column, words in zip(COLUMNS, texts.T, strict=True):
        scores = scores.append_column(column, pa.array(words, pa.string()))
    notes = {key: value for key, value in entry.items() if key not in ("file", "sha256")}
    with writing(out, explained, [*FEW, *COLUMNS]) as writer:
        writer.add(scores.replace_schema_metadata(None))
        return {**writer.close({NOTES: json.dumps(notes)}), **notes}
