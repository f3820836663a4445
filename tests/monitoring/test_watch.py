"""The watch runs checks on a schedule and a retraining when an alert or a breach asks for it, one at a time."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from churn.script import InputError
from demo.processes import until as until_soon
from monitoring import watch
from monitoring.watch import Watch, create_app

until = partial(until_soon, seconds=60)  # a process takes its time to start where others run

FIRING = {"status": "firing", "labels": {"alertname": "ChurnConceptDrift", "retrain": "true"}, "annotations": {}}
RECORD = """
import pathlib, sys, time
with open({path!r}, "a") as file:
    file.write({name!r} + "\\n")
print({printed!r})
while pathlib.Path({held!r}).exists():
    time.sleep(0.02)
sys.exit({status})
"""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Let check and retrain be scripts that write down that they ran, and end when no file `held` is there any more;
    what ran so far."""
    path = tmp_path / "runs"

    def ran(check: int | None = None, retrain: int = 0, verdict: str = "healthy") -> list[str]:
        if check is not None:
            for name, status in (("check", check), ("retrain", retrain)):
                printed = json.dumps({"verdict": verdict, "reasons": []}) if verdict else "Traceback"
                held = str(tmp_path / "held")
                script = RECORD.format(path=str(path), name=name, held=held, status=status, printed=printed)
                (tmp_path / f"recorded_{name}.py").write_text(script)
                monkeypatch.setattr(watch, name.upper(), (f"recorded_{name}",))
        return path.read_text().split() if path.exists() else []

    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield ran


def test_a_check_runs_at_the_start_and_alone_where_all_is_well(runs: Callable[..., list[str]]) -> None:
    runs(check=0)
    with TestClient(create_app(Watch(3600))) as client:
        until(lambda: 'churn_watch_exit_status{command="recorded_check"} 0.0' in client.get("/metrics").text)
    assert runs() == ["check"]


@pytest.mark.parametrize(
    ("status", "verdict", "expected"),
    [(1, "breach", ["check", "retrain"]), (2, "unknown", ["check"]), (1, "", ["check"]), (1, "healthy", ["check"])],
)
def test_a_breach_is_followed_by_a_retraining_and_an_exit_status_alone_is_not(
    status: int, verdict: str, expected: list[str], runs: Callable[..., list[str]]
) -> None:
    runs(check=status, verdict=verdict)
    with TestClient(create_app(Watch(3600))) as client:
        until(lambda: runs() == expected)
        until(lambda: f'churn_watch_exit_status{{command="recorded_check"}} {status}.0' in client.get("/metrics").text)
        time.sleep(0.05)
    assert runs() == expected


def test_an_alert_asks_for_a_retraining_and_a_resolved_one_does_not(runs: Callable[..., list[str]]) -> None:
    runs(check=0)
    with TestClient(create_app(Watch(0))) as client:
        answer = client.post("/alerts", json={"version": "4", "alerts": [FIRING | {"status": "resolved"}]})
        assert (answer.status_code, answer.json()) == (202, {"asked": False})
        answer = client.post("/alerts", json={"version": "4", "alerts": [FIRING]})
        assert (answer.status_code, answer.json()) == (202, {"asked": True})
        until(lambda: runs() == ["retrain"])
        assert client.get("/health").status_code == 200
    assert runs() == ["retrain"]


def test_many_alerts_at_once_ask_once_more_at_most(runs: Callable[..., list[str]], tmp_path: Path) -> None:
    runs(check=0)
    (tmp_path / "held").touch()
    with TestClient(create_app(Watch(0))) as client:
        client.post("/alerts", json={"alerts": [FIRING]})
        until(lambda: runs() == ["retrain"])
        for _ in range(20):
            client.post("/alerts", json={"alerts": [FIRING]})
        (tmp_path / "held").unlink()
        until(lambda: len(runs()) == 2)
        time.sleep(0.3)
    assert runs() == ["retrain", "retrain"]


def test_alerts_do_not_put_off_the_next_check(runs: Callable[..., list[str]]) -> None:
    runs(check=0)
    with TestClient(create_app(Watch(0.2))) as client:

        def alerted_and_checked() -> bool:
            client.post("/alerts", json={"alerts": [FIRING]})
            return runs().count("check") >= 3

        until(alerted_and_checked)


@pytest.mark.parametrize(("now", "expected"), [(100.0, 110.0), (109.0, 110.0), (110.0, 120.0), (157.0, 160.0)])
def test_checks_that_a_long_retraining_kept_from_running_are_not_made_up(now: float, expected: float) -> None:
    assert watch.following(100.0, 10.0, now) == expected


def test_what_is_no_alert_is_refused(runs: Callable[..., list[str]]) -> None:
    runs(check=0)
    with TestClient(create_app(Watch(0))) as client:
        assert client.post("/alerts", json={"alerts": [{"status": "on fire", "labels": {}}]}).status_code == 422
        assert client.post("/alerts", content=b"nonsense").status_code == 422
    assert runs() == []


def test_what_people_should_hear_is_a_line_of_the_log_each(
    runs: Callable[..., list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    runs(check=0)
    notes = {"summary": "It is\nslow", "description": "0.3 s", "runbook_url": "docs/runbook.md#churnslow"}
    slow = {"labels": {"alertname": "ChurnSlow", "severity": "ticket"}, "annotations": notes}
    alerts = [slow | {"status": "firing"}, slow | {"status": "resolved"}, {"status": "firing", "labels": {}}]
    with TestClient(create_app(Watch(0))) as client:
        answer = client.post("/people", json={"version": "4", "alerts": alerts})
        assert (answer.status_code, answer.json()) == (202, {"told": 3})
    assert [record.getMessage() for record in caplog.records if record.name == "monitoring.watch"] == [
        "firing, ticket: ChurnSlow: It is slow: 0.3 s (docs/runbook.md#churnslow)",
        "resolved, ticket: ChurnSlow: It is slow: 0.3 s (docs/runbook.md#churnslow)",
        "firing, no severity: an alert",
    ]
    assert runs() == []  # people train nothing


def test_a_run_that_fails_is_told_and_the_next_goes_on(runs: Callable[..., list[str]]) -> None:
    runs(check=0, retrain=1)
    with TestClient(create_app(Watch(0))) as client:
        for n in (1, 2):
            client.post("/alerts", json={"alerts": [FIRING]})
            until(lambda n=n: len(runs()) == n)
        until(lambda: 'churn_watch_exit_status{command="recorded_retrain"} 1.0' in client.get("/metrics").text)


def test_the_end_of_the_watch_is_the_end_of_its_run(runs: Callable[..., list[str]], tmp_path: Path) -> None:
    runs(check=1, verdict="breach")
    (tmp_path / "held").touch()
    with TestClient(create_app(Watch(3600))):
        until(lambda: runs() == ["check"])
        begun = time.monotonic()
    assert time.monotonic() - begun < 10
    assert runs() == ["check"]


def test_hours_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["monitoring.watch", "--every", "-1"])
    with pytest.raises(InputError, match="--every is -1"):
        watch.main()
