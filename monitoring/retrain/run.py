"""Train again on production's customers, and let the release that comes out prove itself.

`python -m monitoring.retrain` does it now; with `--if-needed` only where the policy says so (monitoring.retrain in
params.yaml), for cron jobs and alerts. Customers whose outcome is known join the table, the pipeline runs by `dvc exp
run` in a clone below .dvc/tmp, so that the working tree stays as it is, and the experiment becomes the branch
retrain/VERSION. Its release goes into the store and through the gate, and takes the part that the policy gives it.
What runs is the last commit: edits that are not committed are not in it.
"""

import argparse
import fcntl
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from churn.params import read_knobs, read_params, read_section
from churn.read_table import read_table
from churn.release import open_release
from churn.schema import Schema, read_schema
from churn.script import InputError, replacing
from churn.table import named
from monitoring.check.knobs import Limits, SnapshotKnobs
from monitoring.frames import open_log
from monitoring.retrain.policy import (
    WHO,
    Policy,
    breaches,
    policy,
    why_not,
    world_since,
)
from monitoring.retrain.training_table import Production, joined, read_production
from serve.log.checks import latest
from serve.releases.acts import mirrored
from serve.releases.gate import check
from serve.releases.ledger import Lineage, act_of, learned_until
from serve.releases.registry import tell
from serve.releases.store import Store
from serve.settings import Settings, read_settings

log = logging.getLogger("monitoring.retrain")

TABLE = Path("data/retrain/customers.parquet")
WORK = Path(".dvc/tmp/retrain")  # a clone, there while a retraining runs
BUNDLE = Path("models/release")
HISTORY = timedelta(days=365)  # of checks that are looked at


class Busy(InputError):
    """Another retraining is at work."""


class Reason(NamedTuple):
    """Why, and what is learned from."""

    breaches: list[str]
    since: datetime | None
    learned: datetime | None


@contextmanager
def alone() -> Iterator[int]:
    """One retraining of this repository at a time; the lock's descriptor.

    Who inherits it holds the lock as well: a training whose command was killed must end before the next begins.
    """
    WORK.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(WORK.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    except BlockingIOError:
        raise Busy("another retraining of this repository is at work; wait for it") from None
    finally:
        os.close(descriptor)


def production(reason: Reason, schema: Schema, now: datetime, knobs: Policy) -> Production:
    """Customers to learn from; an InputError where too few outcomes are new, or they can't speak for all customers."""
    window, limits = read_knobs("monitoring.snapshot", SnapshotKnobs), read_knobs("monitoring.report", Limits)
    with open_log() as connection:
        found = read_production(
            connection, schema, now, days=knobs.days, slice_days=window.days, delay=window.delay,
            most=knobs.customers, min_known=limits.min_known, since=reason.since, learned=reason.learned,
        )  # fmt: skip
    if found.new < knobs.min_labels:
        since = f" since {reason.since:%Y-%m-%d}" if reason.since else ""
        raise InputError(
            f"outcomes of {found.new} customers are new{since}; {knobs.min_labels} are needed "
            "(params monitoring.retrain.min_labels): send them to /feedback, or wait; a time counts where those of "
            f"{limits.min_known:.0%} of its customers are known, stayers as well as leavers"
        )
    if abs(found.off) > limits.selected:
        raise InputError(
            f"the probabilities of customers with an outcome are {found.off:+.2f} standard deviations off: they can't "
            "speak for the others; report all of them to /feedback (params monitoring.report.selected)"
        )
    return found


def table_before(schema: Schema) -> pd.DataFrame:
    """The table of params data, as texts under schema names."""
    data = read_section("data")
    return named(read_table(Path(data["path"]), data.get("options") or {}), schema)


class Clone:
    """A clone of the repository's last commit that shares its DVC cache, for one training."""

    def __init__(self, lock: int):
        self.lock = lock
        shutil.rmtree(WORK, ignore_errors=True)  # of one that was interrupted
        try:
            git("rev-parse", "--verify", "HEAD", cwd=Path())
        except InputError:
            where = "this folder is no git repository with a commit; retraining starts from its last commit"
            raise InputError(where) from None
        if git("rev-parse", "--is-shallow-repository", cwd=Path()) == "true":  # DVC says nothing of it
            raise InputError("DVC loses the experiments of a shallow clone; bring in all: git fetch --unshallow")
        git("clone", "--quiet", "--shared", "--no-tags", ".", str(WORK), cwd=Path())
        cache = self.dvc("cache", "dir", cwd=Path())
        if (private := Path(".dvc/config.local")).exists():
            shutil.copy(private, WORK / private)
        self.dvc("config", "--local", "cache.dir", cache)

    def add(self, table: pd.DataFrame, message: str) -> None:
        """Commit the table, tracked by DVC."""
        with replacing(WORK / TABLE) as temporary:
            table.to_parquet(temporary, index=False)
        self.dvc("add", "--quiet", str(TABLE))
        git("add", "--all", cwd=WORK)
        commit(message, WORK)

    def train(self, name: str) -> Path:
        """Run the pipeline on the table as the experiment `name`, check it out, and return its bundle."""
        knobs = ["--set-param", f"data.path={TABLE}"]
        if read_section("data").get("options"):
            knobs += ["--set-param", "~data.options"]  # how the table before is read
        self.dvc("exp", "run", "--temp", "--name", name, *knobs, "deploy", shown=True)
        self.dvc("exp", "branch", name, name)
        git("checkout", "--quiet", name, cwd=WORK)
        self.dvc("checkout", "--quiet", str(BUNDLE))
        return WORK / BUNDLE

    def keep(self, branch: str) -> str:
        """Bring the experiment into the repository as that branch; its commit."""
        git("fetch", "--quiet", "--no-tags", str(WORK), f"+HEAD:refs/heads/{branch}", cwd=Path())
        return git("rev-parse", "HEAD", cwd=WORK)

    def dvc(self, *words: str, cwd: Path = WORK, shown: bool = False) -> str:
        command = [sys.executable, "-m", "dvc", *words]
        return called(command, cwd, shown, pass_fds=(self.lock,))


def git(*words: str, cwd: Path) -> str:
    return called(["git", *words], cwd)


def commit(message: str, clone: Path) -> None:
    """Commit what is staged there, if anything; hooks and keys are for people."""
    plain = ("-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false")
    git(*plain, "commit", "--quiet", "--allow-empty", "--message", message, cwd=clone)


def called(command: list[str], cwd: Path, shown: bool = False, **more: Any) -> str:
    """What a command prints; an InputError with the last line it says where it fails; none is left behind."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # stages run `python`
    environment = {**identity(), **os.environ, "PATH": path}
    output = sys.stderr if shown else subprocess.PIPE  # progress is for people
    process = subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=output, stderr=output, text=True, start_new_session=True, **more
    )
    try:
        found, said = ((text or "").strip() for text in process.communicate())  # a warning is no part of an answer
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    if process.returncode:
        why = (said or found or "see above").splitlines()[-1]
        raise InputError(f"{' '.join(command[:4])} ended with exit status {process.returncode}: {why}")
    return found


def identity() -> dict[str, str]:
    """Whom git names for a commit: who is configured in this repository, which a clone does not know, else us."""
    found: dict[str, str] = {}
    for part, ours in (("name", WHO), ("email", f"{WHO}@localhost")):
        asked = ["git", "config", f"user.{part}"]
        said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        found |= {f"GIT_{role}_{part.upper()}": said or ours for role in ("AUTHOR", "COMMITTER")}
    return found


def take_part(store: Store, version: str, knobs: Policy, why: str, settings: Settings) -> str:
    """Let a release that passes the gate take its part, and say which; what others try out stays as it is."""
    gate = check(store, version, settings.log)
    if not gate["passed"]:
        store.refuse(version, f"{why}; the gate says no: {gate['reasons'][0]}", gate, WHO)
        raise InputError("\n".join([f"{version} does not pass the gate; it stays in the store", *gate["reasons"]]))
    state, reason = store.state(), f"{why}; it passes the gate"
    part = knobs.role
    if part == "champion":
        store.promote(version, reason, WHO, gate)
        return "it is champion now"
    there = state["shadow"] if part == "shadow" else state["challenger"]
    if there and there != version and not is_own(store, part):
        return f"the {part} is {there}, which others try out; {version} waits in the store"
    if part == "challenger":
        store.split(version, knobs.share, reason, WHO, gate)
        return f"it answers {knobs.share:.3g} of the customers"
    store.shadow(version, reason, WHO, gate)
    return "it scores in the shadow; promote it with: python -m serve.releases promote"


def is_own(store: Store, part: str) -> bool:
    """Whether a retraining gave this part away, and no person took it up since, by another share for instance."""
    acts = store.history()
    names = (part, "share") if part == "challenger" else (part,)
    return act_of(acts, *names)["who"] == WHO


def retrain(if_needed: bool, now: datetime, lock: int) -> None:
    knobs, settings = policy(**read_params("monitoring.retrain", policy)), read_settings()
    store = Store(settings.releases)
    finish(store, knobs, settings)
    champion, acts = open_release(store.champion()).version, store.history()
    with open_log() as connection:
        ours = [check for check in latest(connection, now - HISTORY) if check.model_version == champion]
    if if_needed and (why := why_not(ours, acts, now, knobs)):
        log.info("no retraining of %s: %s", champion, why)
        return
    found = breaches(ours[-1], knobs.reasons) if ours else []
    reason = Reason(found, world_since(ours, acts), learned_until(acts, champion))
    schema = read_schema(Path(read_section("data")["schema"]))
    learned = production(reason, schema, now, knobs)
    why = f"trained again: {', '.join(found) or 'asked for'}"
    prove(store, train(store, reason, learned, schema, why, lock), knobs, why, settings)


def finish(store: Store, knobs: Policy, settings: Settings) -> None:
    """Go on where the last retraining was ended between adding its release and what becomes of it."""
    last = next(reversed(store.history()), None)
    if last and (last["act"], last["who"]) == ("add", WHO) and last["version"] in store.versions:
        log.info("%s is in the store, and nothing has become of it yet", last["version"])
        prove(store, last["version"], knobs, last["reason"], settings)


def prove(store: Store, version: str, knobs: Policy, why: str, settings: Settings) -> None:
    try:
        log.info("%s passes the gate; %s", version, take_part(store, version, knobs, why, settings))
    finally:
        tell(*mirrored(store))


def train(store: Store, reason: Reason, learned: Production, schema: Schema, why: str, lock: int) -> str:
    """Run the pipeline on the customers, and add its release to the store and its branch to the repository."""
    before = None if reason.since else table_before(schema)
    clone = Clone(lock)
    try:
        clone.add(joined(before, learned.table, schema), f"data: {len(learned.table)} customers of production\n\n{why}")
        bundle = clone.train(f"retrain-{datetime.now(UTC):%Y%m%d-%H%M%S}")
        version = open_release(bundle).version
        if version in store.versions:
            raise InputError(f"the same customers and code give release {version}, which the store has; nothing is new")
        branch = f"retrain/{version}"
        lineage = Lineage(
            commit=clone.keep(branch), branch=branch, reasons=reason.breaches, customers=len(learned.table),
            table="left out" if before is None else "joined",
            since=reason.since.isoformat() if reason.since else None, until=learned.until.isoformat(),
        )  # fmt: skip
        store.add(bundle, why, WHO, lineage)
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
    log.info("%s is in the store, its code and data on branch %s", version, branch)
    return version


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m monitoring.retrain", description=__doc__)
    parser.add_argument("--if-needed", action="store_true", help="only where the policy says so")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what was started is ended
    try:
        with alone() as lock:
            retrain(given.if_needed, datetime.now(UTC), lock)
    except Busy as error:
        if not given.if_needed:
            raise
        log.info("no retraining: %s", error)
