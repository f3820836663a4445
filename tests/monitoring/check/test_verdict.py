"""The verdict: every finding beyond its limit is a reason, and all rooms know the same reasons."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, get_args

import yaml

from churn.intervals import Interval
from churn.params import read_knobs, read_section
from churn.reasons import LEVELS, REASONS
from monitoring.check.findings import (
    Cohort,
    Concept,
    Distance,
    Drift,
    Estimated,
    Findings,
    Quality,
    Realised,
    Reason,
    Reference,
    Window,
)
from monitoring.check.knobs import Limits
from monitoring.check.verdict import reasons_of, worst
from monitoring.retrain import policy
from tests.conftest import ROOT

LIMITS = read_knobs("monitoring.report", Limits, ROOT / "params.yaml")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
LOW = Interval(0.5, 0.5, 0.5)
FAR = Distance(distance=9.0, threshold=0.1, drifted=True)
SCORES = dict.fromkeys(("roc_auc", "churn_rate", "recall", "precision", "brier", "profit_per_customer"), LOW)
REALISED = {
    name: LOW for key in ("roc_auc", "brier", "churn_rate", "profit_per_customer") for name in (key, f"{key}_gap")
}
REALISED["roc_auc_gap"] = Interval(-0.4, -0.5, -0.3)
WORST = Findings(
    window=Window(model_version="v", start=NOW, end=NOW, cohort_start=NOW, cohort_end=NOW),
    customers=1_000,
    sampled=1_000,
    reference=Reference(customers=1_000, roc_auc=0.9, churn_rate=0.2),
    drift=Drift(share=0.9, drifted=["a"], prediction=9.0, features={"a": FAR}),
    quality=Quality(
        more_missing=1.0,
        unseen=1.0,
        outside=1.0,
        features={"a": {"missing": 1.0, "more_missing": 1.0, "unseen": 1.0, "outside": 1.0}},
    ),
    distributions={},
    estimated=Estimated(**SCORES, trusted=False),
    realised=Realised(**REALISED, labelled=500, slope=LOW, intercept=LOW, miscalibration=0.4, p_calibrated=0.0),
    concept=Concept(found=True, ranks_worse=True, rates_off=True, p=0.0, alpha=0.01),
    cohort=Cohort(
        customers=1_000, labelled=500, known=0.5, off=0.0, offered=0, control=0, effective=500.0, problem="", words=""
    ),
)


def part(name: str, **changes: Any) -> Findings:
    """The worst findings, one part of them changed."""
    return replace(WORST, **{name: replace(getattr(WORST, name), **changes)})


def test_every_reason_is_given_somewhere_and_no_other() -> None:
    selected, offered = (part("cohort", problem=f"{name}") for name in ("selected_outcomes", "offers_without_control"))
    worlds = [
        WORST,
        part("drift", share=0.1, prediction=0.0),
        part("concept", found=False),
        replace(selected, drift=None, quality=None, estimated=None, realised=None, concept=None),
        replace(offered, realised=None, concept=None),
    ]
    given = {(reason.id, reason.level) for world in worlds for reason in reasons_of(world, LIMITS)}
    assert given == {(id_, level) for id_, levels in REASONS.items() for level in levels}


def test_the_worst_reason_comes_first_and_is_the_verdict() -> None:
    reasons = reasons_of(part("concept", found=False), LIMITS)
    levels = [LEVELS.index(reason.level) for reason in reasons]
    assert levels == sorted(levels, reverse=True) and len(set(levels)) > 1
    assert worst(reasons) == worst(reasons[::-1]) == "breach"
    assert worst([Reason(id="unseen", level="warn", words="")]) == "warn" and worst([]) == "healthy"


def test_an_interval_that_reaches_the_limit_is_no_breach() -> None:
    unsure = Interval(0.5, 0.4, 0.9)
    findings = part("estimated", roc_auc=unsure)
    assert "estimated_auc" not in {reason.id for reason in reasons_of(findings, LIMITS)}


def test_sentences_name_values_limits_and_inputs() -> None:
    words = {reason.id: reason.words for reason in reasons_of(WORST, LIMITS)}
    assert words["input_drift"] == "90% of the inputs drifted, a breach from 15% on: a"
    assert words["unseen"] == "levels that training never saw: a 100.0% of the customers; the limit is 1.0%"
    assert words["estimated_auc"] == "the ROC AUC estimated without outcomes is 0.500; in training it was 0.900"
    assert words["concept_drift"] == (
        "customers leave for other reasons than in training: the ROC AUC is 0.400 below the estimate for the same "
        "customers; the probabilities are off by 0.400 on average; don't trust the estimate"
    )


def test_what_calls_for_a_retraining_may_be_a_breach() -> None:
    breaches = {id_ for id_, levels in REASONS.items() if "breach" in levels}
    allowed = set(get_args(policy.Reasons))
    assert policy.CONCEPT in allowed <= breaches
    assert set(read_section("monitoring.retrain", ROOT / "params.yaml")["reasons"]) <= allowed


def test_alerts_know_every_reason_with_its_levels_and_no_other() -> None:
    rules = (ROOT / "ops/prometheus/rules/model.yml").read_text()
    expressions = [
        rule["expr"] for group in yaml.safe_load(rules)["groups"] for rule in group["rules"] if "alert" in rule
    ]
    selectors = [s for expression in expressions for s in re.findall(r"reason=~?\"[^}]*", expression)]
    alerts = set()
    for selector in selectors:
        (names,), level = re.findall(r'reason=~?"([^"]+)"', selector), re.findall(r'level="([^"]+)"', selector)
        for name in names.split("|"):
            alerts |= {(name, one) for one in level or REASONS.get(name, ("unknown reason",))}
    assert alerts == {(id_, level) for id_, levels in REASONS.items() for level in levels}
