"""audit: what may be wrong with what is depended on and what is shipped: python -m review.audit [PART ...]

Parts: vulnerabilities (pip-audit, asks osv.dev), code (bandit), secrets (detect-secrets), licences (pip-licenses).
Exit status 0: each part looked and found nothing; 1: something is found; 2: nothing found, but a part could not tell.
"""

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from churn.git import child_environment
from churn.script import run

CODE = ("churn", "stages", "serve", "campaigns", "monitoring", "review")
REQUIREMENTS = ("requirements.txt", "serve/requirements.txt", ".ci/spark/requirements.txt")
PYPROJECT, BASELINE = Path("pyproject.toml"), Path(".secrets.baseline")
# of an environment of its own: it brings a pip, and what looks at packages is none of them
PIP_AUDIT = Path(".venv/audit/bin/python")


@dataclass(frozen=True)
class Found:
    """What a part has to say; `unknown` is why it could not tell, or not of everything."""

    findings: Sequence[str] = ()
    unknown: Sequence[str] = ()
    looked_at: str = ""
    listed: Sequence[str] = field(default=())


def run_command(*words: str) -> tuple[str, str]:
    """stdout, and the last line of stderr, of a command that may fail."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=child_environment())
    except OSError as error:
        return "", f"{words[0]}: {error.strerror}"
    return done.stdout, (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def vulnerabilities() -> Found:
    files = [word for path in REQUIREMENTS for word in ("--requirement", path)]
    options = "--disable-pip --require-hashes --format json --progress-spinner off --vulnerability-service osv"
    stdout, why = run_command(str(PIP_AUDIT), "-m", "pip_audit", *files, *options.split())
    try:
        return of_pip_audit(json.loads(stdout))
    except ValueError:
        return Found(unknown=[f"the vulnerability service did not answer: {why}"])


def of_pip_audit(told: Mapping[str, Any]) -> Found:
    """pip-audit ends with exit status 0 where it skipped packages; here they are unknown."""
    packages = told["dependencies"]
    skipped = [f"{one['name']}: {one['skip_reason']}" for one in packages if "skip_reason" in one]
    findings = [
        f"{one['name']} {one['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'no version'}"
        for one in packages
        for found in one.get("vulns", [])
    ]
    return Found(findings, skipped or ([] if packages else ["no package was looked at"]), f"{len(packages)} packages")


def code() -> Found:
    words = ("-m", "bandit", "--quiet", "--recursive", "--configfile", str(PYPROJECT), "--format", "json", *CODE)
    stdout, why = run_command(sys.executable, *words)
    try:
        told = json.loads(stdout)
    except ValueError:
        return Found(unknown=[why])
    return Found(
        [f"{f['filename']}:{f['line_number']}: {f['issue_text']} [{f['test_id']}]" for f in told["results"]],
        [f"{error['filename']}: {error['reason']}" for error in told["errors"]],
        f"{told['metrics']['_totals']['loc']} lines",
    )


def secrets() -> Found:
    """What looks like a secret in a file of git, and is not in the baseline of those that are none."""
    try:
        from detect_secrets.core import baseline
        from detect_secrets.core.secrets_collection import SecretsCollection
    except ImportError:
        return Found(unknown=["detect-secrets is not installed; make setup"])
    known = baseline.load(baseline.load_from_file(str(BASELINE)))  # its plugins and filters become the settings
    stdout, why = run_command("git", "ls-files", "-z")
    names = [name for name in stdout.split("\0") if name and name != str(BASELINE) and Path(name).is_file()]
    if not names:
        return Found(unknown=[f"git lists no files: {why}"])
    scanned = SecretsCollection()
    for name in names:
        scanned.scan_file(name)
    new = [f"{name}:{s.line_number}: {s.type}" for name, s in scanned - known]
    way_out = f"  take it out and revoke it; if it is none, detect-secrets scan --baseline {BASELINE}"
    return Found([f"{line};{way_out}" for line in sorted(new)], looked_at=f"{len(names)} files")


def licences() -> Found:
    stdout, why = run_command(sys.executable, "-m", "piplicenses", "--from=mixed", "--format=json")
    try:
        installed = {one["Name"].lower(): one["License"] for one in json.loads(stdout)}
    except ValueError:
        return Found(unknown=[why])
    policy = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["licences"]
    shipped = set(re.findall(r"^([a-z0-9._-]+)==", Path(REQUIREMENTS[1]).read_text(encoding="utf-8"), re.MULTILINE))
    return of_licences(installed, shipped, allow=policy["allow"], outside_the_service=policy["outside_the_service"])


def of_licences(
    installed: Mapping[str, str], shipped: set[str], *, allow: Iterable[str], outside_the_service: Mapping[str, str]
) -> Found:
    """Package -> its licence, against those allowed; single packages are excused that the service ships without."""
    allowed = set(allow)
    excused = outside_the_service.keys() - shipped
    refused = {name: text for name, text in installed.items() if not allows(text, allowed)}
    idle = outside_the_service.keys() & installed.keys() - refused.keys()
    counts = Counter(first_line(text) for text in installed.values())
    return Found(
        [f"{name}: {first_line(text)} is not allowed" for name, text in sorted(refused.items()) if name not in excused]
        + [f"{name} needs no excuse any more; take it out of {PYPROJECT}" for name in sorted(idle)],
        looked_at=f"{len(installed)} packages",
        listed=[f"{count:4} {text}" for text, count in counts.most_common()],
    )


def allows(licence: str, allowed: set[str]) -> bool:
    """Whether all of it is allowed, or one of its alternatives: "A AND B", "A; B", "A OR B"."""
    names = [bare(name) for name in re.split(r" AND | OR |;", first_line(licence))]
    alternatives = " OR " in licence and " AND " not in licence
    return (any if alternatives else all)(name in set(map(bare, allowed)) for name in names)


def bare(name: str) -> str:
    """Without the brackets of an expression around it."""
    return name.strip(" ()")


def first_line(text: str) -> str:
    """Of a licence: some packages state the whole text."""
    return next(iter(text.strip().splitlines()), "UNKNOWN")


PARTS: dict[str, Callable[[], Found]] = {part.__name__: part for part in (vulnerabilities, code, secrets, licences)}


def verdict(found: Mapping[str, Found]) -> int:
    """The exit status."""
    if any(one.findings for one in found.values()):
        return 1
    return 2 if any(one.unknown for one in found.values()) else 0


def lines(name: str, found: Found) -> list[str]:
    words = "found something" if found.findings else "could not tell" if found.unknown else "nothing found"
    more = [f"  … and {len(found.unknown) - 5} more"] if len(found.unknown) > 5 else []
    return [
        f"{name}: {words}{f' in {found.looked_at}' if found.looked_at else ''}",
        *(f"  {line}" for line in [*found.listed, *found.findings]),
        *(f"  could not tell: {line}" for line in found.unknown[:5]),
        *more,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m review.audit", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all, where left out")
    given = parser.parse_args()
    if unknown := set(given.parts) - PARTS.keys():
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    found = {}
    for name in given.parts or PARTS:
        found[name] = PARTS[name]()
        sys.stdout.write("".join(f"{line}\n" for line in lines(name, found[name])))
    sys.exit(verdict(found))


if __name__ == "__main__":
    run(main, "audit", mistake=2)
