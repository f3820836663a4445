"""One retraining: whether it is due, the customers it learns from, and the part its release takes."""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from churn.campaigns import read_lasts
from churn.params import read_knobs, read_section
from churn.read_table import read_table
from churn.release import open_release
from churn.schema import WEIGHT, Schema, read_schema
from churn.script import InputError
from churn.table import named
from monitoring.check.knobs import Limits, SnapshotKnobs
from monitoring.frames import open_log
from monitoring.retrain.clone import WORK, Clone
from monitoring.retrain.policy import (
    ACTOR,
    Policy,
    breaches,
    concept_changed_at,
    why_not,
)
from monitoring.retrain.training_table import Production, has_repeats, joined, read_production
from serve.log.checks import latest
from serve.releases.commands import mirrored
from serve.releases.gate import check
from serve.releases.ledger import Lineage, act_of, learned_until
from serve.releases.registry import tell
from serve.releases.store import Store
from serve.settings import Settings, read_settings

log = logging.getLogger("monitoring.retrain")

HISTORY = timedelta(days=365)  # of checks that are looked at


class Busy(InputError):
    """Another retraining is at work."""


class Reason(NamedTuple):
    """Why, and what is learned from."""

    breaches: list[str]
    since: datetime | None
    learned: datetime | None


@contextmanager
def exclusive() -> Iterator[int]:
    """Keep other retrainings of this repository out; the lock's descriptor.

    A child that inherits it holds the lock too: a training whose command was killed must end before the next begins.
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
            most=knobs.customers, min_known=limits.min_known, lasts=read_lasts(), since=reason.since,
            learned=reason.learned,
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
    """The table of params data, as texts under schema names, and the weights of its rows as WEIGHT.

    Without the copies that `preprocess` drops: beside production's answers equal rows may be two months of a customer.
    """
    data = read_section("data")
    table = named(read_table(Path(data["path"]), data.get("options") or {}), schema)
    if read_section("preprocess").get("drop_duplicates"):
        table = table.drop_duplicates(ignore_index=True)
    return table.rename(columns={data.get("weight"): WEIGHT})


def take_part(store: Store, version: str, knobs: Policy, why: str, settings: Settings) -> str:
    """Let a release that passes the gate take its part, and say which; what others try out stays as it is."""
    gate = check(store, version, settings.log)
    if not gate["passed"]:
        store.refuse(version, f"{why}; the gate refuses it: {gate['reasons'][0]}", gate, ACTOR)
        raise InputError("\n".join([f"{version} does not pass the gate; it stays in the store", *gate["reasons"]]))
    state, reason = store.state(), f"{why}; it passes the gate"
    part = knobs.role
    if part == "champion":
        store.promote(version, reason, ACTOR, gate)
        return "it is champion now"
    there = state["shadow"] if part == "shadow" else state["challenger"]
    if there and there != version and not is_own(store, part):
        return f"the {part} is {there}, which others try out; {version} waits in the store"
    if part == "challenger":
        store.split(version, knobs.share, reason, ACTOR, gate)
        return f"it answers {knobs.share:.3g} of the customers"
    store.shadow(version, reason, ACTOR, gate)
    return "it scores in the shadow; promote it with: python -m serve.releases promote"


def is_own(store: Store, part: str) -> bool:
    """Whether a retraining gave this part away, and no person took it up since, by another share for instance."""
    acts = store.history()
    names = (part, "share") if part == "challenger" else (part,)
    return act_of(acts, *names)["who"] == ACTOR


def retrain(if_needed: bool, now: datetime, lock: int) -> None:
    knobs, settings = read_knobs("monitoring.retrain", Policy), read_settings()
    store = Store(settings.releases)
    finish(store, knobs, settings)
    champion, acts = open_release(store.champion()).version, store.history()
    with open_log() as connection:
        ours = [check for check in latest(connection, now - HISTORY) if check.model_version == champion]
    if if_needed and (why := why_not(ours, acts, now, knobs)):
        log.info("no retraining of %s: %s", champion, why)
        return
    found = breaches(ours[-1], knobs.reasons) if ours else []
    reason = Reason(found, concept_changed_at(ours, acts), learned_until(acts, champion))
    schema = read_schema(Path(read_section("data")["schema"]))
    learned = production(reason, schema, now, knobs)
    why = f"trained again: {', '.join(found) or 'asked for'}"
    prove(store, train(store, reason, learned, schema, why, lock), knobs, why, settings)


def finish(store: Store, knobs: Policy, settings: Settings) -> None:
    """Go on where the last retraining was ended between adding its release and what becomes of it."""
    last = next(reversed(store.history()), None)
    if last and (last["act"], last["who"]) == ("add", ACTOR) and last["version"] in store.versions:
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
        table = joined(before, learned.table, schema)
        knobs: dict[str, Any] = {"data.weight": WEIGHT if WEIGHT in table else None}
        if has_repeats(table, schema):
            if not (schema.id and schema.id.repeats):
                clone.let_ids_repeat()
            knobs["preprocess.drop_duplicates"] = False
        clone.add(table, f"data: {learned.customers} customers of production\n\n{why}")
        bundle = clone.train(f"retrain-{datetime.now(UTC):%Y%m%d-%H%M%S}", knobs)
        version = open_release(bundle).version
        if version in store.versions:
            raise InputError(f"the same customers and code give release {version}, which the store has; nothing is new")
        branch = f"retrain/{version}"
        lineage = Lineage(
            commit=clone.keep(branch), branch=branch, reasons=reason.breaches, customers=learned.customers,
            table="left out" if before is None else "joined",
            since=reason.since.isoformat() if reason.since else None, until=learned.until.isoformat(),
        )  # fmt: skip
        store.add(bundle, why, ACTOR, lineage)
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
    log.info("%s is in the store, its code and data on branch %s", version, branch)
    return version
