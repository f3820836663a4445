"""A tracking server that is down costs the record of a training, never its result; unless the record is required."""

from pathlib import Path

import pytest

from churn.scorer import Scorer
from review.verify import git
from tests.e2e.conftest import command, ran, set_knobs

pytestmark = pytest.mark.e2e

DOWN = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}  # the port of `discard`: nobody listens


def test_without_its_server_a_release_is_whole_and_a_warning_says_it_was_not_tracked(restored: Path) -> None:
    output = command(restored, "dvc", "repro", "--force", "--single-item", "deploy", **DOWN)
    assert ran(output) == ["deploy"]
    (warning,) = [line for line in output.splitlines() if "not tracked" in line]
    assert "http://127.0.0.1:9" in warning
    assert warning.endswith("the results on disk are whole")
    assert "Traceback" not in output
    assert git(restored, "status", "--porcelain") == b""  # the same release as with a server
    Scorer.open(restored / "models/release")


def test_where_the_record_is_required_the_stage_fails_with_one_line(restored: Path) -> None:
    set_knobs(restored, tracking__required=True)
    output = command(restored, "python", "-m", "stages.deploy", status=1, **DOWN)
    *_, error = output.splitlines()
    assert error.endswith("start the server, or set tracking.required to false")
    assert "Traceback" not in output
    assert not list((restored / "models").glob(".release*"))
