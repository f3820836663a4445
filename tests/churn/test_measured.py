"""What campaigns measured: few outcomes move what is stated a little, many move it far, and the interval holds."""

import json
from dataclasses import asdict
from math import exp, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import halfnorm, norm

from churn.measured import Effect, Z, read_effects, settled, shrunk
from churn.profit import Profit
from churn.script import InputError

STATED = {"customer_value": 400, "offer_cost": 40, "offer_success": "measured"}
PRIOR = {"offer_prior": 0.3, "offer_prior_deviation": 0.1}


def effect(success: float, error: float, name: str = "spring") -> Effect:
    """Of a relative risk with this standard error of its logarithm."""
    low, high = (1 - (1 - success) * exp(sign * Z * error) for sign in (1, -1))
    return Effect(campaign=name, outcomes=100, offer_success=success, offer_success_low=low, offer_success_high=high)


def with_file(folder: Path, content: object, **knobs: object) -> Profit:
    (file := folder / "measured.json").write_text(json.dumps(content))
    return Profit(**STATED | PRIOR | {"measured": str(file)} | knobs)  # type: ignore[arg-type]


def error_of(leavers: float, customers: float) -> float:
    """About, of a campaign with a tenth held back."""
    share = leavers / customers
    return sqrt((1 - share) / (share * 0.1 * customers) + (1 - share) / (share * 0.9 * customers))


def test_without_a_campaign_it_is_the_prior() -> None:
    assert shrunk([], 0.3, 0.1)[0] == 0.3


@given(st.floats(-2, 0.9), st.integers(10, 100))
def test_a_campaign_with_few_outcomes_moves_it_little(success: float, outcomes: int) -> None:
    assert abs(shrunk([effect(success, error_of(0.3 * outcomes, outcomes))], 0.3, 0.1)[0] - 0.3) < 0.1


@given(st.floats(-2, 0.9), st.floats(0.01, 2))
def test_it_lies_between_the_stated_and_the_measured(success: float, error: float) -> None:
    value, low, high = shrunk([effect(success, error)], 0.3, 0.1)
    assert 0 <= low <= value <= high <= 1
    assert max(0.0, min(0.3, success)) - 0.02 <= value <= max(0.3, success) + 0.02


@given(st.floats(-0.5, 0.6), st.floats(0.05, 0.5))
def test_more_campaigns_that_agree_move_it_further_and_narrow_it(success: float, error: float) -> None:
    once, often = (shrunk([effect(success, error)] * n, 0.3, 0.1) for n in (1, 8))
    assert abs(often[0] - max(0.0, success)) <= abs(once[0] - max(0.0, success)) + 0.01
    assert often[2] - often[1] <= once[2] - once[1] + 0.01


def test_offers_that_drive_customers_away_keep_nobody() -> None:
    assert shrunk([effect(-0.3, 0.02)] * 6, 0.3, 0.1) == (0, 0, 0)


def test_it_is_the_posterior_that_a_grid_over_both_unknowns_has() -> None:
    effects = [effect(0.1, 0.1), effect(0.35, 0.2), effect(0.2, 0.05)]
    s2 = np.log(1 + (0.1 / 0.7) ** 2)
    mean, tau = np.linspace(-1.5, 0.8, 1200)[:, None], np.linspace(1e-4, 1.2, 400)
    density = norm.logpdf(mean, np.log(0.7) - s2 / 2, sqrt(s2)) + halfnorm.logpdf(tau, scale=sqrt(s2))
    for one in effects:
        density = density + norm.logpdf(one.log_risk, mean, np.sqrt(one.error**2 + tau**2))
    share = np.exp(density - density.max()).sum(axis=1)
    share /= share.sum()
    ends = 1 - np.exp(np.interp([0.975, 0.025], share.cumsum(), mean[:, 0]))
    assert shrunk(effects, 0.3, 0.1) == pytest.approx([1 - share @ np.exp(mean[:, 0]), *ends], abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("campaigns", "tau"), [(1, 0.5), (1, 1.0), (3, 0.0), (3, 0.5), (10, 0.5), (10, 1.0)])
def test_the_interval_holds_the_truth(campaigns: int, tau: float) -> None:
    """True successes as the prior has them; campaigns of 100 to 3,000 customers, of whom a tenth is held back.

    tau: how much campaigns differ, in deviations of the prior.
    """
    rng, deviation, hits = np.random.default_rng(campaigns), 0.1 / 0.7, []
    for _ in range(400):
        truth = np.log(0.7) - deviation**2 / 2 + deviation * rng.normal()
        effects = []
        for n in rng.integers(100, 3_000, campaigns):
            control, offered = max(10, n // 10), n - n // 10
            risk = np.exp(truth + tau * deviation * rng.normal())
            left = rng.binomial(control, 0.5), rng.binomial(offered, min(1, 0.5 * risk))
            if min(left):
                rates = left[0] / control, left[1] / offered
                error = sqrt((1 - rates[0]) / left[0] + (1 - rates[1]) / left[1])
                effects.append(effect(1 - rates[1] / rates[0], error))
        _, low, high = shrunk(effects, 0.3, 0.1)
        hits.append(low <= max(0.0, 1 - np.exp(truth)) <= high)
    assert np.mean(hits) >= 0.92


def test_a_stated_number_rests_on_no_file() -> None:
    profit = Profit(customer_value=400, offer_cost=40, offer_success=0.3, measured="missing.json")
    assert settled(profit) == (profit, {})


def test_a_measured_success_says_what_it_rests_on(tmp_path: Path) -> None:
    content = {"campaigns": [asdict(effect(0.1, 0.1, name)) for name in ("spring", "autumn")], "left_out": {}}
    profit, evidence = settled(with_file(tmp_path, content))
    assert 0.1 < float(profit.offer_success) < 0.3
    assert evidence["offer_success_low"] < profit.offer_success < evidence["offer_success_high"]
    assert (evidence["campaigns"], evidence["outcomes"]) == (["spring", "autumn"], 200)
    assert profit.in_card(np.ones(1)) == {**STATED, "offer_success": profit.offer_success}


def test_without_a_campaign_it_says_so(tmp_path: Path) -> None:
    profit, evidence = settled(with_file(tmp_path, {"campaigns": []}))
    assert (profit.offer_success, evidence["campaigns"], evidence["outcomes"]) == (0.3, [], 0)


BACKWARDS = asdict(effect(0.1, 0.1)) | {"offer_success_low": 0.2}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "campaigns is {}: field required"),
        ({"campaigns": [{**BACKWARDS, "outcomes": -1}]}, "campaigns.0.outcomes is -1"),
        ({"campaigns": [BACKWARDS]}, "the interval of spring does not hold its offer_success"),
    ],
)
def test_a_file_that_cannot_be_is_refused_in_one_line(tmp_path: Path, content: object, says: str) -> None:
    with pytest.raises(InputError) as refused:
        settled(with_file(tmp_path, content))
    assert says in str(refused.value) and len(str(refused.value).splitlines()) == 1
    assert str(refused.value).endswith("python -m campaigns measured writes it")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is missing, which params\.yaml names as profit\.measured"):
        read_effects(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("offers")
    with pytest.raises(InputError, match="is not JSON"):
        read_effects(tmp_path / "text.json")
    with pytest.raises(InputError, match=r"takes profit\.offer_prior and profit\.offer_prior_deviation too"):
        settled(with_file(tmp_path, {"campaigns": []}, offer_prior=None))
