"""What people do to releases: add a bundle, promote it, list what is there; MLflow's registry follows."""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from churn.git import git_or_empty
from churn.release import open_release
from churn.scorer import Scorer
from churn.script import InputError
from serve.log.database import opened
from serve.releases import registry
from serve.releases.gate import passed
from serve.releases.ledger import State, additions, newest_candidate
from serve.releases.replay import Replay, replay
from serve.releases.store import Store
from serve.releases.trace import commit_of
from serve.settings import Settings

log = logging.getLogger("serve.releases")

MAX_DAYS = 36_500


def add(store: Store, bundle: str, reason: str, commit: str) -> str:
    """Add a bundle from a folder or from MLflow's registry; its version."""
    with tempfile.TemporaryDirectory() as folder:
        found = registry.pull(bundle, Path(folder)) if bundle.startswith("models:") else Path(bundle)
        made_by = commit or commit_of(found)
        version = store.add(found, reason, lineage={"commit": made_by})
    if made_by is None and git_or_empty("rev-parse", "HEAD"):
        log.warning("no commit's dvc.lock names %s: its answers lead to no commit; commit dvc.lock first", version)
    return version


def mirrored(store: Store) -> tuple[State, Mapping[str, Path], str | None]:
    """What the registry is to say: the state, the bundles, and the last release that came and never answered."""
    return store.state(), Bundles(store), newest_candidate(store.history())


class Bundles(Mapping[str, Path]):
    """Version -> folder; each is fetched when it is asked for."""

    def __init__(self, store: Store):
        self.store, self.versions = store, store.versions

    def __getitem__(self, version: str) -> Path:
        if version not in self.versions:
            raise KeyError(version)
        return self.store.bundle(version)

    def __iter__(self) -> Iterator[str]:
        return iter(self.versions)

    def __len__(self) -> int:
        return len(self.versions)


def promote(store: Store, version: str, reason: str, settings: Settings, force: bool) -> None:
    """Promote what passes the gate, or is forced past it."""
    gate = passed(store, version, settings.log, force)
    if gate["forced"]:
        log.warning("forced, although %s", "; ".join(gate["reasons"]))
    store.promote(version, reason, gate=gate)
    log.info("promoted %s: %s", version, reason)


def replay_of(store: Store, version: str, log_url: str, days: float, against: str) -> Replay:
    """The requests of the last days, scored by that release and compared with the answers, the champion or another."""
    if not 0 < days < MAX_DAYS:
        raise InputError(f"--days is {days:g}; expected more than 0 and less than {MAX_DAYS}")
    candidate = Scorer.open(store.bundle(version))
    other = None if against == "answers" else store.champion() if against == "champion" else store.bundle(against)
    champion = Scorer.open(other) if other else None
    with opened(log_url) as engine:
        made = replay(engine, candidate, champion, datetime.now(UTC) - timedelta(days=days))
    if made is None:
        raise InputError(f"the log has no answer of the last {days:g} days; look further back with --days")
    return made


def releases(store: Store) -> list[dict[str, Any]]:
    """A row for each release, the newest first."""
    state, added = store.state(), {act["version"]: act for act in additions(store.history())}
    found = []
    for version in store.versions:
        row: dict[str, Any] = {"version": version, "role": role(version, state)}
        try:
            card = open_release(store.bundle(version)).card
            row |= {"model": card["model"], "roc_auc": card["test"]["roc_auc"]}
        except InputError as error:
            row |= {"model": "damaged", "roc_auc": None, "problem": str(error)}
        act = added.get(version)
        found.append(row | {"added": act["at"] if act else "", "reason": act["reason"] if act else ""})
    return sorted(found, key=lambda row: str(row["added"]), reverse=True)


def role(version: str, state: State) -> str:
    roles = [name for name in ("champion", "challenger", "shadow", "previous") if state.get(name) == version]
    return f"challenger {state['share']:.3g}" if roles == ["challenger"] else " ".join(roles)
