"""Whom to make which offer: never above the limit, near the optimum, by a bound that holds."""

from decimal import Decimal
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.plan import choice as walk
from campaigns.plan.choice import Choice, Limit, by_cost, choose, expected_profit, frontier
from churn.campaigns import Offer
from churn.profit import Profit
from churn.script import InputError

ONE = [Offer(cost=40, success=0.3)]
COSTS = st.integers(0, 60).map(lambda tenths: tenths / 10)

offers_ = st.lists(
    st.builds(Offer, cost=COSTS, success=st.integers(1, 20).map(lambda n: n / 20)), min_size=1, max_size=3
)
losses = st.lists(st.integers(-20, 400).map(lambda n: n / 10), min_size=1, max_size=5).map(np.array)
budgets = st.integers(0, 250).map(lambda tenths: Decimal(tenths) / 10)


def spent(choice: Choice, is_control: np.ndarray, offers: list[Offer]) -> Decimal:
    costs = [Decimal(str(offers[i].cost)) for i in choice.offer[~is_control[choice.customer]]]
    return sum(costs, Decimal(0))


def earned(choice: Choice, is_control: np.ndarray) -> float:
    return float(choice.expected_profit[~is_control[choice.customer]].sum())


def best(loss: np.ndarray, offers: list[Offer], limit: Limit) -> float:
    """The most that any choice of at most one offer for each customer can expect."""
    found = 0.0
    for chosen in product([None, *offers], repeat=len(loss)):
        made = [(a, offer) for a, offer in zip(loss.tolist(), chosen, strict=True) if offer]
        cost = sum((Decimal(str(offer.cost)) for _, offer in made), Decimal(0))
        if (limit.budget is None or cost <= limit.budget) and (limit.most is None or len(made) <= limit.most):
            found = max(found, sum(a * offer.success - offer.cost for a, offer in made))
    return found


@given(losses, offers_, budgets, st.data())
def test_a_budget_is_never_exceeded_and_the_plan_is_a_step_from_the_best_at_most(
    loss: np.ndarray, offers: list[Offer], budget: Decimal, data: Any
) -> None:
    is_control = np.array(data.draw(st.lists(st.booleans(), min_size=len(loss), max_size=len(loss))))
    choice = choose(loss, is_control, offers, Limit(budget=budget))
    assert spent(choice, is_control, offers) <= budget
    optimum, profit = best(loss[~is_control], offers, Limit(budget=budget)), earned(choice, is_control)
    largest = max((expected_profit(one, loss[~is_control]).max(initial=0) for one in offers), default=0)
    assert profit <= optimum + 1e-9
    assert optimum <= choice.upper_bound + 1e-9
    assert choice.upper_bound - profit <= largest + 1e-9


@given(losses, offers_, st.integers(0, 6))
def test_a_number_of_offers_is_planned_for_exactly(loss: np.ndarray, offers: list[Offer], most: int) -> None:
    nobody = np.zeros(len(loss), bool)
    choice = choose(loss, nobody, offers, Limit(most=most))
    assert len(choice.customer) <= most
    assert earned(choice, nobody) == pytest.approx(best(loss, offers, Limit(most=most)))
    assert choice.upper_bound == pytest.approx(earned(choice, nobody))


@given(losses, offers_, budgets | st.integers(0, 6), st.data())
def test_a_customer_s_own_side_does_not_decide_whether_the_customer_is_selected(
    loss: np.ndarray, offers: list[Offer], limit: Decimal | int, data: Any
) -> None:
    is_control = np.array(data.draw(st.lists(st.booleans(), min_size=len(loss), max_size=len(loss))))
    customer = data.draw(st.integers(0, len(loss) - 1))
    other = is_control.copy()
    other[customer] = ~other[customer]
    bound = Limit(most=limit) if isinstance(limit, int) else Limit(budget=limit)
    selected = [customer in choose(loss, side, offers, bound).customer for side in (is_control, other)]
    assert selected[0] == selected[1]


@given(losses, offers_, budgets)
def test_nobody_is_selected_twice_or_at_a_loss_and_the_best_come_first(
    loss: np.ndarray, offers: list[Offer], budget: Decimal
) -> None:
    choice = choose(loss, np.zeros(len(loss), bool), offers, Limit(budget=budget))
    assert len(set(choice.customer.tolist())) == len(choice.customer) <= choice.pays <= len(loss)
    assert (choice.expected_profit > -1e-9).all()
    assert (np.diff(choice.expected_profit) <= 0).all()


@given(st.lists(st.integers(0, 2000).map(lambda n: n / 10), min_size=1, max_size=40), st.data())
def test_where_all_offers_cost_the_same_the_budget_is_used_up(found: list[float], data: Any) -> None:
    loss = np.array(found)
    is_control = np.array(data.draw(st.lists(st.booleans(), min_size=len(loss), max_size=len(loss))))
    choice = choose(loss, is_control, ONE, Limit(budget=Decimal(400)))
    n = int((~is_control[choice.customer]).sum())
    assert n == min(10, int((0.3 * loss[~is_control] > 40).sum()))
    assert choice.upper_bound == pytest.approx(earned(choice, is_control))


@given(losses, offers_, budgets, st.integers(1, 4))
def test_blocks_change_nothing(loss: np.ndarray, offers: list[Offer], budget: Decimal, size: int) -> None:
    loss, limit = np.tile(loss, 3), Limit(budget=budget)
    is_control = np.arange(len(loss)) % 4 == 0
    whole = choose(loss, is_control, offers, limit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "BLOCK", size)
        blocks = choose(loss, is_control, offers, limit)
    assert blocks.customer.tolist() == whole.customer.tolist()
    assert blocks.offer.tolist() == whole.offer.tolist()
    assert (blocks.upper_bound, blocks.shadow_price) == pytest.approx((whole.upper_bound, whole.shadow_price))


def test_an_offer_earns_what_the_section_profit_says() -> None:
    profit, p = Profit(customer_value=400, offer_cost=40, offer_success=0.3), np.array([0.2, 0.5, 0.9])
    one = np.ones(3)
    expected = p * profit.of(one, one) + (1 - p) * profit.of(0 * one, one)
    np.testing.assert_allclose(expected_profit(ONE[0], p * 400), expected)


def test_offers_that_others_beat_at_their_cost_are_dropped() -> None:
    good, dear = Offer(cost=10, success=0.4), Offer(cost=50, success=0.6)
    worse, mixed = Offer(cost=12, success=0.3), Offer(cost=30, success=0.45)  # half of both costs 30 and keeps .5
    assert frontier([dear, worse, good, mixed]) == [2, 0]
    assert frontier([Offer(cost=0, success=0.1), Offer(cost=0, success=0.2), good]) == [1, 2]


def test_the_bound_holds_for_plans_with_offers_that_were_dropped() -> None:
    loss, offers = np.array([4.1]), [Offer(cost=0.2, success=0.05), Offer(cost=0.3, success=0.1)]
    choice = choose(loss, np.zeros(1, bool), offers, limit := Limit(budget=Decimal("0.2")))
    assert len(choice.customer) == 0 < best(loss, offers, limit) <= choice.upper_bound


def test_an_offer_that_costs_nothing_needs_no_budget() -> None:
    choice = choose(np.array([3.0, 0, -1]), np.zeros(3, bool), [Offer(cost=0, success=0.1)], Limit(budget=Decimal(0)))
    assert choice.customer.tolist() == [0]


def test_a_dearer_step_needs_the_one_before_it() -> None:
    offers = [Offer(cost=10, success=0.5), Offer(cost=12, success=0.55)]  # 5 do not buy 10 - 12 = 2 more
    choice = choose(np.array([100.0]), np.zeros(1, bool), offers, Limit(budget=Decimal(5)))
    assert choice.customer.tolist() == []


def test_the_shadow_price_is_what_one_more_of_the_budget_would_bring() -> None:
    loss, nobody = np.array([1000.0, 500, 300]), np.zeros(3, bool)
    one, two, all_ = (choose(loss, nobody, ONE, Limit(budget=Decimal(budget))) for budget in (40, 80, 1000))
    assert one.shadow_price == pytest.approx((two.upper_bound - one.upper_bound) / 40)
    assert all_.shadow_price == 0


@pytest.mark.parametrize(("cost", "budget", "n"), [(0.1, "0.3", 3), (0.1, "0.29", 2), (12.35, "123.5", 10)])
def test_money_is_added_exactly(cost: float, budget: str, n: int) -> None:
    choice = choose(np.full(20, 1e3), np.zeros(20, bool), [Offer(cost=cost, success=1)], Limit(budget=Decimal(budget)))
    assert len(choice.customer) == n


def test_costs_that_no_integer_adds_up_are_refused() -> None:
    with pytest.raises(InputError, match="too many digits"):
        by_cost(np.ones(2), [Offer(cost=1e9, success=1), Offer(cost=1e-6, success=0.1)], Decimal(1))
