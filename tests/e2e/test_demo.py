"""The closed loop runs as a whole: its story, its numbers, and nothing that it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from review.verify import environment, git
from tests.e2e.conftest import command, commit

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

DEMO = (sys.executable, "-m", "demo")
LONGEST = 300  # seconds


def left_in(folder: Path) -> list[str]:
    """Processes whose current folder lies there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str((process / "cwd").readlink()).startswith(str(folder)):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it ended meanwhile, or is another's
            continue
    return found


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def played(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str, float]:
    """The repository after the demo, the folder for temporary files, what was said, seconds."""
    temporary = tmp_path_factory.mktemp("temporary")
    begin = time.monotonic()
    said = command(clone, *DEMO, timeout=2 * LONGEST, TMPDIR=str(temporary))
    return clone, temporary, said, time.monotonic() - begin


@pytest.fixture(scope="module")
def story(played: tuple[Path, Path, str, float]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((played[0] / "demo/out/demo.json").read_text())
    return found


def test_the_acts_are_the_story(story: dict[str, Any]) -> None:
    first, retrained, wrong = (act["version"] for act in story["acts"] if act["act"] == "add")
    assert [(act["act"], act["version"], act["who"]) for act in story["acts"]] == [
        ("add", first, "demo"),
        ("promote", first, "demo"),
        ("add", retrained, "monitoring.retrain"),
        ("shadow", retrained, "monitoring.retrain"),
        ("promote", retrained, "admin key"),
        ("add", wrong, "a colleague"),
        ("promote", wrong, "admin key"),
        ("rollback", retrained, "admin key"),
    ]


def test_the_checks_see_what_happens_and_nothing_else(story: dict[str, Any]) -> None:
    breaches = [month["number"] for month in story["months"] if month["verdict"] == "breach"]
    assert breaches == [3, 5, 6, 7, 9]
    assert {month["verdict"] for month in story["months"]} <= {"healthy", "warn", "breach"}


def test_estimated_and_realised_are_near_the_truth_where_they_can_be(story: dict[str, Any]) -> None:
    for month in story["months"]:
        truth = month["answered"]["auc"] if isinstance(month["answered"], dict) else month["answered"][0]
        if month["realised"]:
            assert abs(month["realised"][0] - truth) < 0.03
        if month["number"] in (4, 5, 6, 7):
            assert month["estimated"][0] > truth + 0.15  # no outcomes, no way to know
        else:
            assert abs(month["estimated"][0] - truth) < 0.03


def test_offers_do_not_look_like_drift_and_what_they_brought_is_told(story: dict[str, Any], played: Any) -> None:
    assert story["months"][1]["verdict"] in ("healthy", "warn")
    value, low, high = story["told"]["campaign"]["profit_per_contact"]
    assert low < value < high
    said = played[2]
    assert "unknown: offers went to" in said and "nobody like them was held back" in said
    assert story["months"][1]["realised"] is None


def test_the_retraining_brings_back_most_of_what_concept_drift_cost(story: dict[str, Any]) -> None:
    recovery = story["recovery"]
    assert recovery["plenty"] - recovery["before"] > 0.05
    assert recovery["share"] >= 0.8


def test_the_loop_earns_more_than_doing_nothing(story: dict[str, Any]) -> None:
    assert story["profit"]["with"] > story["profit"]["without"]


def test_the_rollback_reaches_the_answers_within_a_second(story: dict[str, Any]) -> None:
    assert story["told"]["rollback"] < 1


def test_the_terminal_tells_it_in_plain_lines(played: tuple[Path, Path, str, float]) -> None:
    said = played[2]
    assert "\x1b" not in said
    told = (
        "of the inputs drifted", "2 in a row are asked for", "for other reasons than in training",
        "passes the gate; it scores in the shadow", "the next may be 45 days later", "is champion", "the gate says no",
        "answers again", "brought back", "demo.png",
    )  # fmt: skip
    places = [said.index(words) for words in told]
    assert places == sorted(places)


def test_it_takes_less_than_five_minutes(played: tuple[Path, Path, str, float]) -> None:
    assert played[3] < LONGEST


def test_it_leaves_a_chart_and_nothing_else(played: tuple[Path, Path, str, float]) -> None:
    repository, temporary, _, _ = played
    assert sorted(path.name for path in (repository / "demo/out").iterdir()) == ["demo.html", "demo.json", "demo.png"]
    assert git(repository, "status", "--porcelain") == b""
    assert git(repository, "branch", "--list", "retrain/*") == git(repository, "stash", "list") == b""
    assert not (repository / "releases").exists()
    assert files_in(temporary) == [] and left_in(temporary) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_what_it_started(clone: Path, tmp_path: Path, number: signal.Signals) -> None:
    commit(clone, "before")
    process = subprocess.Popen(DEMO, cwd=clone, env=environment(TMPDIR=str(tmp_path)), stdout=-1, text=True)
    assert process.stdout
    said = ""
    while "Month 1" not in said:
        said += process.stdout.readline()
        assert process.poll() is None
    assert left_in(tmp_path)
    os.kill(process.pid, number)
    assert process.wait(40) == (1 if number == signal.SIGINT else 128 + number)
    process.stdout.close()
    assert left_in(tmp_path) == [] and files_in(tmp_path) == []
    assert git(clone, "status", "--porcelain") == b""
