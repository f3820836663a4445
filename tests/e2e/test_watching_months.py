"""Month after month of the simulated operator: no alarm where nothing changed, one in the month in which it did."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from churn.params import read_knobs
from churn.profit import Profit
from churn.scorer import Scorer
from demo.world import expected_auc, month
from monitoring.check.knobs import Limits
from monitoring.check.report import report
from stages.simulate import leaving
from tests.conftest import ROOT
from tests.simulated_months import taken

pytestmark = pytest.mark.e2e

SEEDS = range(20)
CUSTOMERS = 7_043
ALLOWED = 1  # of the seeds may go wrong
WORLDS = {
    "steady": ({}, set()),
    "input drift": ({"drift": 0.5}, {"input_drift", "prediction_drift"}),
    "concept drift": ({"concept": 1.0}, {"concept_drift"}),
}


@pytest.mark.parametrize("world", WORLDS)
def test_what_changed_is_found_in_its_month_and_nothing_else(world: str, reproduced: Path) -> None:
    limits = replace(read_knobs("monitoring.report", Limits, ROOT / "params.yaml"), resamples=200)
    profit, scorer = read_knobs("profit", Profit, ROOT / "params.yaml"), Scorer.open(reproduced / "models/release")
    change, expected = WORLDS[world]
    wrong, off, trusted = [], [], []
    for seed in SEEDS:
        customers = month(1_000 + seed, CUSTOMERS, **change)
        seen = taken(scorer, customers)
        made, _ = report(seen, profit, limits)
        estimated = made.findings and made.findings.estimated
        assert estimated is not None
        breaches = {reason.id for reason in made.reasons if reason.level == "breach"}
        if not (breaches & expected if expected else not breaches):
            wrong.append((seed, made.reasons))
        truth = expected_auc(leaving(customers, change.get("concept", 0.0)), seen.answers["p"].to_numpy())
        off.append(abs(estimated.roc_auc.value - truth))
        trusted.append(bool(estimated.trusted))
    assert len(wrong) <= ALLOWED, wrong
    if world == "concept drift":
        assert min(off) > 0.1 and sum(trusted) <= ALLOWED
    else:
        assert np.max(off) < 0.02 and sum(trusted) >= len(SEEDS) - ALLOWED
