"""Deployed releases, from the command line: which are there, which one answers, and every act on them.

The store is where CHURN_RELEASES says: a folder, or object storage (s3://bucket/path). The service follows within a
second.
"""

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from churn.release import open_release
from churn.script import InputError
from serve.releases import registry
from serve.releases.gate import passed
from serve.releases.store import State, Store
from serve.releases.trace import commit_of, git, trace
from serve.releases.trace import in_words as traced
from serve.settings import Settings, read_settings

log = logging.getLogger("serve.releases")

OFF = "off"  # in place of a version
ACTS = ("add", "promote", "rollback", "split", "shadow")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serve.releases", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {
        name: commands.add_parser(name, help=words, description=words)
        for name, words in (
            ("add", "verify a bundle and copy it into the store"),
            ("list", "the releases and who answers"),
            ("history", "every act: when, who, what and why"),
            ("gate", "compare a release with the champion, and change nothing"),
            ("promote", "let a release that passes the gate answer"),
            ("rollback", "let the champion before this one answer again"),
            ("split", "let a challenger answer a share of the customers"),
            ("shadow", "let a release score what others answer"),
            ("trace", "an answer's release, its data, parameters and git commit, by the request id"),
            ("mirror", "let MLflow's registry say who answers: it follows every act, this is for when it was down"),
        )
    }
    made["add"].add_argument("bundle", help="a folder, or models:/churn@candidate from MLflow's registry")
    made["add"].add_argument("--promote", action="store_true", help="and let it answer, if it passes the gate")
    for name in ("gate", "promote"):
        made[name].add_argument("version")
    for name in ("split", "shadow"):
        made[name].add_argument("version", help=f"or {OFF}")
    made["trace"].add_argument("request_id")
    made["add"].add_argument("--commit", default="", help="that made the bundle; found by dvc.lock where left out")
    made["split"].add_argument("--share", type=float, help="of the customers, 0 to 1")
    for name in ("add", "gate", "promote"):
        made[name].add_argument("--force", action="store_true", help="also if the gate says no; the ledger keeps that")
    for name in ("add", "promote", "rollback"):
        made[name].add_argument("--reason", required=True)
    for name in ("split", "shadow"):
        made[name].add_argument("--reason", default="")
    for name in ("list", "history", "gate", "trace"):
        made[name].add_argument("--json", action="store_true", help="for programs")
    return parser


def main() -> None:
    given = parser().parse_args()
    settings = read_settings()
    store = Store(settings.releases)
    match given.command:
        case "add":
            version = add(store, given.bundle, given.reason, given.commit)
            log.info("added %s: %s", version, given.reason)
            if given.promote:
                promote(store, version, given.reason, settings, given.force)
        case "list":
            found = releases(store)
            said(table(found) if found else [f"{store.where} holds no release"], found, given.json)
        case "history":
            acts = store.history()
            said([in_words(act) for act in acts], acts, given.json)
        case "gate":
            gate = passed(store, given.version, settings.log, given.force)
            said(verdict(gate), gate, given.json)
        case "promote":
            promote(store, given.version, given.reason, settings, given.force)
        case "rollback":
            log.info("rolled back to %s: %s", store.rollback(given.reason)["champion"], given.reason)
        case "split":
            if given.version != OFF and given.share is None:
                raise InputError("--share is missing; give the share of the customers, for instance --share 0.1")
            store.split(None if given.version == OFF else given.version, given.share or 0.0, given.reason)
            log.info("%s", answers(store.state()))
        case "shadow":
            store.shadow(None if given.version == OFF else given.version, given.reason)
            log.info("%s", answers(store.state()))
        case "trace":
            way = trace(store, settings.log, given.request_id)
            said(traced(way), way, given.json)
        case "mirror":
            for change in registry.mirror(*mirrored(store)) or ["the registry says what the store says"]:
                log.info(change)
    if given.command in ACTS and (told := mirrored(store))[0]["champion"]:  # a store that is empty clears no registry
        registry.tell(*told)


def add(store: Store, bundle: str, reason: str, commit: str) -> str:
    """Add a bundle from a folder or from MLflow's registry; its version."""
    with tempfile.TemporaryDirectory() as folder:
        found = registry.pull(bundle, Path(folder)) if bundle.startswith("models:") else Path(bundle)
        made_by = commit or commit_of(found)
        version = store.add(found, reason, lineage={"commit": made_by})
    if made_by is None and git("rev-parse", "HEAD"):
        log.warning("no commit's dvc.lock names %s: its answers lead to no commit; commit dvc.lock first", version)
    return version


def mirrored(store: Store) -> tuple[State, Mapping[str, Path], str | None]:
    """What the registry is to say: the state, the bundles, and the last release that came and never answered."""
    acts = store.history()
    answered = {act["state"]["champion"] for act in acts}
    newest = next((act["version"] for act in reversed(acts) if act["act"] == "add"), None)
    return store.state(), Bundles(store), None if newest in answered else newest


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


def releases(store: Store) -> list[dict[str, Any]]:
    """A row for each release, the newest first."""
    state, added = store.state(), {act["version"]: act for act in store.history() if act["act"] == "add"}
    found = []
    for version in store.versions:
        row: dict[str, Any] = {"version": version, "role": role(version, state)}
        try:
            card = open_release(store.bundle(version)).card
            row |= {"model": card["model"], "roc_auc": card["test"]["roc_auc"]}
        except InputError as error:
            row |= {"model": "damaged", "roc_auc": None, "problem": str(error)}
        act = added.get(version, {})
        found.append(row | {"added": act.get("at", ""), "reason": act.get("reason", "")})
    return sorted(found, key=lambda row: str(row["added"]), reverse=True)


def role(version: str, state: State) -> str:
    roles = [name for name in ("champion", "challenger", "shadow", "previous") if state.get(name) == version]
    return f"challenger {state['share']:.3g}" if roles == ["challenger"] else " ".join(roles)


def table(found: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [("VERSION", "ROLE", "MODEL", "TEST ROC AUC", "ADDED", "WHY")]
    for row in found:
        score = "" if row["roc_auc"] is None else f"{row['roc_auc']:.4f}"
        rows.append(
            (row["version"], row["role"], row["model"], score, row["added"][:16].replace("T", " "), row["reason"])
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def in_words(act: Mapping[str, Any]) -> str:
    state, words = act["state"], [act["version"]]
    match act["act"]:
        case "split":
            words.append(f"{state['share']:.3g} of the customers" if state["challenger"] else OFF)
        case "shadow" if not state["shadow"]:
            words.append(OFF)
        case "promote" if not act.get("gate", {}).get("passed", True):
            words.append("over the gate's no")
    return f"{act['at'][:19]}  {act['act']:<8}  {' '.join(words)}  {act['who']}: {act['reason']}"


def verdict(found: Mapping[str, Any]) -> list[str]:
    lines = [f"{found['candidate']} {'passes' if found['passed'] else 'does not pass'} against {found['champion']}"]
    measured = [("DATA", "MEASURE", "CHAMPION", "CANDIDATE", "DIFFERENCE", "MAY BE", "ALLOWED", "")]
    for row in found.get("measures", ()):
        numbers = [f"{row[key]:+.4f}" for key in ("difference", "bound", "margin")]
        scores = [f"{row[key]:.4f}" for key in ("champion", "candidate")]
        measured.append((row["data"], row["measure"], *scores, *numbers, "" if row["passed"] else "no"))
    widths = [max(map(len, column)) for column in zip(*measured, strict=True)]
    return lines + ["  ".join(map(str.ljust, row, widths)).rstrip() for row in measured] + list(found["reasons"])


def answers(state: State) -> str:
    words = f"{state['champion']} answers"
    if state["challenger"]:
        words += f", {state['challenger']} {state['share']:.3g} of the customers"
    return f"{words}, {state['shadow']} scores in the shadow" if state["shadow"] else words


def said(lines: list[str], found: Any, as_json: bool) -> None:
    """To stdout: lines for people, or JSON."""
    sys.stdout.write(json.dumps(found, indent=2) + "\n" if as_json else "".join(f"{line}\n" for line in lines))
