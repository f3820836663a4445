"""A pull request as its workflow sees it: a clone of git alone, the steps' own words; worse, better, equal models."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from review.comment import MARK
from review.verify import environment, git
from tests.e2e.conftest import command, commit, set_knobs
from tests.ops.test_workflows import step

pytestmark = pytest.mark.e2e

TREE = {"estimator": "sklearn.tree.DecisionTreeClassifier", "max_depth": 2}
needs_jq = pytest.mark.skipif(not shutil.which("jq"), reason="jq is missing")


@pytest.fixture(scope="module")
def branches(clone: Path) -> Path:
    """The clone with the reproduced `main`; `worse`, where a small tree is all there is; `edited`, not run anew."""
    git(clone, "switch", "--quiet", "--create", "worse")
    set_knobs(clone, train__models={"tree": TREE}, evaluate__baseline="tree")
    shutil.rmtree(clone / "models/candidates")
    shutil.rmtree(clone / "metrics/train")
    command(clone, "dvc", "repro")
    commit(clone, "train: a small tree")
    git(clone, "switch", "--quiet", "--create", "edited", "main")
    set_knobs(clone, evaluate__seed=1)
    commit(clone, "evaluate: another seed")
    return clone


@pytest.fixture
def checked_out(branches: Path, tmp_path: Path) -> Callable[[str, str], Path]:
    """What the runner has: the merge of a branch, without DVC's cache, whose first parent is the base."""

    def go(base: str, branch: str) -> Path:
        folder = tmp_path / "repository"
        git(tmp_path, "clone", "--quiet", str(branches), str(folder))
        for key, value in {"user.name": "tests", "user.email": "tests@localhost"}.items():
            git(folder, "config", key, value)
        tree = git(folder, "rev-parse", f"origin/{branch}^{{tree}}").decode().strip()
        merge = git(folder, "commit-tree", tree, "-p", f"origin/{base}", "-p", f"origin/{branch}", "-m", "merge")
        git(folder, "reset", "--quiet", "--hard", merge.decode().strip())
        (folder / ".venv/bin").mkdir(parents=True)
        (folder / ".venv/bin/.installed").touch()  # the tests' own environment looks
        return folder

    return go


def compared(folder: Path) -> tuple[bool, str, str]:
    """Whether the step passed, what it logged, and the comment."""
    words = ["bash", "-eo", "pipefail", "-c", step("pull_request.review", "compare")["run"]]
    own = environment(RUN="https://host/run")
    done = subprocess.run(words, cwd=folder, env=own, stdout=-1, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode == 0, done.stdout, (folder / "review-out/comment.md").read_text()


def test_an_equal_model_passes(checked_out: Callable[[str, str], Path]) -> None:
    passed, _, text = compared(checked_out("main", "main"))
    assert passed
    assert "### ✅ The metrics are the same" in text
    assert text.count("| = |") == 4
    assert "Ran anew" not in text


def test_a_worse_model_fails_by_the_metrics_that_it_lost(checked_out: Callable[[str, str], Path]) -> None:
    folder = checked_out("main", "worse")
    passed, logged, text = compared(folder)
    assert not passed
    assert sum(line.startswith("review: ") and line.endswith(": worse") for line in logged.splitlines()) == 4
    assert "### ❌ Worse than may be: `roc_auc`, `average_precision`, `brier`, `profit_per_customer`" in text
    assert "| `roc_auc`, higher is better | 0.8591 [0.8372, 0.8788] | 0.79" in text
    assert "| `train.models.tree.max_depth` | none | `2` |" in text
    assert "Ran anew (their records in `dvc.lock` are others): `select`, `evaluate`, `deploy`, `train@tree`." in text
    assert "(https://host/run)" in text
    written = {str(path.relative_to(folder / "review-out")) for path in (folder / "review-out").rglob("*.*")}
    assert written == {"comment.md", "roc.png", "calibration.png", "threshold.png", "plots/index.html"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (folder / "review-out").glob("*.png"))
    assert not git(folder, "status", "--porcelain")  # nothing of it lands in a commit
    page = (folder / "review-out/plots/index.html").read_text()
    assert page.count('"rev"') > 100  # both revisions in its charts


def test_a_better_model_passes(checked_out: Callable[[str, str], Path]) -> None:
    passed, _, text = compared(checked_out("worse", "main"))
    assert passed
    assert "### ✅ No metric is worse beyond its tolerance" in text
    assert text.count("| better |") == 4


def test_metrics_that_were_not_run_anew_fail(checked_out: Callable[[str, str], Path]) -> None:
    passed, logged, text = compared(checked_out("main", "edited"))
    assert not passed
    assert "review: evaluate is stale: dvc repro and commit what it writes" in logged
    assert "### ❌ The metrics are not those of this change" in text


@needs_jq
@pytest.mark.parametrize(
    ("there", "calls"),
    [
        ([], "--method POST repos/o/r/issues/7/comments"),
        ([("github-actions[bot]", "x"), ("somebody", MARK)], "--method POST repos/o/r/issues/7/comments"),
        ([("somebody", "x"), ("github-actions[bot]", f"{MARK}\n### ✅")], "--method PATCH repos/o/r/issues/comments/1"),
    ],
)
def test_the_comment_is_written_once_and_updated(there: list[tuple[str, str]], calls: str, tmp_path: Path) -> None:
    comments = [{"id": i, "user": {"login": who}, "body": body} for i, (who, body) in enumerate(there)]
    (tmp_path / "comments.json").write_text(json.dumps(comments))
    gh = tmp_path / "gh"  # GitHub's command needs GitHub; its --jq is jq
    gh.write_text(
        '#!/bin/bash\nif [ "$2" = --paginate ]; then exec jq -r "$5" comments.json; fi\nprintf "%s" "$*" >>called\n'
    )
    gh.chmod(0o755)
    own = environment(GITHUB_REPOSITORY="o/r", NUMBER="7")
    own["PATH"] = f"{tmp_path}:{own['PATH']}"
    words = ["bash", "-eo", "pipefail", "-c", step("pull_request.comment", "post")["run"]]
    subprocess.run(words, cwd=tmp_path, env=own, check=True)
    assert (tmp_path / "called").read_text() == f"api --silent {calls} -F body=@comment.md"


@needs_jq
def test_the_daily_check_tells_what_it_found_and_fails_where_it_could_not(branches: Path, tmp_path: Path) -> None:
    check, tell = (step("monitoring.check", name)["run"] for name in ("check", "tell"))
    own = environment(CHURN_RELEASES=str(tmp_path / "none"), GITHUB_STEP_SUMMARY=str(tmp_path / "summary"))
    assert subprocess.run(["bash", "-eo", "pipefail", "-c", check], cwd=branches, env=own, check=False).returncode == 2
    subprocess.run(["bash", "-eo", "pipefail", "-c", tell], cwd=branches, env=own, check=True, capture_output=True)
    title, _, reason = (tmp_path / "summary").read_text().splitlines()
    assert title == "### Monitoring: unknown"
    assert reason.startswith("- unknown: ")
