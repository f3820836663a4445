"""The evidence of a release, part by part; what is not there is named with the reason. No customer's values."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import md5
from pathlib import Path
from typing import Any

import yaml

from churn.expectations import RESULT, suite_hash, suite_of
from churn.git import committed
from churn.release import CARD, MANIFEST, MODEL, PAGES, SCHEMA, Release, bundle_files, file_hash, open_release
from churn.script import InputError
from serve.log.checks import latest
from serve.log.database import opened
from serve.log.tables import Check
from serve.releases.evidence.plan import RUNBOOK, monitoring_plan
from serve.releases.evidence.sbom import bill
from serve.releases.evidence.statement import as_bytes
from serve.releases.ledger import EMPTY, Act, Lineage, State, time_of
from serve.releases.store import Store
from serve.releases.trace import LOCK, commit_of

log = logging.getLogger("serve.releases")

ROLES = ("champion", "challenger", "shadow")
CACHE = Path(".dvc/cache/files/md5")
SHOWN = ("model_version", "model", "parameters", "threshold", "calibration", "data", "features", "samples", "libraries")
# of the release's commit, file -> its name in the folder
PIPELINE = {name: f"pipeline/{name}" for name in ("params.yaml", "dvc.yaml", LOCK, "requirements.txt")}
EXPECTATIONS = Path("data_docs") / RESULT  # of make expectations
DATA_METRICS = "metrics/validate.json"  # the result of the checks on the data table


@dataclass
class Evidence:
    release: Release
    acts: Sequence[Act]  # on this release, and those by which it came into a role or left it
    commit: str | None
    files: dict[str, bytes] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)  # what is missing -> why
    plan: dict[str, Any] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    def attempt(self, what: str, part: Callable[..., None], *more: Any) -> None:
        """Add a part, or name it as missing."""
        try:
            part(self, *more)
        except InputError as error:
            self.gaps[what] = " ".join(str(error).split())


def collect(store: Store, log_url: str, version: str) -> Evidence:
    """All that is known of the release here and now; the same state gives the same."""
    bundle = store.bundle(version)
    release, acts = open_release(bundle), list(acts_on(store.history(), version))
    lineage = next((act["lineage"] for act in acts if "lineage" in act), Lineage())
    evidence = Evidence(release, acts, lineage.get("commit") or commit_of(bundle))
    evidence.files |= {
        f"release/{name}": (bundle / name).read_bytes()
        for name in bundle_files(bundle)
        if name in (CARD, SCHEMA, MANIFEST, *PAGES)
    }
    if release.page is None:
        evidence.gaps["model card"] = "the bundle was written before bundles had one; card.json is there"
    facts = {name: release.card[name] for name in SHOWN if name in release.card}
    evidence.files["lineage.json"] = as_bytes({**facts, **lineage, "commit": evidence.commit})
    evidence.files["approval.json"] = as_bytes(acts)
    suite = suite_of(release.schema, f"release {version}")
    evidence.files["expectations.json"] = as_bytes(suite)
    evidence.attempt("result of Great Expectations", add_expectations, suite)
    evidence.attempt("pipeline", add_pipeline)
    evidence.attempt("result of the data's checks", add_data_metrics)
    evidence.attempt("data page", add_data_page)
    evidence.attempt("bill of materials", add_bills)
    evidence.attempt("monitoring plan", add_plan)
    evidence.attempt("checks of production", add_checks, log_url)
    return evidence


def acts_on(history: Sequence[Act], version: str) -> Iterator[Act]:
    """Acts that name the release, and acts of others that gave it a role or took it."""
    before: State = EMPTY
    for act in history:
        if act["version"] == version or roles(before, version) != roles(act["state"], version):
            yield act
        before = act["state"]


def roles(state: State, version: str) -> list[str]:
    return [role for role in ROLES if state.get(role) == version]


def of_commit(evidence: Evidence, path: str) -> bytes:
    """A file of the release's commit."""
    if not evidence.commit:
        raise InputError(f"no commit of this folder's repository has the release in its {LOCK}")
    if (content := committed(evidence.commit, path)) is None:
        raise InputError(f"commit {evidence.commit} has no {path}")
    return content


def add_pipeline(evidence: Evidence) -> None:
    for path, name in PIPELINE.items():
        evidence.files[name] = of_commit(evidence, path)


def add_data_metrics(evidence: Evidence) -> None:
    evidence.files["data/validate.json"] = of_commit(evidence, DATA_METRICS)


def add_data_page(evidence: Evidence) -> None:
    """The pages on the data table that the commit's dvc.lock knows by hash, from this folder or DVC's cache."""
    pages = {path: known for path, known in outs_of(evidence, "validate").items() if path.endswith(".html")}
    for path, digest in pages.items():
        for place in (Path(path), CACHE / digest[:2] / digest[2:]):
            content = place.read_bytes() if place.is_file() else b""
            if md5(content, usedforsecurity=False).hexdigest() == digest:
                evidence.files[f"data/{Path(path).name}"] = content
                break
        else:
            raise InputError(
                f"{path} of that commit is neither here nor in DVC's cache; bring it with: dvc fetch {path}"
            )
    if not pages:
        raise InputError(f"the commit's {LOCK} names none")


def add_expectations(evidence: Evidence, suite: dict[str, Any]) -> None:
    """What Great Expectations found, if it was asked this suite, of the loaded table that the commit knows by hash."""
    outs = outs_of(evidence, "load")
    if not EXPECTATIONS.is_file():
        raise InputError(f"{EXPECTATIONS} is not here; write it with: make expectations")
    content = EXPECTATIONS.read_bytes()
    try:
        found = json.loads(content)
        table, asked = found["table"]["md5"], found["expectations"]["sha256"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{EXPECTATIONS} is not what make expectations writes; run it again") from None
    if table not in outs.values():
        raise InputError(f"{EXPECTATIONS} is of another table; in that commit, run: make expectations")
    if asked != suite_hash(suite):
        raise InputError(f"{EXPECTATIONS} is of another suite; write it anew with: make expectations")
    evidence.files["data/expectations.json"] = content


def outs_of(evidence: Evidence, stage: str) -> dict[str, str]:
    """What the stage wrote by the commit's dvc.lock, path -> md5."""
    lock = yaml.safe_load(of_commit(evidence, LOCK))
    return {out["path"]: out["md5"] for out in lock.get("stages", {}).get(stage, {}).get("outs", [])}


def add_bills(evidence: Evidence) -> None:
    version, folder = evidence.release.version, evidence.release.folder
    model = {
        "type": "machine-learning-model",
        "bom-ref": f"churn@{version}",
        "name": "churn",
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": file_hash(folder / MODEL)}],
    }
    service = {"type": "application", "bom-ref": "churn-service", "name": "churn-service"}
    for name, path, component in (
        ("training.cdx.json", "requirements.txt", model),
        ("service.cdx.json", "serve/requirements.txt", service),
    ):
        try:
            pins = of_commit(evidence, path)
        except InputError as error:
            if not Path(path).is_file():
                raise
            pins = Path(path).read_bytes()
            evidence.gaps["bill of materials of the release"] = f"it lists this folder's {path}, as {error}"
        evidence.files[f"sbom/{name}"] = as_bytes(bill(pins.decode(), component))


def add_plan(evidence: Evidence) -> None:
    evidence.plan = monitoring_plan()
    evidence.files["monitoring/plan.json"] = as_bytes(evidence.plan)
    evidence.files["monitoring/runbook.md"] = RUNBOOK.read_bytes()


def add_checks(evidence: Evidence, log_url: str) -> None:
    """What checks found of it since it first answered or scored."""
    since = live_since(evidence)
    if since is None:
        raise InputError("it has never answered a customer")
    try:
        with opened(log_url) as engine, engine.connect() as connection:
            found = latest(connection, since)
    except InputError as error:
        log.warning("%s", error)
        raise InputError("the prediction log can't be read") from None  # where it lies is nobody else's business
    evidence.checks = [check for check in found if check.model_version == evidence.release.version]
    rows = [
        {"at": check.at.isoformat(), "verdict": check.verdict, "reasons": check.found.get("reasons", [])}
        for check in evidence.checks
    ]
    evidence.files["monitoring/checks.json"] = as_bytes(rows)


def live_since(evidence: Evidence) -> datetime | None:
    version = evidence.release.version
    return next((time_of(act) for act in evidence.acts if roles(act["state"], version)), None)


def gate_of(evidence: Evidence) -> dict[str, Any]:
    """The gate's report of the last act that has one on this release."""
    version = evidence.release.version
    reports = [act["gate"] for act in evidence.acts if act["version"] == version and "gate" in act]
    return dict(reports[-1]) if reports else {}
