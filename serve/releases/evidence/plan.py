"""The plan by which a release is watched: the check's limits, alerts with their sections of the runbook, retraining."""

from pathlib import Path
from typing import Any

from churn.params import read_section, read_yaml
from churn.script import InputError

RULES = Path("ops/prometheus/rules")
RUNBOOK = Path("docs/runbook.md")


def monitoring_plan() -> dict[str, Any]:
    """What stands in this folder's params.yaml and alerting rules."""
    found = {name: read_section(f"monitoring.{name}") for name in ("snapshot", "report", "retrain")}
    return {**found, "gate": read_section("gate"), "alerts": alerts()}


def alerts() -> list[dict[str, str]]:
    files = sorted(RULES.glob("*.yml"))
    if not files:
        raise InputError(f"{RULES} holds no rules; run from the repository's root")
    rules = [
        rule for file in files for group in read_yaml(file)["groups"] for rule in group["rules"] if "alert" in rule
    ]
    return [
        {
            "alert": rule["alert"],
            "severity": rule["labels"]["severity"],
            "for": rule.get("for", "0s"),
            "summary": rule["annotations"]["summary"],
            "runbook": rule["annotations"]["runbook_url"].rpartition("/")[2],
            "expr": rule["expr"],
        }
        for rule in rules
    ]
