"""Score all customers of files: python -m serve.score IN OUT

The releases that answer in the service score them, with the split that holds there. OUT gets a file of scores for each
piece of the input, the refused rows with the reasons, and at last MANIFEST.json, which says what counts. Run again
after a kill, only what is missing is scored.
"""

import gc

if __name__ != "serve.score.__main__":  # the command or a worker of it: what imports make stays
    gc.disable()  # and to look through it again and again takes a tenth of the start

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from datetime import date
from functools import partial
from pathlib import Path

from churn.dates import today
from churn.script import InputError, run
from serve.releases.store import Store
from serve.score import engines, spark
from serve.score.job import job_of
from serve.score.pieces import Format
from serve.score.run import Engine, score
from serve.settings import read_settings

gc.freeze()
gc.enable()
log = logging.getLogger("serve.score")

ABOVE = 1  # exit status: more rows were refused than --max-rejected allows


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m serve.score", description=__doc__.splitlines()[0])
    made.add_argument("input", metavar="IN", help="Parquet or CSV: a file, a folder, a pattern in quotes, or s3://")
    made.add_argument("out", metavar="OUT", help="folder for the scores, or s3://BUCKET/PATH")
    made.add_argument("--engine", choices=["local", "dask", "spark"], default="local", help="where pieces are scored")
    made.add_argument("--address", help="of the Dask scheduler: tcp://HOST:PORT, or Spark master: spark://HOST:PORT")
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


def engine_of(given: argparse.Namespace) -> Engine:
    if given.engine == "dask":
        if not re.fullmatch(r"\w+://.+:\d+", given.address or ""):
            raise InputError("--engine dask needs --address tcp://HOST:PORT, of its scheduler")
        return partial(engines.on_dask, address=given.address)
    if given.engine == "spark":
        if not spark.ADDRESS.fullmatch(given.address or ""):
            raise InputError("--engine spark needs --address spark://HOST:PORT, or local[2] for this machine")
        return partial(spark.on_spark, address=given.address)
    return partial(engines.local, processes=given.processes)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    given = parser().parse_args(arguments)
    engine = engine_of(given)
    if given.reasons < 0:
        raise InputError(f"--reasons is {given.reasons}; expected how many customers get them")
    if given.processes < 1:
        raise InputError(f"--processes is {given.processes}; expected 1 or more")
    settings = read_settings()
    out = given.out if "://" in given.out else str(Path(given.out).resolve())  # for processes elsewhere
    job = job_of(Store(settings.releases), given.as_of or date.fromisoformat(today()), out)
    form, log_url = Format(given.separator, given.encoding), settings.log if given.log else ""
    try:
        rows, rejected = score(given.input, form, given.out, job, engine, given.reasons, log_url)
    except Exception as error:
        if not engines.is_want_of_memory(error):
            raise
        raise InputError(f"the memory is not enough; {engines.AGAIN}, with fewer --processes") from None
    except KeyboardInterrupt:
        raise InputError(f"stopped; {engines.AGAIN}") from None
    log.info("wrote %s: %d of %d rows scored by %s", given.out, rows - rejected, rows, job.champion)
    if rejected > given.max_rejected * rows:
        log.error(
            "%d of %d rows were refused, more than --max-rejected %g: %s says why",
            rejected, rows, given.max_rejected, f"{given.out}/rejected-*.parquet",
        )  # fmt: skip
        return ABOVE
    return 0


if __name__ == "__main__":
    run(lambda: sys.exit(main()), "serve.score", mistake=2)
