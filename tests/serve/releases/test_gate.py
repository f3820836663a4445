"""A promotion is refused where the candidate may be worse than is allowed; the numbers say why."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sqlalchemy import insert

from churn.calibration import logit, sigmoid, stretch
from churn.params import read_knobs, read_params
from churn.profit import Profit
from churn.release import HOLDOUT, open_release
from churn.scorer import Scorer
from churn.script import InputError
from serve.log.database import connect
from serve.log.migrate import migrate
from serve.log.outcomes import labelled
from serve.log.tables import first_id, outcomes, predictions
from serve.releases.gate import Table, check, judge, levels, passed
from serve.releases.store import Store
from tests.conftest import ROOT
from tests.factories import opposite_release, other_release, reseal

KNOBS = read_params("gate", judge, ROOT / "params.yaml")
PROFIT = read_knobs("profit", Profit, ROOT / "params.yaml")
N = 1_000
LASTS = timedelta(days=90)


class Fixed:
    """A scorer that says p, whoever comes."""

    def __init__(self, p: np.ndarray, threshold: float = 0.33):
        self.p, self.features = p, []
        self.release = SimpleNamespace(version=f"at {threshold}", card={"threshold": {"value": threshold}})

    def score(self, columns: object) -> np.ndarray:
        return self.p


def world(seed: int, n: int = N) -> tuple[np.ndarray, Table]:
    """Honest probabilities, and customers who churn by them; half of them live in town."""
    rng = np.random.default_rng(seed)
    p = sigmoid(rng.normal(-1.3, 1.6, n))
    town = np.where(rng.random(n) < 0.5, "town", "country").astype(object)
    return p, Table({"home": town}, (rng.random(n) < p).astype("int64"), np.ones(n))


def noisy(p: np.ndarray, deviation: float, seed: int = 9) -> np.ndarray:
    return sigmoid(logit(p) + np.random.default_rng(seed).normal(0, deviation, len(p)))


def judged(champion: np.ndarray, candidate: np.ndarray, table: Table, **knobs: Any) -> dict[str, Any]:
    sides = (cast(Scorer, Fixed(champion)), cast(Scorer, Fixed(candidate)))
    return judge(*sides, {"test": table}, PROFIT, ["home", "not there"], ["home", "age"], **KNOBS | knobs)


@given(st.integers(0, 1000))
def test_a_twin_passes_with_differences_of_zero(seed: int) -> None:
    p, table = world(seed, 60)
    found = judged(p, p, table, resamples=100)
    if found["measures"]:  # else the draw has too few of an outcome
        assert found["passed"]
        assert {row["difference"] for row in found["measures"]} == {row["bound"] for row in found["measures"]} == {0}


def test_a_much_worse_candidate_is_refused_with_the_numbers() -> None:
    p, table = world(1)
    found = judged(p, noisy(p, 1.5), table)
    assert not found["passed"]
    refused = {row["measure"] for row in found["measures"] if not row["passed"]}
    assert {"roc_auc", "brier"} <= refused
    (words,) = [reason for reason in found["reasons"] if "roc_auc" in reason]
    row = found["measures"][0]
    assert words == (
        f"test: roc_auc {row['candidate']:.4f} against {row['champion']:.4f}, {row['difference']:+.4f}, "
        f"may be {row['bound']:+.4f}; allowed is -0.0100"
    )


def test_a_better_candidate_passes() -> None:
    p, table = world(1)
    assert judged(noisy(p, 1.5), p, table)["passed"]


@pytest.mark.slow
def test_the_bound_is_the_bad_end_of_the_difference() -> None:
    p, table = world(3)
    for row in judged(p, noisy(p, 0.3), table)["measures"]:
        is_loss = row["measure"] == "brier"
        assert (row["bound"] > row["difference"]) == is_loss
        assert row["margin"] > 0 if is_loss else row["margin"] < 0


def test_a_margin_of_zero_asks_for_better() -> None:
    p, table = world(4)
    strict = dict.fromkeys(KNOBS["margins"], 0.0)
    assert not judged(p, noisy(p, 0.1), table, margins=strict)["passed"]


@pytest.mark.slow
def test_a_non_inferior_candidate_seldom_fails_and_an_inferior_one_seldom_passes() -> None:
    """Over 20 worlds; a candidate exactly at the margin would pass in 5 % of them."""
    margins = {"roc_auc": 0.02, "average_precision": 1.0, "brier": 1.0, "profit": 1e9}
    good, bad = 0, 0
    for seed in range(20):
        p, table = world(seed, 2_000)
        knobs = {"margins": margins, "resamples": 100, "slice_margin": 1.0}
        good += judged(p, noisy(p, 0.15, 1000 + seed), table, **knobs)["passed"]
        bad += judged(p, noisy(p, 0.8, 1000 + seed), table, **knobs)["passed"]
    assert good >= 19
    assert bad <= 2


def test_a_slice_that_is_ranked_clearly_worse_is_named() -> None:
    p, table = world(5, 2_500)
    town = table.columns["home"] == "town"
    mixed = np.where(town, noisy(p, 1.0), p)
    loose = dict.fromkeys(KNOBS["margins"], 1e9)
    found = judged(p, mixed, table, margins=loose, resamples=200)
    assert [row["slice"] for row in found["slices_worse"]] == ["home = town"]
    country, in_town = found["slices"]
    assert (country["slice"], country["champion"]) == ("home = country", country["candidate"])
    assert in_town["candidate"] - in_town["champion"] == pytest.approx(found["slices_worse"][0]["difference"], abs=2e-6)
    assert found["reasons"][0].startswith(f"test: home = town (n = {town.sum()}) ranks clearly worse, ROC AUC -0.")
    assert judged(p, mixed, table, margins=loose, slice_margin=0.5, resamples=100)["passed"]


def test_groups_that_come_further_apart_are_refused_where_a_margin_is_set() -> None:
    p, table = world(5, 2_500)
    shifted = np.where(table.columns["home"] == "town", stretch(p, 1, 1), p)  # more offers to one home than before
    loose: dict[str, Any] = {"margins": dict.fromkeys(KNOBS["margins"], 1e9), "slice_margin": 1, "resamples": 200}
    found = judged(p, shifted, table, **loose, fairness_margin=0.05)
    assert not found["passed"]
    assert found["fairness_unknown"] == ["age"]
    selected, recall = found["fairness"]
    assert (selected["measure"], recall["measure"]) == ("selection_rate", "recall")
    assert selected["low"] <= selected["difference"] <= selected["high"]
    assert found["reasons"][0].startswith(
        f"test: selection_rate differs by {selected['candidate']:.4f} between groups of home, by the champion "
    )
    assert judged(p, shifted, table, **loose, fairness_margin=0.5)["passed"]
    unasked = judged(p, shifted, table, **loose)
    assert unasked["passed"]
    assert "fairness" not in unasked


def test_the_largest_differences_are_those_of_the_groups() -> None:
    p, table = world(6, 800)
    found = judged(p, noisy(p, 0.5), table, fairness_margin=1, resamples=100)
    for row, among in zip(found["fairness"], (np.ones(800), table.churned), strict=True):
        rates = [np.average(p[of] >= 0.33, weights=among[of]) for of in levels(table.columns, ["home"]).values()]
        assert row["champion"] == pytest.approx(np.ptp(rates), abs=1e-6)


def test_too_few_held_out_customers_are_a_refusal() -> None:
    p, table = world(6, 20)
    found = judged(p, p, table)
    assert found["reasons"] == [f"test: 20 customers, {table.churned.sum()} of them churned, are too few to compare on"]


def test_few_outcomes_of_production_are_left_out() -> None:
    p, table = world(7)
    few = Table({}, table.churned[:299], np.ones(299))
    sides = (cast(Scorer, Fixed(p)), cast(Scorer, Fixed(p)))
    found = judge(*sides, {"test": table, "production": few}, PROFIT, [], **KNOBS)
    assert (found["passed"], found["customers"]) == (True, {"test": N, "production": 299})
    assert {row["data"] for row in found["measures"]} == {"test"}


def test_a_missing_value_is_no_level() -> None:
    columns = {"a": np.array(["x", None, "y"], dtype=object), "b": np.array([1.0, np.nan, 0.0])}
    assert list(levels(columns, ["a", "b"])) == ["a = x", "a = y", "b = 0.0", "b = 1.0"]


# on a store


@pytest.fixture
def store(released: Path, tmp_path: Path) -> Store:
    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "r"), "r")
    return store


@pytest.fixture
def log_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


def test_the_first_release_has_nobody_to_be_compared_with(released: Path, tmp_path: Path, log_url: str) -> None:
    store = Store(tmp_path / "empty")
    assert check(store, store.add(released, "r"), log_url)["passed"]


def test_a_release_of_the_opposite_opinion_is_refused_unless_it_is_forced(
    store: Store, released: Path, tmp_path: Path, log_url: str
) -> None:
    version = store.add(opposite_release(released, tmp_path / "opposite"), "r")
    with pytest.raises(InputError, match=rf"{version} does not pass the gate; --force overrides it\ntest: roc_auc"):
        passed(store, version, log_url, force=False)
    found = passed(store, version, log_url, force=True)
    assert (found["passed"], found["forced"]) == (False, True)
    json.dumps(found)  # the ledger keeps it
    assert not Path(log_url.removeprefix("sqlite:///")).exists()


def test_a_release_can_be_compared_with_another_than_the_champion(
    store: Store, released: Path, tmp_path: Path, log_url: str
) -> None:
    opposite = store.add(opposite_release(released, tmp_path / "opposite"), "r")
    found = check(store, str(store.state()["champion"]), log_url, opposite)
    assert (found["passed"], found["champion"]) == (True, opposite)
    with pytest.raises(InputError, match="has no release '0'"):
        check(store, opposite, log_url, "0")


def test_customers_of_the_holdout_count_as_often_as_it_says(
    store: Store, released: Path, tmp_path: Path, log_url: str
) -> None:
    bundle = other_release(released, tmp_path / "weighted")
    lines = open_release(bundle).holdout()
    weights = [9.0 if line["customer"]["internet_service"] == "Fiber optic" else 1.0 for line in lines]
    held_out = [{**line, "weight": weight} for line, weight in zip(lines, weights, strict=True)]
    (bundle / HOLDOUT).write_text("".join(json.dumps(line) + "\n" for line in held_out))
    reseal(bundle)
    measures = check(store, store.add(bundle, "r"), log_url)["measures"]
    found = next(row["champion"] for row in measures if (row["data"], row["measure"]) == ("test", "roc_auc"))
    p = Scorer.open(store.champion()).probabilities([line["customer"] for line in lines])
    churned = [line["churned"] for line in lines]
    assert found == pytest.approx(roc_auc_score(churned, p, sample_weight=weights), abs=1e-6)
    assert found != pytest.approx(roc_auc_score(churned, p), abs=1e-3)


def test_a_release_whose_adding_was_cut_short_is_to_be_added_again(
    store: Store, released: Path, tmp_path: Path, log_url: str
) -> None:
    bundle = opposite_release(released, tmp_path / "opposite")
    version = open_release(bundle).version
    store.files.put(bundle, version, open_release)  # and then it was killed
    with pytest.raises(InputError, match="its adding was cut short; add it again"):
        passed(store, version, log_url, force=False)
    assert store.add(bundle, "r") == version
    assert not check(store, version, log_url)["passed"]


def test_what_production_saw_since_counts_and_what_it_saw_before_does_not(
    store: Store, released: Path, tmp_path: Path, log_url: str
) -> None:
    version = store.add(other_release(released, tmp_path / "other"), "r")
    golden = Scorer.open(store.champion()).release.golden()[:100] * 4
    churned = [line["churn_probability"] > np.median([g["churn_probability"] for g in golden]) for line in golden]
    now, early = datetime.now(UTC), datetime.now(UTC) - timedelta(days=1)
    fill(log_url, golden, churned, early, early)
    assert check(store, version, log_url)["customers"]["production"] == 0
    fill(log_url, golden, churned, now, now + timedelta(hours=1), "again")
    found = check(store, version, log_url)
    assert found["customers"]["production"] == 400
    assert {row["data"] for row in found["measures"]} == {"test", "production"}


def test_a_customer_whom_a_retraining_learned_from_does_not_count_when_their_next_outcome_comes(
    store: Store, released: Path, tmp_path: Path, log_url: str
) -> None:
    now, day = datetime.now(UTC), timedelta(days=1)
    lineage = {"until": (now - 30 * day).isoformat()}
    version = store.add(other_release(released, tmp_path / "other"), "r", lineage=lineage)
    golden = Scorer.open(store.champion()).release.golden()[:40]
    for days, name, known in ((40, "learned", 0), (20, "younger", 40)):
        fill(log_url, golden, [False] * 40, now - days * day, now + day, name)
        assert check(store, version, log_url)["customers"]["production"] == known


def fill(
    url: str, golden: list[dict[str, Any]], churned: list[bool], at: datetime, received: datetime, name: str = "c"
) -> None:
    """A log of customers who were answered at one moment and whose outcome came at another."""
    engine = connect(url)
    migrate(engine)
    rows = [prediction(f"{name}-{i}", f"{first_id(at)}{name}{i:05d}", at, g["customer"]) for i, g in enumerate(golden)]
    became = [outcome(f"{name}-{i}", received, left) for i, left in enumerate(churned)]
    with engine.begin() as connection:
        connection.execute(insert(predictions), rows)
        connection.execute(insert(outcomes), became)


def prediction(customer: str, id_: str, at: datetime, features: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": id_, "request_id": f"r-{id_}", "at": at, "customer_id": customer, "features": features, "latency_ms": 1.0,
        "churn_probability": 0.5, "prediction": "churn", "threshold": 0.5, "model_version": "v", "arm": "champion",
        **more,
    }  # fmt: skip


def outcome(customer: str, at: datetime, churned: bool, request_id: str = "") -> dict[str, Any]:
    return {
        "customer_id": customer, "request_id": request_id, "observed_at": at, "churned": churned, "received_at": at,
    }  # fmt: skip


def test_a_customer_counts_once_with_the_last_outcome_and_the_last_answer_before_it(log_url: str) -> None:
    day = [datetime(2026, 1, n, tzinfo=UTC) for n in range(1, 9)]
    engine = connect(log_url)
    migrate(engine)
    rows = [
        prediction("a", "1", day[0], {"n": 1}), prediction("a", "2", day[2], {"n": 2}),
        prediction("a", "3", day[6], {"n": 3}),  # after the outcome
        prediction("b", "4", day[0], {"n": 4}), prediction("c", "5", day[0], {"n": 5}),
        prediction("c", "6", day[0], {}, arm="shadow", request_id="r-5"),
    ]  # fmt: skip
    became = [
        outcome("a", day[1], False), outcome("a", day[3], True), outcome("b", day[1], True),
        outcome("", day[4], False, "r-5"), outcome("nobody", day[4], True),
    ]  # fmt: skip
    with engine.begin() as connection:
        connection.execute(insert(predictions), rows)
        connection.execute(insert(outcomes), became)
    assert labelled(engine, day[0] - timedelta(1), LASTS)[:2] == ([{"n": 2}, {"n": 4}, {"n": 5}], [True, True, False])
    assert labelled(engine, day[1], LASTS)[:2] == ([{"n": 2}, {"n": 5}], [True, False])


def test_a_customer_whose_requests_all_have_outcomes_counts_once_too(log_url: str) -> None:
    day = [datetime(2026, 1, n, tzinfo=UTC) for n in range(1, 9)]
    engine = connect(log_url)
    migrate(engine)
    rows = [prediction(who, f"{who}{i}", day[i], {who: i}) for who in ("a", "b", "") for i in (1, 2, 3)]
    became = [outcome("", day[6], i == 2, f"r-{who}{i}") for who in ("a", "") for i in (1, 2)]
    became += [outcome("a", day[4], False), outcome("b", day[6], False), outcome("", day[5], True, "r-b3")]
    with engine.begin() as connection:
        connection.execute(insert(predictions), rows)
        connection.execute(insert(outcomes), became)
    found, churned, *_ = labelled(engine, day[0], LASTS)
    assert list(zip(found, churned, strict=True)) == [
        ({"": 1}, False), ({"": 2}, True), ({"a": 2}, True), ({"b": 3}, False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("knob", "value"), [("margins", {"roc_auc": 0.1}), ("min_outcomes", 1), ("slice_margin", -1), ("resamples", 1)]
)
def test_a_wrong_knob_names_itself(knob: str, value: object, elsewhere: Callable[..., Path]) -> None:
    folder = elsewhere({f"gate.{knob}": value})
    assert yaml.safe_load((folder / "params.yaml").read_text())["gate"][knob] == value
    with pytest.raises(InputError, match=rf"params.yaml: gate.*{knob}"):
        read_params("gate", judge)
