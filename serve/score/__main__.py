"""Score all customers of files: python -m serve.score IN OUT

The releases that answer in the service score them, with the split that holds there. OUT gets a file of scores for each
piece of the input, the refused rows with the reasons, and at last MANIFEST.json, which says what counts. Run again
after a kill, only what is missing is scored.
"""

import argparse
import logging
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from tqdm import tqdm

from churn.dates import today
from churn.script import InputError, run
from serve.log.database import connect, first_line
from serve.log.migrate import migrate
from serve.releases.store import Store
from serve.score import engines
from serve.score.folder import made_ready, reserved, write_manifest
from serve.score.job import Job, job_of, live
from serve.score.log import log_piece
from serve.score.piece import entry_of, name_of, number_of, score_piece
from serve.score.pieces import Format, Piece, pieces_of
from serve.score.reasons import SCRATCH, explain_piece, explained_names, riskiest
from serve.settings import read_settings

log = logging.getLogger("serve.score")

ABOVE = 1  # exit status: more rows were refused than --max-rejected allows


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m serve.score", description=__doc__.splitlines()[0])
    made.add_argument("input", metavar="IN", help="Parquet or CSV: a file, a folder, or a pattern in quotes")
    made.add_argument("out", metavar="OUT", type=Path, help="folder for the scores")
    made.add_argument("--engine", choices=["local", "dask"], default="local", help="where pieces are scored")
    made.add_argument("--address", help="of the Dask scheduler: tcp://HOST:PORT")
    made.add_argument(
        "--reasons", type=int, default=0, metavar="K", help="in words, for the K riskiest customers; none"
    )
    made.add_argument("--log", action="store_true", help="write the answers into the prediction log as well")
    made.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="of the local engine; all cores")
    made.add_argument("--max-rejected", type=share, default=0.01, help="share of the rows; above, exit status 1; 0.01")
    made.add_argument("--separator", type=separator, default="", help="of CSV; a comma, in .tsv a tab")
    made.add_argument("--encoding", default="utf-8", help="of CSV; utf-8")
    made.add_argument("--as-of", type=date.fromisoformat, default=None, help="day from which dates count; today")
    return made


def share(text: str) -> float:
    if not 0 <= (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share from 0 to 1")
    return value


def separator(text: str) -> str:
    if len(text) > 1 or not text.isascii() or text in {*'"\r\n\0'}:
        raise argparse.ArgumentTypeError(f"{text!r} is not one ASCII character; a tab is $'\\t' in a shell")
    return text


def score(given: argparse.Namespace, job: Job) -> tuple[int, int]:
    """Fill the folder; how many rows there were, and how many of them were refused."""
    pieces = pieces_of(given.input, Format(given.separator, given.encoding))
    with reserved(given.out):
        names = [name_of(piece, job) for piece in pieces]
        if given.reasons:
            entries = explained(given, job, pieces, names)
        else:
            made_ready(given.out, names)
            entries = done(given, score_piece, [*zip(pieces, names, strict=True)], job)
        edges = {
            version: {name: values.tolist() for name, values in of_inputs.items()}
            for version, of_inputs in live(job).edges.items()
        }
        write_manifest(given.out, job.identity | {"reasons": given.reasons}, edges, entries)
        shutil.rmtree(given.out / SCRATCH, ignore_errors=True)
        if given.log:
            write_log([*zip(pieces, names, entries, strict=True)], job)
    return sum(entry["rows"] for entry in entries), sum(entry["rejected"] for entry in entries)


def explained(given: argparse.Namespace, job: Job, pieces: Sequence[Piece], names: list[str]) -> list[dict[str, Any]]:
    """Score all pieces, then write them with the reasons of the riskiest."""
    final = explained_names(names, given.reasons)
    made_ready(given.out, final, SCRATCH)
    if all((given.out / name).is_file() for name in final):
        return [entry_of(given.out, name) for name in final]
    (given.out / SCRATCH).mkdir(exist_ok=True)
    made_ready(given.out / SCRATCH, names)
    done(given, score_piece, [*zip(pieces, names, strict=True)], replace(job, out=str(Path(job.out, SCRATCH))))
    rows = riskiest(given.out / SCRATCH, names, given.reasons)
    return done(given, explain_piece, [*zip(pieces, names, final, rows, strict=True)], job)


def done(
    given: argparse.Namespace, work: engines.Work, tasks: Sequence[engines.Task], job: Job
) -> list[dict[str, Any]]:
    """The entries of the manifest, in the order of the pieces; progress is shown."""
    results = (
        engines.on_dask(work, tasks, job, given.address)
        if given.engine == "dask"
        else engines.local(work, tasks, job, given.processes)
    )
    found = {}
    with tqdm(unit=" rows", unit_scale=True, disable=None) as bar:
        for entry in results:
            found[entry["file"]] = entry
            bar.update(entry["rows"])
            if bar.disable:
                log.info("%d of %d pieces: %s", len(found), len(tasks), entry["source"])
    return [found[name] for name in sorted(found, key=number_of)]


def write_log(scored: Sequence[tuple[Piece, str, dict[str, Any]]], job: Job) -> None:
    """The answers of all pieces into the prediction log, as far as they are not there."""
    engine = connect(read_settings().log)
    try:
        migrate(engine)
        with tqdm(unit=" answers", unit_scale=True, disable=None) as bar:
            for piece, name, entry in scored:
                written = log_piece(engine, piece, name, entry["file"], job)
                bar.update(written)
                if bar.disable:
                    log.info("%s: %d answers logged, %d were there", entry["file"], written, entry["scored"] - written)
    except (SQLAlchemyError, TimeoutError) as error:
        raise InputError(f"the log's database: {first_line(error)}; {engines.AGAIN}") from None
    finally:
        engine.dispose()


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    given = parser().parse_args(arguments)
    if given.engine == "dask" and not re.fullmatch(r"\w+://.+:\d+", given.address or ""):
        raise InputError("--engine dask needs --address tcp://HOST:PORT, of its scheduler")
    if given.reasons < 0:
        raise InputError(f"--reasons is {given.reasons}; expected how many customers get them")
    if given.processes < 1:
        raise InputError(f"--processes is {given.processes}; expected 1 or more")
    job = job_of(Store(read_settings().releases), given.as_of or date.fromisoformat(today()), str(given.out.resolve()))
    try:
        rows, rejected = score(given, job)
    except MemoryError:
        raise InputError(f"the memory is not enough; {engines.AGAIN}, with fewer --processes") from None
    except KeyboardInterrupt:
        raise InputError(f"stopped; {engines.AGAIN}") from None
    log.info("wrote %s: %d of %d rows scored by %s", given.out, rows - rejected, rows, job.champion)
    if rejected > given.max_rejected * rows:
        log.error(
            "%d of %d rows were refused, more than --max-rejected %g: %s says why",
            rejected, rows, given.max_rejected, given.out / "rejected-*.parquet",
        )  # fmt: skip
        return ABOVE
    return 0


if __name__ == "__main__":
    run(lambda: sys.exit(main()), "serve.score", mistake=2)
