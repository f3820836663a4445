"""The folder of a release's evidence: written whole or not at all, the same bytes for the same state."""

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from churn.document import markdown, page
from churn.script import InputError
from serve.releases.evidence.collect import collect
from serve.releases.evidence.index import contents, title
from serve.releases.evidence.statement import as_bytes, read_key, signed, statement
from serve.releases.store import Store

log = logging.getLogger("serve.releases")

STATEMENT, ENVELOPE = "statement.json", "statement.dsse.json"


def write_evidence(store: Store, log_url: str, version: str, out: Path, key: Path | None = None) -> None:
    """Write the folder `out`, new or empty; with a key its statement is signed."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} is not empty; name a new folder")
    signer = read_key(key) if key else None
    evidence = collect(store, log_url, version)
    files, sections = dict(evidence.files), contents(evidence, signer is not None)
    files["README.md"] = markdown(title(evidence), sections).encode()
    files["index.html"] = page(title(evidence), sections).encode()
    card = evidence.release.card
    predicate = {
        "release": version,
        "commit": evidence.commit,
        "data": {"name": card["data"]["table"], "digest": {"sha256": card["data"]["sha256"]}},
        "missing": sorted(evidence.gaps),
    }
    payload = as_bytes(statement(files, predicate))
    files[STATEMENT] = payload
    if signer:
        files[ENVELOPE] = as_bytes(signed(payload, signer))
    put(files, out)
    for what, why in evidence.gaps.items():
        log.warning("missing: %s: %s", what, why)
    log.info("wrote %s: %d files, %s", out, len(files), "signed" if signer else "not signed")


def put(files: Mapping[str, bytes], out: Path) -> None:
    """Write the files under a temporary name, then rename the folder."""
    out = out.resolve()
    building = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        for name, content in files.items():
            (building / name).parent.mkdir(parents=True, exist_ok=True)
            (building / name).write_bytes(content)
        building.rename(out)
    finally:
        shutil.rmtree(building, ignore_errors=True)
