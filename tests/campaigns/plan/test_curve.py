"""The curve of budgets: each of its points is what the plan of that budget expects."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.__main__ import main
from campaigns.plan.choice import Limit, choose
from campaigns.plan.curve import POINTS, points_of
from churn.campaigns import Offer
from tests.campaigns.plan.test_choice import earned, offers_, spent

ONE = [Offer(cost=40, success=0.3)]
chances = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 60), st.booleans()), min_size=1, max_size=60)


@given(chances, offers_)
def test_a_point_is_the_plan_of_its_budget(customers: list[tuple[int, int, bool]], offers: list[Offer]) -> None:
    percent, money, control = (np.array(values) for values in zip(*customers, strict=True))
    p, value, is_control = percent / 100, money.astype("float64"), control
    points = points_of(p, value, is_control, offers)
    assert [point.budget for point in points] == sorted({point.budget for point in points})
    for point in points:
        choice = choose(p * value, is_control, offers, Limit(budget=Decimal(str(point.budget))))
        made = ~is_control[choice.customer]
        assert spent(choice, is_control, offers) == Decimal(str(point.budget))
        assert earned(choice, is_control) == pytest.approx(point.profit, abs=1e-9)
        assert (int(made.sum()), int((~made).sum())) == (point.offered, point.control)
        success = np.array([offer.success for offer in offers])[choice.offer]
        assert float((p[choice.customer] * success)[made].sum()) == pytest.approx(point.churn_avoided, abs=1e-9)


def test_more_money_never_brings_less_and_brings_less_and_less() -> None:
    p = np.random.default_rng(1).random(20_000)
    points = points_of(p, np.full(len(p), 400.0), p < 0, ONE)
    budget, profit = (np.array([getattr(point, name) for point in points]) for name in ("budget", "profit"))
    assert POINTS <= len(points) <= POINTS + 1
    gains = np.diff(profit) / np.diff(budget)
    assert (gains > 0).all() and (np.diff(gains) < 1e-9).all()


def test_where_nothing_pays_no_budget_brings_anything() -> None:
    points = points_of(np.zeros(3), np.ones(3), np.zeros(3, bool), ONE)
    assert [(point.budget, point.profit) for point in points] == [(0, 0)]


@pytest.fixture
def scores(released: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from serve.releases.store import Store
    from serve.score.__main__ import main as score

    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")
    monkeypatch.setenv("CHURN_RELEASES", str(store.where))
    assert score([str(project / "data/raw/customers.csv"), str(tmp_path / "scores"), "--processes", "1"]) == 0
    return tmp_path / "scores"


def test_the_command_prints_it(scores: Path, elsewhere: Callable[..., Path], capsys: Any) -> None:
    elsewhere()
    capsys.readouterr()
    main(["curve", str(scores), "--campaign", "spring"])
    curve = json.loads(capsys.readouterr().out)
    richest = curve["points"][-1]
    main(["plan", str(scores), "out", "--campaign", "spring", "--budget", str(richest["budget"])])
    plan = json.loads(Path("out/plan.json").read_text())
    assert (plan["campaign"], plan["scored"], plan["model_version"]) == tuple(
        curve[key] for key in ("campaign", "scored", "model_version")
    )
    assert plan["expected"]["profit"] == pytest.approx(richest["profit"], abs=1e-5)
    assert plan["control"] | {"customers": richest["control"], "share": curve["control"]} == plan["control"]
