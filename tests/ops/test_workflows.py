"""Workflows run what the repository has, with actions pinned by hash and no more rights than each job needs.

zizmor, actionlint and the schema are `make lint`'s; here stands what they do not know.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from review.comment import MARK
from tests.conftest import ROOT
from tests.test_pipeline_contract import command

PATHS = sorted((ROOT / ".github/workflows").glob("*.yml"))
JOBS: dict[str, dict[str, Any]] = {
    f"{path.stem}.{name}": job for path in PATHS for name, job in yaml.safe_load(path.read_text())["jobs"].items()
}
WRITES = {"pull_request.comment", "main.publish"}
each_job = pytest.mark.parametrize("name", JOBS)


def step(name: str, ending: str) -> dict[str, Any]:
    """The step with that id in a job."""
    (found,) = [one for one in JOBS[name]["steps"] if one.get("id") == ending]
    return dict(found)


def test_an_action_is_pinned_to_one_commit_and_says_its_version() -> None:
    used = [line for path in PATHS for line in re.findall(r"uses: (.+)", path.read_text())]
    pinned = [re.fullmatch(r"([\w-]+/[\w-]+)@([0-9a-f]{40}) # (v[\d.]+)", line) for line in used]
    assert all(pinned), used
    versions = {match.groups() for match in pinned if match}
    assert len({action for action, _, _ in versions}) == len(versions)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_workflow_has_no_rights_of_its_own(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert content["permissions"] == {}
    assert not {"pull_request_target", "workflow_run"} & set(content[True])  # YAML's `on`


@each_job
def test_who_may_write_runs_no_code_of_the_repository(name: str) -> None:
    writes = "write" in JOBS[name]["permissions"].values()
    checks_out = any(one.get("uses", "").startswith("actions/checkout@") for one in JOBS[name]["steps"])
    assert writes == (name in WRITES)
    assert writes != checks_out


@each_job
def test_a_job_ends(name: str) -> None:
    assert 0 < JOBS[name]["timeout-minutes"] <= 90


@each_job
def test_nothing_is_pasted_into_a_shell(name: str) -> None:
    assert not [one for one in JOBS[name]["steps"] if "${{" in one.get("run", "")]


@each_job
def test_a_job_runs_what_there_is(name: str) -> None:
    lines = "\n".join(one.get("run", "") for one in JOBS[name]["steps"])
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake (\w+)", lines)) <= targets
    for module in re.findall(r"python -m ([\w.]+)", lines):
        assert command(module).exists()
    for path in re.findall(r"bash (\S+)", lines):
        assert (ROOT / path).exists()


def test_the_comment_is_found_again_by_its_mark() -> None:
    assert f'startswith("{MARK}")' in step("pull_request.comment", "post")["run"]
