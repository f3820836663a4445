"""Rates by group: fairlearn's numbers, intervals that hold at once as often as they say, small groups masked."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_score, recall_score

from churn.calibration import sigmoid
from churn.fairness import MEASURES, MISSING, RATES, by_group, critical, distances, ratios

THRESHOLD = 0.35
MOVED = {"a": -1.4, "b": -1.0, "c": -0.6}  # group -> the mean of its customers' log odds


def world(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Outcomes, honest probabilities, and two columns of groups, of which the first matters."""
    rng = np.random.default_rng(seed)
    kind = rng.choice([*MOVED], n)
    p = sigmoid(rng.normal(pd.Series(kind).map(MOVED).to_numpy(), 1.2))
    groups = pd.DataFrame({"kind": kind, "half": np.where(rng.random(n) < 0.5, "left", "right")})
    return (rng.random(n) < p).astype("int64"), p, groups


def measured(churned: np.ndarray, p: np.ndarray, groups: pd.DataFrame, least: tuple[int, int] = (30, 10)) -> Any:
    flagged = p >= THRESHOLD
    return by_group(ratios(churned, flagged, p, flagged * (churned * 120.0 - 40)), churned, groups, *least, seed=1)


def test_rates_differences_and_ratios_are_fairlearn_s() -> None:
    metrics = pytest.importorskip("fairlearn.metrics", reason="fairlearn is not installed: make setup does it")
    churned, p, groups = world(3_000, seed=2)
    found = measured(churned, p, groups)
    gaps = distances(found)
    oracle = {
        "selection_rate": metrics.selection_rate,
        "recall": recall_score,
        "precision": precision_score,
        "false_positive_rate": metrics.false_positive_rate,
    }
    for column in groups:
        rows = found[found["column"] == column].set_index("group")
        frame = metrics.MetricFrame(
            metrics=oracle, y_true=churned, y_pred=p >= THRESHOLD, sensitive_features=groups[column]
        )
        assert rows["customers"].to_dict() == groups[column].value_counts().to_dict()
        for name in RATES:
            assert rows[name].tolist() == pytest.approx(frame.by_group[name].tolist(), abs=1e-12)
            assert gaps[column][f"{name}_difference"] == pytest.approx(frame.difference()[name], abs=1e-12)
            assert gaps[column][f"{name}_ratio"] == pytest.approx(frame.ratio()[name], abs=1e-12)


def test_a_customer_who_counts_more_often_is_so_many_but_tells_of_one() -> None:
    churned, p, groups = world(2_000, seed=4)
    counted = np.where(p > 0.4, 5.0, 1.0)
    rows = np.repeat(np.arange(len(p)), counted.astype("int64"))
    flagged, earned = p >= THRESHOLD, (p >= THRESHOLD) * (churned * 120.0 - 40)
    one = by_group(ratios(churned, flagged, p, earned, counted), churned, groups, 30, 10, seed=1)
    other = by_group(
        ratios(*(each[rows] for each in (churned, flagged, p, earned))), churned[rows], groups.iloc[rows], 30, 10, 1
    )
    for name in MEASURES:
        assert one[name].tolist() == pytest.approx(other[name].tolist(), abs=1e-12)
    for name in ("selection_rate", "bias"):
        width, too_small = (found[f"{name}_high"] - found[f"{name}_low"] for found in (one, other))
        assert (width > 1.2 * too_small).all()


def test_bias_and_profit_are_means() -> None:
    churned, p, groups = world(500, seed=3)
    found = measured(churned, p, groups).set_index("group")
    inside = (groups["kind"] == "b").to_numpy()
    assert found.loc["b", "bias"] == pytest.approx(p[inside].mean() - churned[inside].mean())
    earned = ((p >= THRESHOLD) * (churned * 120.0 - 40))[inside]
    assert found.loc["b", "profit_per_customer"] == pytest.approx(earned.mean())


@pytest.mark.slow
def test_all_intervals_hold_at_once_in_95_of_100_cases() -> None:
    truth = measured(*world(1_000_000, seed=0))[list(MEASURES)].to_numpy()
    held = 0
    for seed in range(1, 1_001):
        found = measured(*world(1_500, seed))
        low, high = (found[[f"{name}{end}" for name in MEASURES]].to_numpy() for end in ("_low", "_high"))
        held += bool(((low <= truth) & (truth <= high)).all())
    assert held / 1_000 == pytest.approx(0.95, abs=0.014)


def test_differences_and_ratios_lie_within_their_intervals() -> None:
    for seed in range(20):
        for gaps in distances(measured(*world(400, seed))).values():
            for key in gaps:
                if key.endswith(("_difference", "_ratio")):
                    assert 0 <= gaps[f"{key}_low"] <= gaps[key] <= gaps[f"{key}_high"]  # type: ignore[operator]


def test_the_critical_value_knows_how_many_looks_there_are_and_that_copies_are_one() -> None:
    rng = np.random.default_rng(4)
    one, *more = (rng.normal(size=2_000) for _ in range(20))
    assert critical([one], 1) == pytest.approx(1.96, abs=0.03)
    assert critical([one] * 20, 1) == pytest.approx(critical([one], 1), abs=0.03)
    assert critical([one, *more[:19]], 1) == pytest.approx(3.02, abs=0.06)  # 20 looks of Sidak
    assert critical([one, np.zeros(2_000)], 1) > critical([one], 1)


def test_a_small_group_is_named_and_no_size_from_which_its_own_follows() -> None:
    churned, p, groups = world(600, seed=5)
    groups.loc[:11, "kind"] = "rare"
    groups.loc[:400, "half"] = None
    found = measured(churned, p, groups).set_index(["column", "group"])
    assert found.loc[("kind", "rare"), "masked"]
    assert found.loc[("kind", "rare"), list(MEASURES)].isna().all()
    assert found.loc["kind", "customers"].isna().all()
    assert found.loc[("half", MISSING), "customers"] == 401
    gaps = distances(found.reset_index())
    assert (gaps["kind"]["groups"], gaps["kind"]["groups_masked"]) == (3, 1)


def test_a_group_in_which_hardly_anybody_left_is_masked() -> None:
    churned, p, groups = world(600, seed=6)
    churned[groups["kind"] == "a"] = 0
    found = measured(churned, p, groups).set_index("group")
    assert found["masked"].to_dict() == {"a": True, "b": False, "c": False, "left": False, "right": False}


def test_one_group_is_apart_from_nobody() -> None:
    churned, p, groups = world(100, seed=7)
    gaps = distances(measured(churned, p, groups.assign(half="whole")[["half"]]))["half"]
    assert {value for key, value in gaps.items() if not key.startswith("groups")} == {None}


def test_no_columns_are_no_rows() -> None:
    churned, p, groups = world(100, seed=8)
    found = measured(churned, p, groups[[]])
    assert (len(found), distances(found)) == (0, {})


def test_a_rate_of_nobody_is_left_open() -> None:
    churned, _, groups = world(300, seed=9)
    found = measured(churned, np.full(300, 0.1), groups)
    assert found["precision"].isna().all()
    assert found["selection_rate"].eq(0).all()
    assert distances(found)["kind"]["selection_rate_ratio"] is None
