"""A run: one input scored into one folder, by the engine that is there; then, where asked for, into the log."""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from churn.script import InputError
from serve.log.database import connect, first_line
from serve.log.migrate import migrate
from serve.score.engines import AGAIN, Task, Work
from serve.score.folder import made_ready, reserved, write_manifest
from serve.score.job import Job, live
from serve.score.log import log_piece
from serve.score.piece import entry_of, name_of, number_of, score_piece
from serve.score.pieces import Format, Piece, pieces_of
from serve.score.reasons import SCRATCH, explain_piece, explained_names, riskiest

log = logging.getLogger("serve.score")

Engine = Callable[[Work, Sequence[Task], Job], Iterator[dict[str, Any]]]  # entries of the manifest, as they are ready


def score(
    source: str, form: Format, out: Path, job: Job, engine: Engine, reasons: int, log_url: str
) -> tuple[int, int]:
    """Fill the folder; how many rows there were, and how many of them were refused.

    The `reasons` riskiest customers get theirs; without a `log_url` nothing is logged.
    """
    if Path(source).is_dir() and out.resolve().is_relative_to(Path(source).resolve()):
        raise InputError(f"{out} lies in {source}, whose files are scored; choose a folder elsewhere")
    pieces = pieces_of(source, form)
    with reserved(out):
        names = [name_of(piece, job) for piece in pieces]
        if reasons:
            entries = explained(pieces, names, out, job, engine, reasons)
        else:
            made_ready(out, names)
            entries = done(engine, score_piece, [*zip(pieces, names, strict=True)], job)
        edges = {
            version: {name: values.tolist() for name, values in of_inputs.items()}
            for version, of_inputs in live(job).edges.items()
        }
        write_manifest(out, job.identity | {"reasons": reasons}, edges, entries)
        shutil.rmtree(out / SCRATCH, ignore_errors=True)
        if log_url:
            write_log(log_url, [*zip(pieces, names, entries, strict=True)], job)
    return sum(entry["rows"] for entry in entries), sum(entry["rejected"] for entry in entries)


def explained(
    pieces: Sequence[Piece], names: list[str], out: Path, job: Job, engine: Engine, reasons: int
) -> list[dict[str, Any]]:
    """Score all pieces, then write them with the reasons of the riskiest."""
    final = explained_names(names, reasons)
    made_ready(out, final, SCRATCH)
    if all((out / name).is_file() for name in final):
        return [entry_of(out, name) for name in final]
    (out / SCRATCH).mkdir(exist_ok=True)
    made_ready(out / SCRATCH, names)
    done(engine, score_piece, [*zip(pieces, names, strict=True)], replace(job, out=str(Path(job.out, SCRATCH))))
    rows = riskiest(out / SCRATCH, names, reasons)
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


def write_log(url: str, scored: Sequence[tuple[Piece, str, dict[str, Any]]], job: Job) -> None:
    """The answers of all pieces into the prediction log, as far as they are not there."""
    engine = connect(url)
    try:
        migrate(engine)
        with tqdm(unit=" answers", unit_scale=True, disable=None) as bar:
            for piece, name, entry in scored:
                written = log_piece(engine, piece, name, entry["file"], job)
                bar.update(written)
                if bar.disable:
                    log.info("%s: %d answers logged, %d were there", entry["file"], written, entry["scored"] - written)
    except (SQLAlchemyError, TimeoutError) as error:
        raise InputError(f"the log's database: {first_line(error)}; {AGAIN}") from None
    finally:
        engine.dispose()
