"""From an answer back to what made it: its release, the release's data, parameters and scores, and the git commit."""

import json
from collections.abc import Mapping
from hashlib import file_digest, md5
from pathlib import Path
from typing import Any

from sqlalchemy import select

from churn.git import git_or_empty
from churn.release import open_release
from churn.script import InputError
from serve.log.database import opened
from serve.log.tables import IS_ANSWER, predictions
from serve.releases.ledger import Lineage
from serve.releases.store import Store

LOCK = "dvc.lock"  # of a commit: it names every output by its hash
SHOWN = ("model_version", "model", "parameters", "threshold", "calibration", "data", "libraries")  # of the card
LEFT_OUT = ("version", "state", "gate")  # of an act
LAST = 10  # answers, where a client gave several the same request id


def trace(store: Store, log_url: str, request_id: str) -> dict[str, Any]:
    """The answers of that request, and for each release among them its acts and what it was made of."""
    # the service names its answers in ASCII; an argument may hold halves of characters, which no database takes
    answers = answers_of(log_url, request_id) if request_id.isascii() else []
    if not answers:
        raise InputError(f"the log has no answer with the request id {request_id!r}; it may have been pruned")
    versions = dict.fromkeys(answer["model_version"] for answer in answers)
    return {"request_id": request_id, "answers": answers, "releases": [made_of(store, version) for version in versions]}


def answers_of(log_url: str, request_id: str) -> list[dict[str, Any]]:
    """The last answers of that id; the customer's values stay in the log."""
    p = predictions.c
    columns = [p.at, p.arm, p.churn_probability, p.prediction, p.threshold, p.model_version]
    statement = select(*columns).where(p.request_id == request_id, IS_ANSWER).order_by(p.id.desc()).limit(LAST)
    with opened(log_url) as engine, engine.connect() as connection:
        rows = connection.execute(statement).mappings().all()
    return [{**row, "at": row["at"].isoformat()} for row in reversed(rows)]


def made_of(store: Store, version: str) -> dict[str, Any]:
    acts = [act for act in store.history() if act["version"] == version]
    found: dict[str, Any] = {
        "version": version,
        "acts": [{key: value for key, value in act.items() if key not in LEFT_OUT} for act in acts],
    }
    lineage = next((act["lineage"] for act in acts if "lineage" in act), Lineage())
    try:
        bundle = store.bundle(version)
        card = open_release(bundle).card
        found |= {"bundle": str(bundle), "card": {key: card[key] for key in SHOWN if key in card}}
        lineage = lineage if lineage.get("commit") else {**lineage, "commit": commit_of(bundle)}
    except InputError as error:  # removed or damaged; the ledger still says where it came from
        found |= {"bundle": None, "problem": str(error)}
    return found | {"lineage": lineage}


def commit_of(bundle: Path) -> str | None:
    """The commit of this folder's repository whose dvc.lock names the bundle: HEAD, else the last one on any branch."""
    name = f"{directory_hash(bundle)}.dir"
    if name in git_or_empty("show", f"HEAD:{LOCK}"):
        return git_or_empty("rev-parse", "HEAD") or None
    changed_it = git_or_empty("log", "--all", "--format=%H", f"-S{name}", "--", LOCK).split()
    return next((commit for commit in changed_it if name in git_or_empty("show", f"{commit}:{LOCK}")), None)


def directory_hash(folder: Path) -> str:
    """The md5 by which DVC knows a folder: of the list of its files and their md5."""
    hashes = {path.relative_to(folder).as_posix(): md5_of(path) for path in folder.rglob("*") if path.is_file()}
    listed = [{"md5": hashes[name], "relpath": name} for name in sorted(hashes)]
    return md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest()


def md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, lambda: md5(usedforsecurity=False)).hexdigest()


def in_words(found: Mapping[str, Any]) -> list[str]:
    """The trace for people."""
    lines = [f"request {found['request_id']}"]
    for answer in found["answers"]:
        lines.append(
            f"  {answer['at'][:19]}  {answer['prediction']}, probability {answer['churn_probability']:.6f}, "
            f"threshold {answer['threshold']:g}, by {answer['model_version']} as {answer['arm']}"
        )
    for release in found["releases"]:
        lines += ["", f"release {release['version']}", *(f"  {text}" for text in of_release(release))]
    return lines


def of_release(release: Mapping[str, Any]) -> list[str]:
    lines = [f"{act['at'][:19]}  {act['act']:<8}  {act['who']}: {act['reason']}" for act in release["acts"]]
    if card := release.get("card"):
        data = card["data"]
        lines += [
            f"bundle      {release['bundle']}",
            f"model       {card['model']} {json.dumps(card['parameters'])}",
            f"data        {data['table']}, sha256 {data['sha256']}, {data['train_customers']} training customers",
        ]
    else:
        lines.append(f"bundle      {release['problem']}")
    return lines + of_lineage(release["lineage"], release["version"])


def of_lineage(lineage: Mapping[str, Any], version: str) -> list[str]:
    if not (commit := lineage.get("commit")):
        return [f"git commit  not known: no commit of this folder's repository has {version} in its {LOCK}"]
    branch = f" on branch {lineage['branch']}" if lineage.get("branch") else ""
    lines = [f"git commit  {commit}{branch}; its code, data and release: git checkout {commit} && dvc checkout"]
    if "until" in lineage:
        lines.append(
            f"trained on  {lineage['customers']} of production's customers answered before {lineage['until'][:10]}, "
            f"the table before {lineage['table']}; because of {', '.join(lineage['reasons']) or 'a request'}"
        )
    return lines
