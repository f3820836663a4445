"""One customer erased: the log, the spool, scored files, what the monitoring copied; and a receipt of it.

The receipt is there before the first row goes, so that a run that was killed is known for one and the next completes
it: rows that are gone leave bytes behind until the database's file is written anew.
"""

import fcntl
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import orjson
from sqlalchemy import Engine

from churn.script import InputError
from serve.log.customer_rows import count_rows, customer_tables, remove_rows
from serve.log.database import scrub
from serve.log.receipts import Receipt, Receipts
from serve.log.spool import Spool

# of customers without their ids, and made again by `dvc --cd monitoring repro`
SNAPSHOT = tuple(Path("monitoring/data", name) for name in ("answers.parquet", "cohort.parquet", "sample.parquet"))
TRAINING = Path(".dvc/tmp/retrain")  # the clone of a retraining, with a table of customers; left by one that was killed
ROUNDS = 5  # in which answers to the customer may still come in

BEYOND = {
    "answers without a customer_id": "nobody can tell whose they are: python -m serve.log prune --days N",
    "spools of services on other hosts": "run the same command there, or again once their /ready says ready",
    "the table at data.path, tables that are scored, and the pages that show cells of theirs that fail":
        "remove the customer's rows there, then run: dvc repro, and where there are Data Docs: make expectations",
    "DVC's cache and remotes, which keep tables of earlier commits and of branches retrain/VERSION":
        "once no commit needs them: dvc gc --workspace --cloud, which removes all versions but the present one",
    "bundles, whose golden, held-out and reference customers stand there without ids, and MLflow's copies of them":
        "promote a release that was trained without the customer, then remove the older folders of the store",
    "files that visitors of the console had scored, in CHURN_FILES":
        "they go after CHURN_FILES_HOURS: wait, or remove the folder of each that holds the customer",
    "scored files and lists of customers elsewhere": "name their folders: --scores FOLDER; remove rows of CSV by hand",
    "backups, snapshots of disks, logs of proxies in front of the service":
        "let them expire; after a restore run the same command again",
}  # fmt: skip


class Places(NamedTuple):
    """Where a customer's rows may lie."""

    engine: Engine
    spool: Spool
    pipeline: Path  # the repository's folder in which the monitoring runs
    scores: list[Path]


class Erasure(NamedTuple):
    receipt: Receipt
    file: Path
    is_new: bool  # False: it was erased before, and nothing came since


class NeverSeen(InputError):
    """No place that is known holds a row of the customer, and none was erased."""


def erase(customer_id: str, places: Places, receipts: Receipts) -> Erasure:
    """Remove every row of the customer; NeverSeen where there is none. What is interrupted can be run again."""
    if not customer_id or "\0" in customer_id or not is_utf8(customer_id):
        raise InputError("CUSTOMER_ID is empty or holds bytes that no id has; give it as requests do")
    try:
        with receipts.reserved():
            return _erase(customer_id, places, receipts)
    except TimeoutError as error:
        raise InputError(f"not all is erased yet: {error}; run the same command again") from None


def _erase(customer_id: str, places: Places, receipts: Receipts) -> Erasure:
    found, earlier = count(customer_id, places), receipts.of(customer_id)
    begun = next(((file, receipt) for file, receipt in earlier if not receipt["ended"]), None)
    if not begun and not any(found.values()):
        if done := next(((file, receipt) for file, receipt in earlier if any(receipt["found"].values())), None):
            return Erasure(done[1], done[0], False)
        file, receipt = earlier[-1] if earlier else receipts.new(customer_id, found)
        receipts.write(file, receipt | {"ended": receipt["ended"] or receipt["begun"]})
        raise NeverSeen(f"no row of that customer is known, ids are compared letter by letter; the receipt is {file}")
    file, receipt = begun or receipts.new(customer_id, found)
    for _ in range(ROUNDS):
        for place, n in found.items():  # of a run that was killed they are as many, or fewer
            receipt["found"][place] = max(n, receipt["found"].get(place, 0))
        receipts.write(file, receipt)
        remove(customer_id, places)
        if not any((found := count(customer_id, places)).values()):
            break
    else:
        raise TimeoutError("the customer is still being asked about")
    scrub(places.engine)
    receipt |= {"ended": datetime.now(UTC).isoformat(), "not_reached": beyond(places)}
    receipts.write(file, receipt)
    return Erasure(receipt, file, True)


def count(customer_id: str, places: Places) -> dict[str, int]:
    """Place -> rows of the customer."""
    waiting = places.spool.count(belongs_to(customer_id))  # first: a row goes from there into the database
    scored = {str(folder): scored_files().count_rows(folder, customer_id) for folder in places.scores}
    return count_rows(places.engine, customer_id) | waiting | scored


def remove(customer_id: str, places: Places) -> None:
    places.spool.erase(belongs_to(customer_id))  # before the database, where its rows may just have gone
    remove_rows(places.engine, customer_id)
    for folder in places.scores:
        scored_files().remove_rows(folder, customer_id)
    for path in SNAPSHOT:
        remove_file(places.pipeline / path)
    remove_training(places.pipeline / TRAINING)


def remove_file(path: Path) -> None:
    """Remove it, and what a killed process left of it half-written."""
    for leftover in path.parent.glob(f".{path.stem}.*{path.suffix}"):
        leftover.unlink()
    path.unlink(missing_ok=True)


def remove_training(clone: Path) -> None:
    """Remove what a killed retraining left; a TimeoutError where one is at work."""
    if not clone.exists():
        return
    descriptor = os.open(clone.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(clone)
    except BlockingIOError:
        raise TimeoutError("a retraining is at work on customers of the log") from None
    finally:
        os.close(descriptor)


def belongs_to(customer_id: str) -> Callable[[bytes], bool]:
    """Whether a line of the spool is of the customer; one that can't be read is, if it holds the id."""
    text = orjson.dumps(customer_id)[1:-1]

    def belongs(line: bytes) -> bool:
        if text not in line:
            return False
        with suppress(orjson.JSONDecodeError):
            row = orjson.loads(line)
            return not isinstance(row, dict) or row.get("customer_id") == customer_id
        return True

    return belongs


def beyond(places: Places) -> dict[str, str]:
    """Place that could not be reached -> what to do there."""
    more = {}
    if unread := sum(map(bool, read(places.spool.unreadable_path).split(b"\n"))):
        path = places.spool.unreadable_path
        more[f"{path}: {unread} lines that can't be read"] = "nobody can tell whose they are: remove the file"
    if places.engine.dialect.name == "postgresql":
        with places.engine.connect() as connection:
            names = ", ".join(sorted(table.name for table in customer_tables(connection)))
        files = "PostgreSQL's files, statistics and archived WAL, which keep the bytes of removed rows for a time"
        more[files] = (
            f"while the service may pause, let the tables' owner run: VACUUM (FULL, ANALYZE) {names}; "
            "then a superuser: VACUUM FULL pg_statistic"
        )
    if not (places.pipeline / "monitoring").is_dir():
        more["the monitoring's snapshot"] = f"run the same command where it runs, or: rm {' '.join(map(str, SNAPSHOT))}"
    return more | BEYOND


def read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def is_utf8(text: str) -> bool:
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False


def scored_files() -> ModuleType:
    """The module that reads Parquet, which the service does without."""
    try:
        from serve.log import scored_files as module
    except ImportError:
        raise InputError("--scores needs pyarrow; run it where the pipeline runs, as in churn-jobs") from None
    return module
