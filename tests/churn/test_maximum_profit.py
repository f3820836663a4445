"""Maximum profit: empulse's numbers, the laws of a maximum, and offers that nobody or everybody should get."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta

from churn.maximum_profit import MAXIMA, Offer, convex_hull, maximum_profits
from churn.profit import Profit
from churn.scores import ResampledScores

PAPER, OURS, DEAR = (
    Offer(clv=clv, incentive_cost=incentive, contact_cost=contact, alpha=6, beta=14)
    for clv, incentive, contact in ((200, 10, 1), (400, 0, 40), (150, 30, 5))
)
ROWS = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0])), min_size=1, max_size=30)
OFFERS = st.builds(
    Offer,
    clv=st.floats(1, 500),
    incentive_cost=st.floats(0, 600),  # now and then more than a customer is worth
    contact_cost=st.floats(0, 100),
    alpha=st.floats(0.5, 20),
    beta=st.floats(0.5, 20),
)


def drawn(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 3, n).round(2)
    return (rng.random(n) < p).astype("int64"), p


def best(churned: np.ndarray, p: np.ndarray, offer: Offer, weights: np.ndarray | None = None) -> dict[str, float]:
    once = np.ones((1, len(p))) if weights is None else weights[None]
    return {name: x[0] for name, x in maximum_profits(*ResampledScores(churned, p).tied(once), offer).items()}


def earned(churned: np.ndarray, p: np.ndarray, offer: Offer, success: float) -> float:
    """The most per customer over all thresholds, one by one."""
    taken, lost = success * (offer.clv - offer.incentive_cost), offer.incentive_cost
    each = np.where(churned == 1, taken, -lost) - offer.contact_cost
    return max(each[p >= threshold].sum() for threshold in [*set(p.tolist()), 2.0]) / len(p)


# By empulse 0.13.0, `pip install empulse==0.13.0` in an environment of its own (AGPL-3.0, so not in requirements.in):
#   from empulse.metrics import empc_score, mpc_score
#   costs = {"clv": 200, "incentive_cost": 10, "contact_cost": 1}; churned, p = drawn(0)
#   fixed, spread = {"accept_rate": 0.3, **costs}, {"alpha": 6, "beta": 14, **costs}
#   mpc_score(churned, p, **fixed), mpc_score.optimal_rate(churned, p, **fixed)
#   empc_score(churned, p, **spread), empc_score.optimal_rate(churned, p, **spread)
EMPULSE = [
    (0, PAPER, (10.485, 0.6, 10.582716411862817, 0.5846498189793944)),
    (0, OURS, (8.8, 0.455, 9.826849579200708, 0.35122094419385164)),
    (0, DEAR, (1.405, 0.205, 1.5718681881675942, 0.1665889862875772)),
    (1, PAPER, (6.595, 0.375, 6.604112271086777, 0.3761449554873518)),
    (1, OURS, (4.2, 0.375, 5.512946806926964, 0.23912600021091382)),
    (1, DEAR, (0.615, 0.105, 0.8032614816220107, 0.06748427895515496)),
]


@pytest.mark.parametrize(("seed", "offer", "expected"), EMPULSE)
def test_the_numbers_are_empulse_s(seed: int, offer: Offer, expected: tuple[float, ...]) -> None:
    assert tuple(best(*drawn(seed), offer).values()) == pytest.approx(expected, rel=1e-12)


def test_they_are_on_other_customers_too() -> None:
    empulse = pytest.importorskip("empulse.metrics", reason="empulse is not installed: its licence is the AGPL")
    rng = np.random.default_rng(7)
    for seed in range(10, 30):
        churned, p = drawn(seed, int(rng.integers(30, 400)))
        clv, a, b = rng.uniform(50, 500), *rng.uniform(1, 20, 2)
        costs = {"clv": clv, "incentive_cost": clv * rng.uniform(0, 0.3), "contact_cost": clv * rng.uniform(0, 0.1)}
        fixed, spread = {"accept_rate": a / (a + b), **costs}, {"alpha": a, "beta": b, **costs}
        expected = [
            *(metric(churned, p, **fixed) for metric in (empulse.mpc_score, empulse.mpc_score.optimal_rate)),
            *(metric(churned, p, **spread) for metric in (empulse.empc_score, empulse.empc_score.optimal_rate)),
        ]
        assert list(best(churned, p, Offer(**spread)).values()) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(ROWS, OFFERS)
def test_no_threshold_earns_more_and_not_knowing_the_success_beforehand_no_less(
    rows: list[tuple[int, float]], offer: Offer
) -> None:
    churned, p = (np.array(column) for column in zip(*rows, strict=True))
    found = best(churned, p, offer)
    assert found["maximum_profit"] == pytest.approx(earned(churned, p, offer, offer.success), abs=1e-9)
    assert found["empc"] >= found["maximum_profit"] - 1e-9  # by Jensen's inequality
    assert all(-1e-12 <= found[name] <= 1 + 1e-12 for name in MAXIMA if name.endswith("share"))


def test_the_expected_maximum_is_the_integral_over_the_success() -> None:
    churned, p = drawn(3, 60)
    shape = beta(PAPER.alpha, PAPER.beta)
    expected, _ = quad(lambda x: earned(churned, p, PAPER, x) * shape.pdf(x), 0, 1, limit=200)
    assert best(churned, p, PAPER)["empc"] == pytest.approx(expected, rel=1e-5)


@given(ROWS)
def test_the_hull_lies_on_or_above_the_curve_and_bends_one_way(rows: list[tuple[int, float]]) -> None:
    churned, p = (np.array(column) for column in zip(*rows, strict=True))
    positive, negative = (counts[0] for counts in ResampledScores(churned, p).tied(np.ones((1, len(p)))))
    leavers, others = convex_hull(positive, negative)
    turns = np.diff(leavers)[:-1] * np.diff(others)[1:] - np.diff(leavers)[1:] * np.diff(others)[:-1]
    assert (turns >= -1e-9).all()
    assert (leavers[0], others[0], leavers[-1], others[-1]) == (0, 0, positive.sum(), negative.sum())
    # each of its corners is one of the curve's
    curve = set(zip(np.r_[0, positive.cumsum()].tolist(), np.r_[0, negative.cumsum()].tolist(), strict=True))
    assert set(zip(leavers.tolist(), others.tolist(), strict=True)) <= curve


def test_a_weight_is_a_row_that_stands_so_often() -> None:
    (churned, p), w = drawn(4), np.random.default_rng(1).integers(0, 4, 200)
    often = best(np.repeat(churned, w), np.repeat(p, w), OURS)
    assert best(churned, p, OURS, w.astype("float64")) == pytest.approx(often)


def test_an_offer_that_costs_nothing_goes_to_every_leaver_and_one_that_gains_nothing_to_nobody() -> None:
    churned, p = np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])
    free = Offer(clv=100, incentive_cost=0, contact_cost=0, alpha=6, beta=14)
    assert best(churned, p, free)["maximum_profit"] == pytest.approx(0.3 * 100 * 2 / 4)
    dear = Offer(clv=100, incentive_cost=100, contact_cost=1, alpha=6, beta=14)
    assert set(best(churned, p, dear).values()) == {0.0}


# the offer of params.yaml


@pytest.mark.parametrize("success", [0.05, 0.3, 1.0])
def test_the_offer_of_params_yaml_earns_what_profit_says(success: float) -> None:
    profit = Profit(customer_value=400, offer_cost=40, offer_success=success)
    offer, (churned, p) = Offer.of(profit, 400), drawn(5)
    assert offer.success == pytest.approx(success)
    most = max(profit.of(churned, p >= threshold).mean() for threshold in [*set(p.tolist()), 2.0])
    assert best(churned, p, offer)["maximum_profit"] == pytest.approx(most)


def test_its_spread_is_the_paper_s_and_none_where_every_offer_succeeds() -> None:
    usual, sure = (Offer.of(Profit(customer_value=1, offer_cost=1, offer_success=s), 1) for s in (0.3, 1.0))
    assert (usual.alpha, usual.beta) == pytest.approx((6, 14))
    found = best(*drawn(6), sure)
    assert found["empc"] == pytest.approx(found["maximum_profit"])
