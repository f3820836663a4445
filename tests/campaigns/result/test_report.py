"""What a campaign brought: intervals that hold the truth, a verdict for all looks, and splits that are none."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_ind

from campaigns.result.page import as_html, as_text
from campaigns.result.report import Report, report
from churn.campaigns import Campaigns
from churn.params import read_knobs
from churn.profit import Profit
from churn.script import as_json
from tests.campaigns.world import NOW, campaign
from tests.conftest import ROOT

KNOBS = read_knobs("campaigns", Campaigns, ROOT / "params.yaml")
PROFIT = Profit(customer_value=400, offer_cost=40, offer_success=0.3)
TRUE = 400 * 0.3 * 0.5 - 40  # per contact, where an offer keeps .3 of half of the customers


def made(seed: int, profit: Profit = PROFIT, **world: float) -> Report:
    return report(campaign(seed, **world), profit, KNOBS, NOW)  # type: ignore[arg-type]


def test_without_a_score_the_interval_of_one_look_is_welch_s() -> None:
    customers = campaign(1, is_scored=False)
    found = report(customers, PROFIT, KNOBS, NOW)
    peer = ttest_ind(*(customers.churned[customers.offered == side] for side in (False, True)), equal_var=False)
    low, high = peer.confidence_interval(0.95)
    avoided = found.churn_avoided
    assert (avoided.low, avoided.high) == pytest.approx((low, high), rel=1e-9)
    assert found.profit_per_contact.low == pytest.approx(400 * low - 40)
    assert not found.fifths and found.narrower == 0


@pytest.mark.slow
def test_intervals_hold_the_truth_and_the_score_makes_them_narrower() -> None:
    found = [made(seed) for seed in range(300)]
    held = [
        [one.profit_per_contact.low <= TRUE <= one.profit_per_contact.high for one in found],
        [one.churn_avoided.low <= 0.15 <= one.churn_avoided.high for one in found],
        [one.offer_success.low <= 0.3 <= one.offer_success.high for one in found],
    ]
    for hits in held:
        assert 0.925 <= np.mean(hits) <= 0.98
    plain = [made(seed, is_scored=False) for seed in range(20)]
    widths = [
        [one.profit_per_contact.high - one.profit_per_contact.low for one in some[:20]] for some in (found, plain)
    ]
    assert np.mean(widths[0]) < 0.97 * np.mean(widths[1])


@pytest.mark.slow
def test_an_offer_without_effect_that_costs_nothing_is_seldom_ever_called_one() -> None:
    free = replace(PROFIT, offer_cost=0)
    alarms = [any(day.low > 0 or day.high < 0 for day in made(seed, free, kept=0.0).days) for seed in range(200)]
    assert np.mean(alarms) <= 0.05


def test_an_offer_that_works_is_found_and_one_that_costs_more_than_it_brings_too() -> None:
    for kept, verdict in ((0.7, "profitable"), (0.0, "unprofitable")):
        found = made(1, kept=kept, n=8_000, share=0.5)
        assert (found.verdict, found.p < KNOBS.alpha) == (verdict, True)
        assert found.profit.value == pytest.approx(
            found.profit_per_contact_at_all_looks.value * found.offered.customers
        )


def test_what_it_shows_of_the_fifths_is_the_effect_on_each() -> None:
    found = made(3, n=30_000, share=0.5)
    assert [one.customers for one in found.fifths] == [6_000] * 5
    mean = [part.mean() for part in np.array_split(np.sort(campaign(3, n=30_000, share=0.5).p), 5)]
    for one, p in zip(found.fifths, mean, strict=True):
        assert abs(one.churn_avoided.value - 0.3 * p) < one.churn_avoided.high - one.churn_avoided.low


def test_young_contacts_and_unknown_outcomes_do_not_count() -> None:
    customers = campaign(1)
    early = report(customers, PROFIT, KNOBS, NOW.replace(month=3, day=10))
    assert 0 < early.control.known + early.offered.known < 3_000
    soon = report(customers, PROFIT, KNOBS, NOW.replace(month=2, day=20))
    assert (soon.verdict, soon.days) == ("too_early", [])
    assert "a first look needs 100 of each" in soon.words


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"offered": np.ones(3_000, dtype=bool), "share": np.ones(3_000)}, "nobody was held back"),
        ({"share": np.full(3_000, 0.5)}, "not 50.00%"),
        ({"hidden": np.ones(3_000, dtype=bool)}, "were made an offer all the same"),
    ],
)
def test_a_split_that_is_none_is_not_trusted(change: dict[str, np.ndarray], says: str) -> None:
    found = report(replace(campaign(1), **change), PROFIT, KNOBS, NOW)
    assert found.verdict == "invalid" and says in found.words


def test_outcomes_that_are_known_of_one_side_alone_are_not_trusted() -> None:
    customers = campaign(1)
    kept = replace(customers, churned=np.where(customers.offered & (customers.churned == 0), np.nan, customers.churned))
    assert "outcomes are known of" in report(kept, PROFIT, KNOBS, NOW).words


def test_shares_that_differ_between_customers_are_weighed() -> None:
    """Customers at more risk are offered more often: the plain difference would be off by half."""
    rng, gaps = np.random.default_rng(1), []
    for seed in range(40):
        world = campaign(seed, kept=0.0, is_scored=False)
        p = campaign(seed).p
        share = np.where(p > 0.5, 0.8, 0.3)
        offered = rng.random(len(p)) < share
        gaps.append(report(replace(world, share=share, offered=offered), PROFIT, KNOBS, NOW).churn_avoided.value)
    assert abs(np.mean(gaps)) < 3 * np.std(gaps) / np.sqrt(len(gaps))


@pytest.mark.parametrize("world", [{}, {"is_scored": False}, {"n": 0}, {"n": 3}, {"share": 1.0}])
def test_it_is_told_in_words_for_programs_and_as_a_page(world: dict[str, float]) -> None:
    found = made(1, **world)
    assert as_text(found).endswith(f"{found.words}\n")
    assert json.loads(as_json(found.as_dict()))["verdict"] == found.verdict
    assert "</html>" in as_html(found) and as_html(found) == as_html(made(1, **world))
