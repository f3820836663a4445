"""Deployed releases, from the command line: which are there, which one answers, and every act on them.

The store is at CHURN_RELEASES: a folder, or object storage (s3://bucket/path). The service follows within a second.
"""

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from churn.script import InputError, as_json, run
from churn.text import columns
from serve.releases import registry, replay
from serve.releases.commands import add, mirrored, promote, releases, replay_of
from serve.releases.gate import passed
from serve.releases.ledger import Act, State
from serve.releases.store import Store, UnknownRelease
from serve.releases.trace import in_words, trace
from serve.settings import read_settings

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
            ("list", "the releases and which of them answer"),
            ("history", "every act: when, who, what and why"),
            ("gate", "compare a release with the champion, and change nothing"),
            ("replay", "what a release would have answered to the requests of the last days"),
            ("promote", "make a release that passes the gate the champion"),
            ("rollback", "make the champion before this one champion again"),
            ("split", "let a challenger answer a share of the customers"),
            ("shadow", "let a release score what others answer"),
            ("trace", "an answer's release, its data, parameters and git commit, by the request id"),
            ("evidence", "what is known of a release as one folder: card, lineage, approval, packages, checks"),
            ("mirror", "repeat the state in MLflow's registry, which follows every act unless it was down"),
        )
    }
    made["add"].add_argument("bundle", help="a folder, or models:/churn@candidate from MLflow's registry")
    made["add"].add_argument("--promote", action="store_true", help="and promote it, if it passes the gate")
    for name in ("gate", "replay", "promote", "evidence"):
        made[name].add_argument("version")
    made["evidence"].add_argument("out", type=Path, help="a new or empty folder")
    made["evidence"].add_argument("--key", type=Path, help="sign it: a private Ed25519 key in PEM")
    for name in ("split", "shadow"):
        made[name].add_argument("version", help=f"or {OFF}")
    made["trace"].add_argument("request_id")
    made["add"].add_argument(
        "--commit", default="", help="the commit that made the bundle; by default found by its dvc.lock"
    )
    made["replay"].add_argument("--days", type=float, default=30.0, help="how far back; default: 30")
    made["replay"].add_argument(
        "--against", default="answers", help="what it is compared with: answers (default), champion or a version"
    )
    made["gate"].add_argument("--against", default="", metavar="VERSION", help="another release than the champion")
    made["split"].add_argument("--share", type=float, help="of the customers, 0 to 1")
    for name in ("add", "gate", "promote"):
        made[name].add_argument(
            "--force", action="store_true", help="even if the gate refuses it; the ledger records that"
        )
    for name in ("add", "promote", "rollback"):
        made[name].add_argument("--reason", required=True)
    for name in ("split", "shadow"):
        made[name].add_argument("--reason", default="")
    for name in ("list", "history", "gate", "replay", "trace"):
        made[name].add_argument("--json", action="store_true", help="print JSON")
    return parser


def main() -> None:
    given = parser().parse_args()
    settings = read_settings()
    store = Store(settings.releases)
    match given.command:
        case "add":
            before = store.versions
            version = add(store, given.bundle, given.reason, given.commit)
            log.info("%s", f"{version} is there already" if version in before else f"added {version}: {given.reason}")
            if given.promote:
                promote(store, version, given.reason, settings, given.force)
            elif (champion := store.state()["champion"]) != version:
                way = f"python -m serve.releases promote {version} --reason WHY"
                log.info("%s answers; to change that: %s", champion or "no release", way)
        case "list":
            rows = releases(store)
            write_out(release_table(rows) if rows else [f"{store.where} holds no release"], rows, given.json)
        case "history":
            acts = store.history()
            write_out([act_line(act) for act in acts], acts, given.json)
        case "gate":
            with refusals_as_json(given.json):
                gate = passed(store, given.version, settings.log, given.force, given.against)
            write_out(gate_lines(gate), gate, given.json)
        case "replay":
            with refusals_as_json(given.json):
                made = replay_of(store, given.version, settings.log, given.days, given.against)
            write_out(replay.in_words(made), json.loads(as_json(replay.as_dict(made))), given.json)
        case "promote":
            promote(store, given.version, given.reason, settings, given.force)
        case "rollback":
            log.info("rolled back to %s: %s", store.rollback(given.reason)["champion"], given.reason)
        case "split":
            if given.version != OFF and given.share is None:
                raise InputError("--share is missing; give the share of the customers, for instance --share 0.1")
            store.split(None if given.version == OFF else given.version, given.share or 0.0, given.reason)
            log.info("%s", state_line(store.state()))
        case "shadow":
            store.shadow(None if given.version == OFF else given.version, given.reason)
            log.info("%s", state_line(store.state()))
        case "trace":
            origin = trace(store, settings.log, given.request_id)
            write_out(in_words(origin), origin, given.json)
        case "evidence":
            evidence_of(store, given.version, given.out, given.key, settings.log)
        case "mirror":
            for change in registry.mirror(*mirrored(store)) or ["the registry agrees with the store"]:
                log.info(change)
    if given.command in ACTS and (mirror := mirrored(store))[0]["champion"]:  # an empty store clears no registry
        registry.tell(*mirror)


def evidence_of(store: Store, version: str, out: Path, key: Path | None, log_url: str) -> None:
    try:
        from serve.releases.evidence.folder import write_evidence
    except ImportError as error:  # the service's image leaves it out
        raise InputError(f"evidence needs {error.name}; make it where requirements.txt is installed") from None
    write_evidence(store, log_url, version, out, key)


@contextmanager
def refusals_as_json(as_json: bool) -> Iterator[None]:
    """With JSON, write a refusal to stdout as well, for the service."""
    try:
        yield
    except InputError as error:
        if as_json:
            is_unknown = isinstance(error, UnknownRelease)
            write_out([], {"error": {"unknown_release": is_unknown, "reasons": str(error).splitlines()}}, as_json)
        raise


def release_table(releases: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [("VERSION", "ROLE", "MODEL", "TEST ROC AUC", "ADDED", "WHY")]
    for row in releases:
        score = "" if row["roc_auc"] is None else f"{row['roc_auc']:.4f}"
        rows.append(
            (row["version"], row["role"], row["model"], score, row["added"][:16].replace("T", " "), row["reason"])
        )
    return columns(rows)


def act_line(act: Act) -> str:
    state, words = act["state"], [str(act["version"])]
    match act["act"]:
        case "split":
            words.append(f"{state['share']:.3g} of the customers" if state["challenger"] else OFF)
        case "shadow" if not state["shadow"]:
            words.append(OFF)
        case "promote" if not act.get("gate", {}).get("passed", True):
            words.append("although the gate refused it")
    return f"{act['at'][:19]}  {act['act']:<8}  {' '.join(words)}  {act['who']}: {act['reason']}"


def gate_lines(gate: Mapping[str, Any]) -> list[str]:
    verdict = f"{gate['candidate']} {'passes' if gate['passed'] else 'does not pass'} against {gate['champion']}"
    measured = [("DATA", "MEASURE", "CHAMPION", "CANDIDATE", "DIFFERENCE", "BOUND", "ALLOWED", "")]
    for row in gate.get("measures", ()):
        numbers = [f"{row[key]:+.4f}" for key in ("difference", "bound", "margin")]
        scores = [f"{row[key]:.4f}" for key in ("champion", "candidate")]
        measured.append((row["data"], row["measure"], *scores, *numbers, "" if row["passed"] else "no"))
    return [verdict, *columns(measured), *gate["reasons"], *replay_lines(gate.get("replay", {}))]


def replay_lines(replayed: Mapping[str, Any]) -> list[str]:
    """The gate's replay in one line, if it has one."""
    if "problem" in replayed:
        return [f"the last requests can't be replayed: {replayed['problem']}"]
    if not replayed.get("customers"):
        return []
    return [
        f"of {replayed['customers']:,} customers asked about lately {replayed['changed']:.2%} would be decided "
        f"otherwise; {replayed['refused']:,} of {replayed['requests']:,} requests would be refused"
    ]


def state_line(state: State) -> str:
    words = f"{state['champion']} answers"
    if state["challenger"]:
        words += f", {state['challenger']} {state['share']:.3g} of the customers"
    return f"{words}, {state['shadow']} scores in the shadow" if state["shadow"] else words


def write_out(lines: list[str], content: Any, as_json: bool) -> None:
    """Write lines for people, or JSON, to stdout."""
    sys.stdout.write(json.dumps(content, indent=2) + "\n" if as_json else "".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    run(main, "serve.releases")
