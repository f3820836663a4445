"""What the README and the pages of docs print works as printed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from demo.processes import free_port
from review.verify import environment
from tests.conftest import ROOT
from tests.e2e.conftest import command

pytestmark = pytest.mark.e2e

PAGES = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))


def block(language: str, holding: str) -> str:
    """The one code block of the pages in that language that holds the text."""
    blocks = re.findall(rf"```{language}\n(.+?)```", PAGES, re.DOTALL)
    (found,) = [block for block in blocks if holding in block]
    return found


@pytest.fixture(scope="module")
def served(reproduced: Path) -> Iterator[str]:
    """The address at which `make serve` answers in the reproduced repository."""
    stamp = reproduced / ".venv/bin/.installed"  # the tests' own environment serves
    stamp.parent.mkdir(parents=True)
    stamp.touch()
    port = free_port()
    words = ["make", "serve", f"PORT={port}"]
    process = subprocess.Popen(words, cwd=reproduced, env=environment(), start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                urlopen(f"{address}/ready").close()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.1)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def test_the_request_gets_the_printed_answer(served: str, tmp_path: Path) -> None:
    printed = json.loads(block("json", "churn_probability"))
    said = command(tmp_path, "bash", "-c", block("bash", "/predict").replace("http://127.0.0.1:8000", served))
    answer = json.loads(said)
    assert list(answer) == list(printed)
    # to a retrained model, another answer of the same kind
    assert answer["churn_probability"] == pytest.approx(printed["churn_probability"], abs=0.1)
    for name in ("customer_id", "prediction", "arm", "warnings"):
        assert answer[name] == printed[name]


def test_the_client_works_as_printed(served: str, tmp_path: Path) -> None:
    client = block("python", "urlopen").replace("http://127.0.0.1:8000", served)
    probability, *reasons, batch, receipt = command(tmp_path, sys.executable, "-c", client).splitlines()
    assert 0 < float(probability.split()[0]) < 1
    assert len(reasons) == 3
    assert batch == "3"
    assert receipt == "{'accepted': 1, 'matched': 1, 'unmatched': 0}"


def test_the_service_s_commands_run(served: str, reproduced: Path) -> None:
    listed = command(reproduced, sys.executable, "-m", "serve.releases", "list")
    version = listed.splitlines()[1].split()[0]
    assert version in (reproduced / "models/release/card.json").read_text()
    command(reproduced, sys.executable, "-m", "serve.releases", "promote", version, "--reason", "as the README says")
    assert "promote" in command(reproduced, sys.executable, "-m", "serve.releases", "history")
    assert "removed 0 predictions" in command(reproduced, sys.executable, "-m", "serve.log", "prune", "--days", "400")


def test_the_example_without_the_service_scores_a_customer(reproduced: Path) -> None:
    p, release = command(reproduced, sys.executable, "-c", block("python", "Scorer.open")).splitlines()
    assert 0 < float(p.strip("[]")) < 1
    version, threshold = release.split()
    assert version in (reproduced / "models/release/card.json").read_text()
    assert 0 < float(threshold) < 1


def test_the_experiment_commands_show_what_ran(reproduced: Path) -> None:
    for words in ("metrics show metrics/evaluate.json", "exp show --only-changed", "plots show --json", "metrics diff"):
        command(reproduced, "dvc", *words.split())
    assert command(reproduced, "git", "status", "--porcelain") == ""
