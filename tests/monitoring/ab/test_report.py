"""The A/B report: its verdict on simulated experiments, and that text and page show it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine

from churn.params import read_knobs
from churn.profit import Profit
from churn.script import as_json
from churn.sequential import variance_to_find
from monitoring.ab.page import as_html, as_text
from monitoring.ab.report import Design, report
from monitoring.frames import ARMS
from tests.conftest import ROOT
from tests.factories import START, empty_log
from tests.monitoring.ab.experiments import EXPERIMENT, fill_experiment, read

PROFIT = read_knobs("profit", Profit, ROOT / "params.yaml")
DESIGN = replace(read_knobs("ab", Design, ROOT / "params.yaml"), resamples=100)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return empty_log(tmp_path)


def earned(customers: pd.DataFrame) -> pd.DataFrame:
    arm = np.where(customers["challenger"] == 1, "challenger", "champion")
    return customers.assign(arm=arm, earned=PROFIT.of(customers["churned"], customers["flagged"]))


@pytest.mark.slow
def test_a_better_challenger_gets_better_and_a_worse_one_worse(tmp_path: Path) -> None:
    for name, noise in (("better", (2.5, 0.1)), ("worse", (0.1, 2.5))):
        (tmp_path / name).mkdir()
        fill_experiment(engine := empty_log(tmp_path / name), 4000, noise)
        made = report(read(engine), EXPERIMENT, PROFIT, DESIGN)
        sign = 1 if name == "better" else -1
        assert made.verdict == name
        assert made.words.startswith(f"challenger {name}: {made.sequential.difference:+.2f}")
        assert sign * made.differences.roc_auc.value > 0.05
        assert sign * made.differences.brier.high < 0 or sign * made.differences.brier.low < 0
        assert made.sequential.p < DESIGN.alpha


@pytest.mark.slow
def test_two_arms_alike_stay_undecided(engine: Engine) -> None:
    fill_experiment(engine, 3000, (1.0, 1.0), share=0.2)
    made = report(read(engine), EXPERIMENT._replace(share=0.2), PROFIT, DESIGN)
    assert made.verdict == "undecided"
    assert "wait for about" in made.words
    assert made.checks.problems == []
    more, labelled = made.sequential.more_labelled, {arm: made.arms[arm].labelled for arm in ARMS}
    assert more
    spread = {arm: part["earned"].var() for arm, part in earned(read(engine)).groupby("arm")}
    then = sum(spread[arm] / (more[arm] + labelled[arm]) for arm in ARMS)
    assert then == pytest.approx(variance_to_find(2.0, tau=2.0, alpha=0.05), rel=1e-3)
    gained = made.differences
    assert np.isfinite([gained.roc_auc, gained.brier, gained.profit_per_customer]).all()


def test_a_share_that_is_not_the_split_s_is_not_trusted(engine: Engine) -> None:
    fill_experiment(engine, 3000, (2.5, 0.1), share=0.4)
    made = report(read(engine), EXPERIMENT, PROFIT, DESIGN)
    assert made.verdict == "invalid"
    assert "of the customers, not 50.00%" in made.words


def frame(n: tuple[int, int], labelled: tuple[int, int], switched: int = 0) -> pd.DataFrame:
    """Customers of both arms, the first of each with outcomes; some were in both arms."""
    rng, parts = np.random.default_rng(0), []
    for challenger in (0, 1):
        size, known = n[challenger], labelled[challenger]
        p = rng.random(size)
        churned = np.where(np.arange(size) < known, rng.random(size) < p, np.nan)
        days = pd.Series(pd.Timestamp(START), index=range(size)).where(np.arange(size) < known)
        part = {"challenger": float(challenger), "switched": 0.0, "p": p, "flagged": (p > 0.4) * 1.0}
        part |= {"offered": 0.0, "spared": 1.0}
        parts.append(pd.DataFrame(part | {"churned": churned, "observed_at": days}))
    parts[0].loc[: switched - 1, "switched"] = 1.0
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(
    ("customers", "verdict", "says"),
    [
        (frame((1000, 1000), (500, 400)), "invalid", "known of 50.00% of the champion's customers and of 40.00% of"),
        (frame((1000, 1000), (500, 500), switched=21), "invalid", "21 customers (1.05%) were in both arms"),
        (frame((1000, 1000), (500, 500), switched=20), "undecided", "wait for about"),
        (frame((1000, 1000), (500, 450)), "undecided", "wait for about"),
        (frame((150, 150), (150, 150)), "undecided", "wait for about"),
        (frame((150, 120), (150, 99)), "invalid", "outcomes are known"),
        (frame((150, 99), (150, 99)), "too_early", "150 of the champion's and 99 of the challenger's"),
        (frame((2, 0), (1, 0)), "too_early", "needs 100 of each"),
        (frame((0, 0), (0, 0)), "too_early", "needs 100 of each"),
    ],
)
def test_the_verdict_follows_from_the_counts(customers: pd.DataFrame, verdict: str, says: str) -> None:
    share = 0.4 if len(customers) == 249 else 0.5
    made = report(customers, EXPERIMENT._replace(share=share), PROFIT, DESIGN)
    assert made.verdict == verdict
    assert says in made.words
    assert as_text(made).endswith(f"{made.words}\n")
    assert json.loads(as_json(made.as_dict()))["verdict"] == verdict
    assert "</html>" in as_html(made)


def test_arms_that_flag_nobody_are_not_compared() -> None:
    nobody = frame((200, 200), (200, 200)).assign(flagged=0.0)
    made = report(nobody, EXPERIMENT, PROFIT, DESIGN)
    assert (made.verdict, made.words) == ("undecided", "not decided: every customer with an outcome earned the same")


def test_the_last_day_is_the_test_of_all_and_the_days_before_knew_less(engine: Engine) -> None:
    fill_experiment(engine, 1500, (1.0, 0.5), days=10)
    made = report(read(engine), EXPERIMENT, PROFIT, DESIGN)
    means = earned(read(engine)).groupby("arm")["earned"].mean()
    last, now = made.days[-1], made.sequential
    assert last.difference == pytest.approx(means["challenger"] - means["champion"])
    assert made.differences.profit_per_customer.value == pytest.approx(last.difference)
    assert (last.difference, last.low, last.high, last.p) == (now.difference, now.low, now.high, now.p)
    assert last.labelled_champion + last.labelled_challenger == 1500
    assert [day.day for day in made.days] == sorted({day.day for day in made.days})
    assert all(day.low < last.low and day.p <= 1 for day in made.days[:5])


def test_the_same_log_gives_the_same_report(engine: Engine) -> None:
    fill_experiment(engine, 600, (1.0, 0.5))
    one, two = (report(read(engine), EXPERIMENT, PROFIT, DESIGN) for _ in range(2))
    assert as_json(one.as_dict()) == as_json(two.as_dict())
    assert as_html(one) == as_html(two)


def offered_to_flagged(frame: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Half of the flagged who would leave are kept by an offer; it is drawn with that chance."""
    rng, flagged = np.random.default_rng([seed, 16]), frame["flagged"] == 1
    offered = flagged & (rng.random(len(frame)) < share)
    kept = offered & (rng.random(len(frame)) < 0.5)
    churned, spared = frame["churned"].mask(kept, 0.0), np.where(flagged, 1 - share, 1.0)
    return frame.assign(churned=churned, offered=offered * 1.0, spared=spared)


def test_offers_change_neither_arm_where_some_are_held_back() -> None:
    whole, gaps = frame((4000, 4000), (4000, 4000)), []
    truth = report(whole, EXPERIMENT, PROFIT, DESIGN)
    for seed in range(20):
        made = report(offered_to_flagged(whole, 0.8, seed), EXPERIMENT, PROFIT, DESIGN)
        assert made.verdict != "invalid" and made.arms["champion"].effective < 4000
        gaps.append(made.arms["champion"].churn_rate.value - truth.arms["champion"].churn_rate.value)
    assert abs(np.mean(gaps)) < 3 * np.std(gaps) / np.sqrt(len(gaps))


def test_offers_to_all_who_are_flagged_leave_nothing_to_compare() -> None:
    made = report(offered_to_flagged(frame((1000, 1000), (1000, 1000)), 1.0, 1), EXPERIMENT, PROFIT, DESIGN)
    assert made.verdict == "invalid" and "nobody like them was held back" in made.words
