"""`python -m monitoring.check` on a log, a store and a release: what it prints, and its exit status."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from churn.scorer import Scorer
from demo.world import month
from monitoring.check.__main__ import main
from serve.log.checks import latest
from serve.log.database import connect
from serve.log.tables import Check
from serve.releases.store import Store
from serve.telemetry.check_metrics import DOCUMENTED, samples
from tests.conftest import ROOT
from tests.factories import empty_log
from tests.simulated_months import log_month

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(
    tmp_path: Path, elsewhere: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Call the command on the log and the store in the new folder `releases`; exit status and output."""
    elsewhere({"monitoring.report.resamples": 100})
    monkeypatch.setenv("CHURN_RELEASES", str(tmp_path / "releases"))
    monkeypatch.delenv("CHURN_LOG_URL", raising=False)

    def call(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        return int(ended.value.code or 0), capsys.readouterr().out

    return call


@pytest.mark.parametrize("broken", ["pandas", "sqlalchemy", "onnxruntime"])
def test_an_installation_that_is_broken_is_no_breach(broken: str, tmp_path: Path) -> None:
    (tmp_path / f"{broken}.py").write_text("raise ImportError('half of it is missing')")
    done = subprocess.run(
        [sys.executable, "-m", "monitoring.check"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "CHURN_RELEASES": str(tmp_path / "releases")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "half of it is missing" in done.stderr


def test_without_a_champion_or_a_log_it_could_not_tell(command: Command, tmp_path: Path, released: Path) -> None:
    status, output = command()
    assert (status, "no champion" in output) == (2, True)
    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")
    status, output = command("--json")
    assert (status, json.loads(output)["verdict"]) == (2, "unknown")
    assert "no log" in output
    empty_log(tmp_path / "releases").dispose()
    status, output = command("--json")
    assert (status, json.loads(output)["reasons"][0]["id"]) == (2, "too_few_customers")


def recorded(folder: Path) -> list[Check]:
    engine = connect(f"sqlite:///{folder / 'log.db'}")
    with engine.connect() as connection:
        printed = latest(connection, datetime(2026, 1, 1, tzinfo=UTC))
    engine.dispose()
    return printed


def test_news_is_kept_in_the_log_and_a_look_back_is_not(command: Command, tmp_path: Path, released: Path) -> None:
    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")
    folder = tmp_path / "releases"
    empty_log(folder).dispose()
    command("--end", "2026-03-02")
    assert recorded(folder) == []
    before = datetime.now(UTC)
    output = json.loads(command("--json")[1])
    (check,) = recorded(folder)
    assert (check.found, check.verdict, check.model_version) == (output, "unknown", store.state()["champion"])
    assert before < check.at < datetime.now(UTC)


def test_a_check_that_can_t_be_kept_is_a_warning_and_no_other_answer(
    command: Command, tmp_path: Path, released: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")
    folder = tmp_path / "releases"
    empty_log(folder).dispose()
    monkeypatch.setattr("serve.log.database.LOCK_SECONDS", 0.02)
    with (folder / "log.db.turn").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        status, output = command("--json")
    assert (status, json.loads(output)["verdict"]) == (2, "unknown")
    (warning,) = caplog.messages
    assert warning.startswith("this check is not kept: ") and warning.endswith(": another process holds the lock")
    assert recorded(folder) == []


def test_wrong_params_are_no_breach(command: Command, elsewhere: Callable[..., Path]) -> None:
    elsewhere({"monitoring.report.alfa": 1})
    status, output = command()
    assert (status, "has no knob 'alfa'" in output) == (2, True)


@pytest.mark.slow
def test_a_new_world_in_the_log_is_a_breach_for_people_and_programs(
    command: Command, tmp_path: Path, released: Path
) -> None:
    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")
    scorer, engine = Scorer.open(released), empty_log(tmp_path / "releases")
    log_month(engine, scorer, month(1, 1_000, concept=1.0), datetime(2026, 1, 1, tzinfo=UTC))
    log_month(engine, scorer, month(2, 1_000, drift=0.5), datetime(2026, 2, 1, tzinfo=UTC), known=False)
    engine.dispose()
    status, output = command("--end", "2026-03-02", "--json", "--html", str(tmp_path / "pages"))
    printed = json.loads(output)
    assert (status, printed["verdict"], printed["customers"]) == (1, "breach", 1_000)
    assert {"concept_drift", "prediction_drift"} <= {reason["id"] for reason in printed["reasons"]}
    assert printed["cohort"]["known"] == 1 and printed["estimated"]["trusted"] is False
    assert json.loads((tmp_path / "pages/check.json").read_text()) == printed
    status, output = command("--end", "2026-03-02")
    assert (status, output.splitlines()[-1]) == (1, "verdict: breach")
    exported = samples(Check(datetime.now(UTC), "v", printed["verdict"], printed))
    assert {name for name, _, value in exported if value is not None} == DOCUMENTED.keys()
    assert "not to be trusted" in output
