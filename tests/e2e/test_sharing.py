"""A colleague gets code from git and everything else from the DVC remote, and has nothing to compute."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from churn.scorer import Scorer
from review.verify import files, git
from tests.e2e.conftest import command, commit, ran

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def colleague(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git clone of the clone, after `dvc push` here and `dvc pull` there."""
    shared, folder = (tmp_path_factory.mktemp(name) for name in ("shared", "colleague"))
    command(clone, "dvc", "remote", "add", "--default", "shared", str(shared))
    commit(clone, "a remote for everybody")
    command(clone, "dvc", "push")
    git(folder, "clone", "--quiet", str(clone), "repository")
    shutil.rmtree(clone / ".dvc/cache")  # nothing comes from here but through the remote
    command(folder / "repository", "dvc", "pull")
    return folder / "repository"


def test_nothing_is_left_to_run(colleague: Path) -> None:
    assert ran(command(colleague, "dvc", "repro")) == []
    assert git(colleague, "status", "--porcelain") == b""


def test_the_files_are_the_same(colleague: Path, clone: Path) -> None:
    for name in ("data", "models", "metrics"):
        ours, theirs = (
            {file.relative_to(folder): file.read_bytes() for file in files(folder / name)}
            for folder in (clone, colleague)
        )
        assert ours.keys() == theirs.keys()
        assert ours == theirs


def test_the_release_opens_and_scores(colleague: Path) -> None:
    scorer = Scorer.open(colleague / "models/release")
    golden = scorer.release.golden()
    p = scorer.probabilities([line["customer"] for line in golden])
    assert np.allclose(p, [line["churn_probability"] for line in golden], rtol=0, atol=1e-6)
    assert ((p >= 0) & (p <= 1)).all()
