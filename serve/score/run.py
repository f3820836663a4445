"""A run: one input scored into one folder, by the engine that is there; then, where asked for, into the log."""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from serve.score.engines import Task, Work
from serve.score.folder import made_ready, refuse_inside, sweep, write_manifest
from serve.score.job import Job, live
from serve.score.piece import entry_of, name_of, number_of, score_piece
from serve.score.pieces import Format, Piece, pieces_of
from serve.score.places import Place, place_at
from serve.score.reasons import SCRATCH, explain_piece, explained_names, riskiest

log = logging.getLogger("serve.score")

READERS = 8  # at once: object storage answers late, and then fast
Engine = Callable[[Work, Sequence[Task], Job], Iterator[dict[str, Any]]]  # entries of the manifest, as they are ready


def score(
    source: str, form: Format, where: str | Path, job: Job, engine: Engine, reasons: int, log_url: str
) -> tuple[int, int]:
    """Fill the folder; how many rows there were, and how many of them were refused.

    The `reasons` riskiest customers get theirs; without a `log_url` nothing is logged.
    """
    out = place_at(where)
    refuse_inside(where, source)
    pieces = pieces_of(source, form)
    with out.reserved():
        names = names_of(pieces, job)
        if reasons:
            entries = explained(pieces, names, out, job, engine, reasons)
        else:
            made_ready(out, names)
            entries = done(engine, score_piece, [*zip(pieces, names, strict=True)], job)
        edges = {
            version: {name: values.tolist() for name, values in of_inputs.items()}
            for version, of_inputs in live(job).edges.items()
        }
        sweep(out)
        write_manifest(out, job.identity | {"reasons": reasons}, edges, entries)
        out.clear(SCRATCH)  # and then no upload that is under way is needed any more
        if log_url:
            from serve.score.log import write_log  # with SQLAlchemy, a tenth of the start

            write_log(log_url, [*zip(pieces, names, entries, strict=True)], job)
    return sum(entry["rows"] for entry in entries), sum(entry["rejected"] for entry in entries)


def names_of(pieces: Sequence[Piece], job: Job) -> list[str]:
    """Of their files of scores, for which each is read once."""
    with ThreadPoolExecutor(READERS) as readers:
        return list(readers.map(partial(name_of, job=job), pieces))


def explained(
    pieces: Sequence[Piece], names: list[str], out: Place, job: Job, engine: Engine, reasons: int
) -> list[dict[str, Any]]:
    """Score all pieces, then write them with the reasons of the riskiest."""
    final = explained_names(names, reasons)
    made_ready(out, final, SCRATCH)
    if all(out.has(name) for name in final):
        return [entry_of(out, name) for name in final]
    made_ready(out, names, below=SCRATCH)
    done(engine, score_piece, [*zip(pieces, names, strict=True)], replace(job, out=f"{job.out}/{SCRATCH}"))
    rows = riskiest(out, names, reasons)
    return done(engine, explain_piece, [*zip(pieces, names, final, rows, strict=True)], job)


def done(engine: Engine, work: Work, tasks: Sequence[Task], job: Job) -> list[dict[str, Any]]:
    """The entries of the manifest, in the order of the pieces; progress is shown."""
    found = {}
    with tqdm(unit=" rows", unit_scale=True, disable=None) as bar:
        for entry in engine(work, tasks, job):
            found[entry["file"]] = entry
            bar.update(entry["rows"])
            if bar.disable:
                log.info("%d of %d pieces: %s", len(found), len(tasks), entry["source"])
    return [found[name] for name in sorted(found, key=number_of)]
