"""Contributions are Shapley values: exact where they can be, near them else, and always they add up."""

from collections.abc import Callable, Mapping
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.release import GOLDEN, Release
from churn.schema import Schema
from churn.scorer import Scorer
from serve.predict.explain import MAX_BACKGROUND, Explainer, seed_of

Columns = Mapping[str, np.ndarray]
NUMBERS = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def explainer(released: Path) -> Explainer:
    return Explainer(Scorer.open(released))


@pytest.fixture(scope="module")
def golden(explainer: Explainer) -> list[dict[str, Any]]:
    return [line["customer"] for line in explainer.scorer.release.golden()]


class Formula(Scorer):
    """A scorer whose model is a formula of four numbers, a level and a boolean."""

    def __init__(self, folder: Path, formula: Callable[[Columns], np.ndarray], background: int = 50):
        columns: list[dict[str, Any]] = [{"name": name, "type": "number", "nullable": True} for name in NUMBERS]
        columns[0]["unit"] = "months"
        columns += [{"name": "plan_name", "type": "category", "nullable": True}, {"name": "is_old", "type": "boolean"}]
        schema = Schema.model_validate({"target": {"name": "y", "positive": 1, "negative": 0}, "columns": columns})
        card = {"samples": {"golden": background}, "data": {"test_customers": 10_000}}
        random = np.random.default_rng(0)
        customers = [
            {**dict(zip(NUMBERS, random.random(4).tolist(), strict=True)), "plan_name": "basic", "is_old": bool(i % 2)}
            for i in range(background)
        ]
        (folder / GOLDEN).write_bytes(b"\n".join(orjson.dumps({"customer": customer}) for customer in customers))
        self.release, self.formula = Release(folder, schema, card), formula
        self._is_level = {column.name: column.type == "category" for column in schema.columns}
        self._dates, self._moment = schema.dates, schema.moment

    def score(self, columns: Columns) -> np.ndarray:
        return self.formula(columns)


CUSTOMER = {"a": 0.9, "b": 0.8, "c": 0.1, "d": 0.5, "plan_name": "basic", "is_old": True}


def linear(columns: Columns) -> np.ndarray:
    return 0.2 + 0.4 * columns["a"] - 0.1 * columns["b"] + 0.3 * columns["c"]


def crossed(columns: Columns) -> np.ndarray:
    a, b, c, d = (columns[name] for name in NUMBERS)
    return 1 / (1 + np.exp(-(8 * a * b - 6 * c * d - 3 * a * c)))


def exact(explainer: Explainer, customer: Mapping[str, Any]) -> dict[str, float]:
    """Shapley values of the four numbers, by all 16 coalitions."""
    one = explainer.scorer.columns([customer])

    def worth(coalition: tuple[str, ...]) -> float:
        mixed = {name: np.full(explainer.n, one[name]) if name in coalition else explainer.background[name]
                 for name in explainer.columns}  # fmt: skip
        return float(explainer.scorer.score(mixed).mean())

    def share(name: str) -> float:
        others = [other for other in NUMBERS if other != name]
        return sum(
            factorial(size) * factorial(3 - size) / factorial(4) * (worth((*some, name)) - worth(some))
            for size in range(4)
            for some in combinations(others, size)
        )

    return {name: share(name) for name in NUMBERS}


def contributions(explainer: Explainer, customer: Mapping[str, Any]) -> dict[str, float]:
    return {c["feature"]: c["contribution"] for c in explainer.explain(customer)["contributions"]}


def gap(explainer: Explainer, customer: Mapping[str, Any]) -> float:
    found = explainer.explain(customer)
    (p,) = explainer.scorer.probabilities([customer])
    return abs(p - found["base_probability"] - sum(c["contribution"] for c in found["contributions"]))


@pytest.mark.slow
def test_contributions_add_up_for_every_golden_customer(explainer: Explainer, golden: list[dict[str, Any]]) -> None:
    assert len(golden) > explainer.n  # with those at the edges of the schema
    assert max(gap(explainer, customer) for customer in golden) < 1e-6


@given(data=st.data())
def test_contributions_add_up_for_any_customer(explainer: Explainer, data: st.DataObject) -> None:
    def value(column: Any) -> st.SearchStrategy[Any]:
        kinds: dict[str, st.SearchStrategy[Any]] = {
            "number": st.floats(column.min or 0, min(column.high, 1e6)),
            "boolean": st.booleans(),
            "category": st.sampled_from([*(column.levels or ()), "never seen"]),
        }
        return st.none() | kinds[column.type] if column.nullable else kinds[column.type]

    columns = explainer.scorer.release.schema.columns
    customer = {column.name: data.draw(value(column), label=column.name) for column in columns}
    assert gap(explainer, customer) < 1e-6


def test_the_base_is_the_mean_of_ordinary_customers(explainer: Explainer) -> None:
    lines = explainer.scorer.release.golden()[: explainer.n]
    assert explainer.n == explainer.scorer.release.card["samples"]["golden"]
    mean = np.mean([line["churn_probability"] for line in lines])
    assert explainer.base_probability == pytest.approx(mean, abs=1e-6)


def test_equal_customers_get_equal_bytes(explainer: Explainer, golden: list[dict[str, Any]]) -> None:
    again = Explainer(explainer.scorer)
    for customer in golden[:5]:
        same = {"customer_id": "another name", **dict(reversed(customer.items()))}
        assert orjson.dumps(explainer.explain(customer)) == orjson.dumps(again.explain(same))


def test_another_customer_walks_other_ways(golden: list[dict[str, Any]]) -> None:
    different = {orjson.dumps(customer) for customer in golden}
    assert len({seed_of(customer) for customer in golden}) == len(different) > 100
    assert seed_of(dict(reversed(golden[0].items()))) == seed_of(golden[0])


def test_the_largest_come_first(explainer: Explainer, golden: list[dict[str, Any]]) -> None:
    found = explainer.explain(golden[0])["contributions"]
    sizes = [abs(c["contribution"]) for c in found]
    assert sizes == sorted(sizes, reverse=True)
    assert {c["feature"]: c["value"] for c in found} == golden[0]


def test_additive_shares_are_exact(tmp_path: Path) -> None:
    explainer = Explainer(Formula(tmp_path, linear))
    found = contributions(explainer, CUSTOMER)
    for name, weight in {"a": 0.4, "b": -0.1, "c": 0.3}.items():
        expected = weight * (CUSTOMER[name] - explainer.background[name].mean())
        assert found[name] == pytest.approx(expected, abs=1e-12)


def test_a_column_without_a_role_gets_nothing(tmp_path: Path) -> None:
    found = contributions(Explainer(Formula(tmp_path, linear)), CUSTOMER | {"d": 99.0, "plan_name": "gold"})
    assert [found[name] for name in ("d", "plan_name", "is_old")] == [0, 0, 0]


def test_crossed_shares_are_near_the_exact_ones(tmp_path: Path) -> None:
    explainer = Explainer(Formula(tmp_path, crossed, background=100))
    expected = exact(explainer, CUSTOMER)
    assert max(map(abs, expected.values())) > 0.1
    assert sum(expected.values()) == pytest.approx(
        crossed(explainer.scorer.columns([CUSTOMER]))[0] - explainer.base_probability
    )
    found = contributions(explainer, CUSTOMER)
    assert {name: found[name] for name in NUMBERS} == pytest.approx(expected, abs=0.01)
    # and many orders come nearer than the hundred of one explanation
    mean = np.mean([explainer.shapley(CUSTOMER, seed) for seed in range(100)], axis=0)[:4]
    assert mean == pytest.approx(list(expected.values()), abs=0.001)


@pytest.mark.slow
def test_there_and_back_halves_the_variance(explainer: Explainer, golden: list[dict[str, Any]]) -> None:
    n, k = explainer.n, len(explainer.columns)

    def independent(customer: Mapping[str, Any], seed: int) -> np.ndarray:
        return explainer.walked(customer, np.argsort(np.random.default_rng(seed).random((2 * n, k)), axis=1))

    def variance(shares: Callable[[Mapping[str, Any], int], np.ndarray]) -> float:
        return sum(np.var([shares(c, seed) for seed in range(12)], axis=0).sum() for c in golden[:4])

    assert variance(explainer.shapley) < 0.5 * variance(independent)


def test_a_step_that_changes_nothing_is_not_scored(tmp_path: Path) -> None:
    sizes = []

    def counted(columns: Columns) -> np.ndarray:
        sizes.append(len(columns["a"]))
        return linear(columns)

    explainer = Explainer(Formula(tmp_path, counted))
    explainer.explain(CUSTOMER)
    # 4 numbers change on each walk, is_old on every second one, plan_name on none
    assert sizes == [50, 100 * (1 + 4) + 50]


def test_reasons_are_the_largest_in_words(tmp_path: Path) -> None:
    explainer = Explainer(Formula(tmp_path, linear))
    means = {name: float(explainer.background[name].mean()) for name in NUMBERS}
    customer = CUSTOMER | {name: means[name] for name in NUMBERS} | {"a": means["a"] + 0.25, "b": means["b"] + 0.5}
    assert [reason.partition(": ")[2] for reason in explainer.explain(customer)["reasons"]] == [
        "raises the probability by 10.0 points",
        "lowers the probability by 5.0 points",
    ]


@pytest.mark.parametrize(
    ("feature", "value", "contribution", "sentence"),
    [
        ("a", 24.0, 0.123, "a is 24 months: raises the probability by 12.3 points"),
        ("a", None, -0.2, "a is missing: lowers the probability by 20.0 points"),
        ("b", 1234567.25, 0.01, "b is 1234567.25: raises the probability by 1.0 points"),
        ("b", 1.0, 0.01, "b is 1: raises the probability by 1.0 points"),
        ("plan_name", "gold", -0.0612, "plan name is gold: lowers the probability by 6.1 points"),
        ("is_old", True, 0.5, "is old is yes: raises the probability by 50.0 points"),
        ("is_old", False, 0.5, "is old is no: raises the probability by 50.0 points"),
    ],
)
def test_a_reason_reads_as_a_sentence(
    feature: str, value: Any, contribution: float, sentence: str, tmp_path: Path
) -> None:
    explainer = Explainer(Formula(tmp_path, linear))
    assert explainer.in_words({"feature": feature, "value": value, "contribution": contribution}) == sentence


def test_a_large_golden_sample_does_not_make_explanations_slow(tmp_path: Path) -> None:
    explainer = Explainer(Formula(tmp_path, linear, background=1_001))
    assert MAX_BACKGROUND / 2 < explainer.n <= MAX_BACKGROUND


def test_edge_customers_of_a_small_table_are_no_background(tmp_path: Path) -> None:
    scorer = Formula(tmp_path, linear)
    scorer.release.card["data"]["test_customers"] = 30
    assert Explainer(scorer).n == 30
