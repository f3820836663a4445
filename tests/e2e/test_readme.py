"""What the README prints works as printed."""

import re
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.e2e.conftest import command

pytestmark = pytest.mark.e2e

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_scores_a_customer(reproduced: Path) -> None:
    (block,) = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
    p, release = command(reproduced, sys.executable, "-c", block).splitlines()
    assert 0 < float(p.strip("[]")) < 1
    version, threshold = release.split()
    assert version in (reproduced / "models/release/card.json").read_text()
    assert 0 < float(threshold) < 1


def test_every_make_word_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", README)) <= targets


def test_the_experiment_commands_show_what_ran(reproduced: Path) -> None:
    for words in ("metrics show metrics/evaluate.json", "exp show --only-changed", "plots show --json", "metrics diff"):
        command(reproduced, "dvc", *words.split())
    assert command(reproduced, "git", "status", "--porcelain") == ""
