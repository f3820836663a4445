"""The audit with its real tools: what needs no network passes, and what needs one says that it could not tell."""

import shutil
import sys
from pathlib import Path

import pytest

from review.verify import git
from tests.conftest import ROOT
from tests.e2e.conftest import command

pytestmark = pytest.mark.e2e


def test_the_repository_passes_the_parts_of_its_audit_that_need_no_network() -> None:
    told = command(ROOT, sys.executable, "-m", "review.audit", "code", "secrets", "licences")
    verdicts = [line for line in told.splitlines() if not line.startswith(" ")]
    assert len(verdicts) == 3
    assert all(": nothing found in " in line for line in verdicts)


def test_a_secret_fails_the_audit(tmp_path: Path) -> None:
    for name in (".secrets.baseline", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "settings.py").write_text(f'KEY = "AKIA{"IOSFODNN7EXAMPL0"}"\n')
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    told = command(tmp_path, sys.executable, "-m", "review.audit", "secrets", status=1, PYTHONPATH=str(ROOT))
    assert "settings.py:1: AWS Access Key" in told


def test_an_audit_without_its_service_could_not_tell(tmp_path: Path) -> None:
    told = command(tmp_path, sys.executable, "-m", "review.audit", "vulnerabilities", status=2, PYTHONPATH=str(ROOT))
    assert told.startswith("vulnerabilities: could not tell\n")
