"""The alerts: each is proved to fire and to keep silent, is explained in the runbook, and goes where it should."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve.telemetry.check_metrics import REASONS
from tests.conftest import ROOT
from tests.test_pipeline_contract import command

OPS = ROOT / "ops"
RUNBOOK = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
RULE_FILES = sorted((OPS / "prometheus/rules").glob("*.yml"))
GROUPS = [group for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"]]
ALERTS: dict[str, Any] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
TESTS = sorted((OPS / "prometheus/tests").glob("*.yml"))
SECTIONS: dict[str, str] = dict(re.findall(r"^## (\w+)\n(.+?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
each_alert = pytest.mark.parametrize("name", ALERTS)


def installed(program: str) -> str:
    if not (path := shutil.which(program)):
        pytest.skip(f"{program} is not installed")
    return path


def said(*words: Any) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_and_alertmanager_take_their_configuration() -> None:
    said(installed("promtool"), "check", "config", OPS / "prometheus/prometheus.yml")
    said(installed("amtool"), "check-config", OPS / "alertmanager/alertmanager.yml")


@pytest.mark.slow
def test_every_alert_fires_and_keeps_silent_as_its_cases_say() -> None:
    said(installed("promtool"), "test", "rules", *TESTS)


def test_every_alert_has_a_case_that_fires_and_one_that_is_silent() -> None:
    cases = [
        case for path in TESTS for test in yaml.safe_load(path.read_text())["tests"] for case in test["alert_rule_test"]
    ]
    for fires in (True, False):
        assert {case["alertname"] for case in cases if bool(case["exp_alerts"]) is fires} == ALERTS.keys()


@each_alert
def test_an_alert_says_what_it_is_and_where_the_way_out_is(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("page", "ticket", "info")
    assert rule["labels"]["area"] in ("service", "model")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    section = SECTIONS[name]
    places = [section.find(f"**{word}") for word in ("Means", "See", "Do")]
    assert -1 not in places and places == sorted(places)
    asked = f"({rule['labels']['severity']}{', retrain' if 'retrain' in rule['labels'] else ''})"
    assert asked in section


def test_the_runbook_explains_no_alert_that_is_gone() -> None:
    assert SECTIONS.keys() == ALERTS.keys()
    assert set(re.findall(r"\]\(#(\w+)\)", RUNBOOK)) <= {name.lower() for name in ALERTS}


def test_every_reason_of_a_check_has_an_alert_and_every_alert_a_reason_that_is_given() -> None:
    said_by = " ".join(rule["expr"] for group in GROUPS for rule in group["rules"])
    asked = {id_ for ids in re.findall(r'reason=~?"([\w|]+)"', said_by) for id_ in ids.split("|")}
    assert asked == REASONS.keys()


def test_the_queries_of_the_runbook_are_queries(tmp_path: Path) -> None:
    queries = [line for block in re.findall(r"```promql\n(.+?)```", RUNBOOK, re.DOTALL) for line in block.splitlines()]
    rules = [{"record": f"q{i}", "expr": query} for i, query in enumerate(queries)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    assert f"{len(queries)} rules found" in said(installed("promtool"), "check", "rules", tmp_path / "rules.yml")


def test_the_commands_of_the_runbook_are_commands() -> None:
    commands = re.findall(r"python -m ([\w.]+)((?: [a-z/]+)*)((?: --[a-z]+)*)", RUNBOOK)
    assert len(commands) > 10
    for module, words, options in commands:
        path = command(module)
        files = path.parent.glob("*.py") if path.name == "__main__.py" else [path]
        source = "".join(file.read_text() for file in files)
        for word in [*words.split()[:1], *options.split()]:
            assert f'"{word}"' in source, (module, word)


# who hears of it


def receivers(**labels: str) -> set[str]:
    words = [f"{key}={value}" for key, value in labels.items()]
    config = OPS / "alertmanager/alertmanager.yml"
    found = said(installed("amtool"), "config", "routes", "test", f"--config.file={config}", *words)
    return set(found.strip().split(","))


@each_alert
def test_pages_and_tickets_reach_people_and_what_is_to_be_retrained_the_retraining_too(name: str) -> None:
    labels = ALERTS[name]["labels"]
    expected = {"retrain"} if labels.get("retrain") == "true" else set()
    expected |= {"people"} if labels["severity"] in ("page", "ticket") else set()
    assert receivers(alertname=name, **labels) == (expected or {"nobody"})


def test_what_is_silenced_is_an_alert() -> None:
    rules = yaml.safe_load((OPS / "alertmanager/alertmanager.yml").read_text())["inhibit_rules"]
    named = re.findall(r"Churn\w+", str(rules))
    assert named and set(named) <= ALERTS.keys()


def test_an_alert_asks_for_a_retraining_where_the_policy_grants_it() -> None:
    reasons = yaml.safe_load((ROOT / "params.yaml").read_text())["monitoring"]["retrain"]["reasons"]
    asking = [rule["expr"] for rule in ALERTS.values() if rule["labels"].get("retrain")]
    assert sorted(reason for expr in asking for reason in re.findall(r'reason="(\w+)"', expr)) == sorted(reasons)
