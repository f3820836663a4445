"""Score all customers of files: python -m serve.score IN OUT

The releases that answer in the service score them, with the split that holds there. OUT gets a file of scores for each
piece of the input, the refused rows with the reasons, and at last MANIFEST.json, which says what counts. Run again
after a kill, only what is missing is scored.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
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
from serve.score.piece import name_of
from serve.score.pieces import Format, Piece, pieces_of
from serve.settings import read_settings

log = logging.getLogger("serve.score")

ABOVE = 1  # exit status: more rows were refused than --max-rejected allows


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m serve.score", description=__doc__.splitlines()[0])
    made.add_argument("input", metavar="IN", help="Parquet or CSV: a file, a folder, or a pattern in quotes")
    made.add_argument("out", metavar="OUT", type=Path, help="folder for the scores")
    made.add_argument("--engine", choices=["local", "dask"], default="local", help="where pieces are scored")
    made.add_argument("--address", help="of the Dask scheduler: tcp://HOST:PORT")
    made.add_argument("--log", action="store_true", help="write the answers into the prediction log as well")
    made.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="of the local engine; all cores")
    made.add_argument("--max-rejected", type=share, default=0.01, help="share of the rows; above, exit status 1; 0.01")
    made.add_argument("--separator", default="", help="of CSV; a comma, in .tsv a tab")
    made.add_argument("--encoding", default="utf-8", help="of CSV; utf-8")
    made.add_argument("--as-of", type=date.fromisoformat, default=None, help="day from which dates count; today")
    return made


def share(text: str) -> float:
    if not 0 <= (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share from 0 to 1")
    return value


def score(given: argparse.Namespace, job: Job) -> tuple[int, int]:
    """Fill the folder; how many rows there were, and how many of them were refused."""
    pieces = pieces_of(given.input, Format(given.separator, given.encoding))
    with reserved(given.out):
        tasks = [(piece, name_of(piece, job)) for piece in pieces]
        made_ready(given.out, [name for _, name in tasks])
        results = (
            engines.on_dask(tasks, job, given.address)
            if given.engine == "dask"
            else engines.local(tasks, job, given.processes)
        )
        found = {}
        with tqdm(unit=" rows", unit_scale=True, disable=None) as bar:
            for entry in results:
                found[entry["file"]] = entry
                bar.update(entry["rows"])
                if bar.disable:
                    log.info("%d of %d pieces: %s", len(found), len(tasks), entry["source"])
        edges = {name: values.tolist() for name, values in live(job).edges.items()}
        write_manifest(given.out, job.identity, edges, [found[name] for _, name in tasks])
        if given.log:
            write_log([(piece, found[name]) for piece, name in tasks], job)
    return sum(entry["rows"] for entry in found.values()), sum(entry["rejected"] for entry in found.values())


def write_log(scored: Sequence[tuple[Piece, dict[str, Any]]], job: Job) -> None:
    """The answers of all pieces into the prediction log, as far as they are not there."""
    engine = connect(read_settings().log)
    try:
        migrate(engine)
        with tqdm(unit=" answers", unit_scale=True, disable=None) as bar:
            for piece, entry in scored:
                written = log_piece(engine, piece, entry, job)
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
    if given.engine == "dask" and not given.address:
        raise InputError("--engine dask needs --address tcp://HOST:PORT, of its scheduler")
    if given.processes < 1:
        raise InputError(f"--processes is {given.processes}; expected 1 or more")
    job = job_of(Store(read_settings().releases), given.as_of or date.fromisoformat(today()), str(given.out.resolve()))
    rows, rejected = score(given, job)
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
