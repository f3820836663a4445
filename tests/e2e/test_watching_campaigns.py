"""Months in which all who are flagged are made an offer, but a tenth: nothing looks like drift but drift."""

import json
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from churn.params import read_knobs
from churn.profit import Profit
from churn.schema import TARGET
from churn.scorer import Scorer
from demo.world import expected_auc, month
from monitoring.check.__main__ import main as check
from monitoring.check.drift import PREDICTION
from monitoring.check.estimate import Calibration, calibrate
from monitoring.check.findings import Realised
from monitoring.check.knobs import Limits
from monitoring.check.realised import concept_drift, realised
from monitoring.check.report import cohort_of, report
from monitoring.check.snapshot_files import Snapshot
from monitoring.counting import counting
from serve.releases.store import Store
from stages.simulate import leaving
from tests.conftest import ROOT
from tests.factories import empty_log
from tests.simulated_months import after_campaign, log_campaign, taken

pytestmark = pytest.mark.e2e

SEEDS = range(20)
CUSTOMERS = 7_043
ALLOWED = 1  # of the seeds may go wrong
LIMITS = replace(read_knobs("monitoring.report", Limits, ROOT / "params.yaml"), resamples=200)
PROFIT = read_knobs("profit", Profit, ROOT / "params.yaml")


@pytest.fixture(scope="module")
def scorer(reproduced: Path) -> Scorer:
    return Scorer.open(reproduced / "models/release")


@pytest.fixture(scope="module")
def curve(scorer: Scorer) -> Calibration:
    training = pd.read_parquet(scorer.release.folder / "reference.parquet").dropna(subset=[TARGET, PREDICTION])
    return calibrate(training[TARGET].to_numpy("float64"), training[PREDICTION].to_numpy())


def scored(snapshot: Snapshot, curve: Calibration) -> Realised:
    assert cohort_of(snapshot.cohort, LIMITS).problem == ""
    return realised(counting(snapshot.cohort), curve, PROFIT, LIMITS.resamples, LIMITS.seed)


def campaigns(scorer: Scorer, concept: float = 0.0) -> list[tuple[pd.DataFrame, Snapshot]]:
    drawn = [month(2_000 + seed, CUSTOMERS, concept=concept) for seed in SEEDS]
    months = [(customers, taken(scorer, customers, sample=1)) for customers in drawn]
    return [(c, after_campaign(s, c, 0.9, seed, concept)) for seed, (c, s) in zip(SEEDS, months, strict=True)]


def test_offers_look_like_no_drift_and_scores_are_those_of_nobody_treated(scorer: Scorer, curve: Calibration) -> None:
    found, blind, held = [], [], []
    for customers, snapshot in campaigns(scorer):
        scores = scored(snapshot, curve)
        found.append(concept_drift(scores, LIMITS).found)
        truth = expected_auc(leaving(customers, 0.0), snapshot.cohort["p"].to_numpy())
        nobody_told = snapshot._replace(cohort=snapshot.cohort.assign(offered=0.0, spared=1.0))
        blind.append(scored(nobody_told, curve).roc_auc.value - truth)
        held.append(scores.roc_auc.low <= truth <= scores.roc_auc.high)
    assert sum(found) <= ALLOWED
    assert np.mean(blind) < -0.03  # what it would say if nobody told it of the offers
    assert sum(held) >= len(SEEDS) - 3


def test_a_real_drift_under_the_same_offers_is_found_in_its_month(scorer: Scorer, curve: Calibration) -> None:
    found = [concept_drift(scored(snapshot, curve), LIMITS).found for _, snapshot in campaigns(scorer, concept=1.0)]
    assert sum(found) >= len(SEEDS) - ALLOWED


def test_offers_to_everybody_are_called_so_and_not_drift(scorer: Scorer) -> None:
    customers = month(3_000, CUSTOMERS)
    snapshot = after_campaign(taken(scorer, customers), customers, 1.0, 1)
    made, _ = report(snapshot, PROFIT, LIMITS)
    assert {reason.id for reason in made.reasons} == {"offers_without_control"} and made.verdict == "unknown"
    assert made.findings and made.findings.realised is None and made.findings.concept is None


def alarms(bundle: Path, folder: Path, seed: int) -> list[list[str]]:
    """Breaches that `python -m monitoring.check` calls in each of three months, when all who are flagged in a month are
    in its campaign; the knobs are those of the folder it runs in."""
    scorer, store, begin = Scorer.open(bundle), Store(folder / "releases"), datetime(2026, 1, 1, tzinfo=UTC)
    store.promote(store.add(bundle, "test"), "test")
    engine = empty_log(folder)
    starts = [begin + n * timedelta(days=30) for n in range(4)]
    for n, start in enumerate(starts):
        log_campaign(engine, scorer, month(10_000 + 10 * seed + n, CUSTOMERS), start, 0.9)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHURN_RELEASES", str(store.where))
        patch.setenv("CHURN_LOG_URL", str(engine.url))
        for start in starts[1:]:
            with pytest.raises(SystemExit) as ended, redirect_stdout(StringIO()) as printed:
                check(["--json", "--end", (start + timedelta(days=30)).isoformat()])
            made = json.loads(printed.getvalue())
            assert made["verdict"] != "unknown" and made["realised"], made["reasons"]
            breaches = [reason["id"] for reason in made["reasons"] if reason["level"] == "breach"]
            assert (ended.value.code == 1) == bool(breaches)
            found.append(breaches)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_the_command_calls_no_breach_in_months_of_campaigns(
    seed: int, reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reproduced)
    assert alarms(reproduced / "models/release", tmp_path, seed) == [[], [], []]
