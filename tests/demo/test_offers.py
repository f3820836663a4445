"""Offers in the simulated operator: they change nothing where none is made, and keep what is stated where they are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn.params import read_knobs
from churn.profit import Profit
from churn.schema import read_schema
from churn.scorer import Scorer
from demo.crowd import Crowd
from demo.offers import KINDS, after_offers, churned_after, churned_if_offered, effect, kinds, leaving_if_offered
from demo.world import CHANGED, QUIET, World, month
from stages.simulate import leaving
from tests.conftest import ROOT
from tests.simulated_months import taken

PROFIT = read_knobs("profit", Profit, ROOT / "params.yaml")
PAYS = PROFIT.offer_cost / (PROFIT.offer_success * float(PROFIT.customer_value))


@pytest.fixture(scope="module")
def many() -> pd.DataFrame:
    return month(11, 40_000)


def left(customers: pd.DataFrame) -> np.ndarray:
    return (customers["churned"] == "Yes").to_numpy()


SOME = month(12, 300)


@settings(max_examples=30)
@given(st.integers(0, 2**63), st.floats(0, 1))
def test_the_others_offers_and_the_order_of_customers_change_nobody_s_fate(seed: int, share: float) -> None:
    offered = np.random.default_rng(seed).random(len(SOME)) < share
    churned = churned_after(SOME, offered, seed)
    assert (churned[~offered] == left(SOME)[~offered]).all()
    assert (churned[offered] == churned_if_offered(SOME, seed)[offered]).all()
    turned = SOME[::-1].reset_index(drop=True)
    assert (churned_after(turned, offered[::-1], seed)[::-1] == churned).all()


@settings(max_examples=30)
@given(st.integers(0, 2**63), st.sampled_from([QUIET, CHANGED]))
def test_an_offer_that_lowers_the_chance_drives_nobody_away_and_one_that_raises_it_keeps_nobody(
    seed: int, world: World
) -> None:
    helps, after = effect(SOME, world.concept) > 0, churned_if_offered(SOME, seed, world.concept)
    assert (after <= left(SOME))[helps].all()
    assert (after >= left(SOME))[~helps].all()


def test_without_offers_the_month_is_the_one_that_simulate_draws(many: pd.DataFrame) -> None:
    assert after_offers(many, np.zeros(len(many), bool), 1).equals(many)


def test_another_seed_is_another_coin(many: pd.DataFrame) -> None:
    one, twin, other = (churned_if_offered(many, seed) for seed in (1, 1, 2))
    assert (one == twin).all()
    assert 0.01 < (one != other).mean() < 0.25


@pytest.mark.parametrize("world", [QUIET, World(drift=0.5), CHANGED], ids=["quiet", "drift", "concept"])
def test_as_many_leave_with_an_offer_as_their_chances_say(world: World) -> None:
    customers = month(13, 40_000, *world)
    chance, churned = leaving_if_offered(customers, world.concept), churned_if_offered(customers, 3, world.concept)
    for tenth in np.array_split(np.argsort(chance), 10):
        error = np.sqrt((chance[tenth] * (1 - chance[tenth])).sum()) / len(tenth)
        assert churned[tenth].mean() == pytest.approx(chance[tenth].mean(), abs=4 * error)


def test_offers_to_those_for_whom_they_pay_keep_as_many_as_profit_says(many: pd.DataFrame) -> None:
    flagged = leaving(many, 0) >= PAYS
    kept = effect(many)[flagged].sum() / leaving(many, 0)[flagged].sum()
    assert kept == pytest.approx(PROFIT.offer_success, abs=0.01)
    after = churned_after(many, flagged, 4)
    assert 1 - after[flagged].mean() / left(many)[flagged].mean() == pytest.approx(PROFIT.offer_success, abs=0.03)


def test_all_four_kinds_are_among_the_customers_as_the_text_says(many: pd.DataFrame) -> None:
    shares = pd.Series(kinds(many, 5)).value_counts(normalize=True)
    stated = {"persuadable": 0.08, "sleeping dog": 0.03, "lost cause": 0.18, "sure thing": 0.71}
    assert set(shares.index) == set(KINDS.values())
    assert shares.to_dict() == pytest.approx(stated, abs=0.01)


def test_who_leaves_most_is_not_held_best(many: pd.DataFrame) -> None:
    p, held = leaving(many, 0), effect(many)
    flagged = p >= PAYS
    assert abs(np.corrcoef(p[flagged], held[flagged])[0, 1]) < 0.1
    by_tenure = pd.Series(held[flagged]).groupby((many["tenure"][flagged] <= 3).to_numpy()).mean()
    assert by_tenure[True] < by_tenure[False] / 2
    assert 0.1 < (held[flagged] < 0).mean() < 0.2
    # so the same money does more where the effect is known
    by_risk, by_effect = (held[np.argsort(-order)[: flagged.sum()]].sum() for order in (p, held))
    assert by_effect > 1.3 * by_risk


def test_a_crowd_answers_offers_as_its_month_does() -> None:
    crowd = Crowd.draw(14, 500, CHANGED, read_schema(ROOT / "schemas/telco.yaml"))
    offered = np.arange(500) % 2 == 0
    crowd.offered = offered
    assert (crowd.became == churned_after(month(14, 500, *CHANGED), offered, 14, CHANGED.concept)).all()
    assert (crowd.became != crowd.churned).any()


def test_a_snapshot_of_a_month_sees_what_the_offers_made_of_it(released: Path, many: pd.DataFrame) -> None:
    customers = many.head(2_000)
    offered = np.ones(len(customers), bool)
    snapshot = taken(Scorer.open(released), after_offers(customers, offered, 6))
    assert (snapshot.cohort["churned"] == churned_if_offered(customers, 6)).all()
    assert not (snapshot.cohort["churned"] == left(customers)).all()
