"""The benchmark of the service runs; its numbers are for people."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import command

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is missing")]


def test_the_three_servers_answer_and_every_prediction_is_in_the_log(reproduced: Path) -> None:
    few = ("--rounds", "1", "--seconds", "1", "--turns", "2")
    said = command(reproduced, sys.executable, "-m", "benchmarks.service", *few)
    assert len(re.findall(r"^service against .+: requests a second [\d.]+ times", said, re.MULTILINE)) == 2
    assert (
        len(re.findall(r"^the champion with .+ against it alone: requests a second [\d.]+ times", said, re.MULTILINE))
        == 3
    )
    answered = int(re.findall(r"(\d+) predictions are in the log, of (\d+) answered", said)[0][0])
    assert answered > 100
