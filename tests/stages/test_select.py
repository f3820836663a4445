"""select: the winner by any score, calibrated where that helps, with the threshold that earns most."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from churn.calibration import sigmoid, stretch
from churn.params import read_section
from churn.profit import Profit
from churn.schema import TARGET
from churn.script import InputError
from stages.select import (
    Selection,
    by_threshold,
    cross_calibrated,
    cross_weighted,
    losses,
    main,
    mean_of,
    select,
    weighted,
    winner,
)

PROFIT = Profit(customer_value=400.0, offer_cost=40.0, offer_success=0.3)
KNOBS: dict[str, Any] = {
    "metric": "roc_auc", "one_standard_error": False, "ensemble": "never", "calibrate": "never", "threshold": "profit",
}  # fmt: skip
N = 3000
RNG = np.random.default_rng(5)
TRUTH = sigmoid(RNG.normal(-1, 1.2, N))
CHURNED = (RNG.random(N) < TRUTH).astype("int64")
FOLDS = np.arange(N) % 5
WORTH = PROFIT.worth({}, N)
ONCE = np.ones(N)


def oof(p: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"fold": np.arange(len(p)) % 5, "p": p})


def chosen(models: dict[str, np.ndarray], churned: np.ndarray = CHURNED, **knobs: Any) -> Selection:
    return select(churned, {name: oof(p) for name, p in models.items()}, PROFIT, WORTH, **KNOBS | knobs)


# the winner


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "brier", "log_loss", "accuracy", "f1", "recall"])
def test_the_better_model_wins_by_any_score(metric: str) -> None:
    noise = np.random.default_rng(6).normal(0, 2, N)
    models = {"noisy": stretch(sigmoid(np.log(TRUTH / (1 - TRUTH)) + noise), 1, -0.5), "true": TRUTH}
    if metric == "recall":  # whoever flags more has more of it
        models["true"] = stretch(TRUTH, 1, 2)
    assert chosen(models, metric=metric).name == "true"
    assert chosen(dict(reversed(models.items())), metric=metric).name == "true"


def test_a_model_that_orders_better_but_exaggerates_loses_by_its_losses() -> None:
    models = {"modest": stretch(TRUTH, 0.9, 0), "wild": stretch(TRUTH, 8, 0)}
    models["modest"] = np.where(np.arange(N) % 10 == 0, 0.25, models["modest"])
    assert [chosen(models, metric=metric).name for metric in ("roc_auc", "brier", "log_loss")] == [
        "wild", "modest", "modest",
    ]  # fmt: skip


def test_the_mean_is_over_folds_and_the_error_that_of_the_mean() -> None:
    found = chosen({"one": TRUTH}).metrics
    folds = [roc_auc_score(CHURNED[k::5], TRUTH[k::5]) for k in range(5)]
    assert found["roc_auc_one"] == pytest.approx(np.mean(folds))
    assert found["roc_auc_standard_error"] == pytest.approx(np.std(folds, ddof=1) / 5**0.5)


@pytest.mark.parametrize(
    ("rule", "lower_is_better", "means", "name"),
    [
        (False, False, [0.80, 0.84, 0.85], "c"),
        (True, False, [0.80, 0.84, 0.85], "b"),
        (True, False, [0.8401, 0.86, 0.85], "a"),  # the error is the best one's, .02, not the first one's
        (True, False, [0.80, 0.82, 0.85], "c"),
        (False, True, [0.30, 0.21, 0.20], "c"),
        (True, True, [0.30, 0.209, 0.20], "b"),
        (True, True, [0.20, 0.21, 0.22], "a"),
    ],
)
def test_the_rule_takes_the_first_within_one_standard_error_of_the_best(
    rule: bool, lower_is_better: bool, means: list[float], name: str
) -> None:
    errors = {"a": 0.0001, "b": 0.02, "c": 0.0101}
    found = winner(
        dict(zip("abc", means, strict=True)), errors, lower_is_better=lower_is_better, one_standard_error=rule
    )
    assert found == name


def test_the_rule_reads_the_order_of_the_models() -> None:
    models = {"simple": TRUTH, "complex": np.clip(TRUTH + np.where(CHURNED == 1, 0.002, -0.002), 0, 1)}
    assert chosen(models).name == "complex"
    assert chosen(models, one_standard_error=True).name == "simple"


def test_a_customer_who_counts_twice_is_one_who_stands_twice() -> None:
    models = {"a": noisy(1), "b": noisy(2)}
    counted = np.where(TRUTH > 0.4, 2.0, 1.0)
    rows = np.repeat(np.arange(N), counted.astype("int64"))
    stacked = {name: oof(p).iloc[rows] for name, p in models.items()}
    knobs = KNOBS | {"ensemble": "auto", "calibrate": "always"}
    one = select(CHURNED, {name: oof(p) for name, p in models.items()}, PROFIT, WORTH, counted, **knobs)
    other = select(CHURNED[rows], stacked, PROFIT, PROFIT.worth({}, len(rows)), **knobs)
    for key, value in other.metrics.items():
        if not key.endswith("gain_error"):  # of so many customers, and they are fewer
            assert one.metrics[key] == (pytest.approx(value, abs=1e-9) if isinstance(value, float) else value), key
    assert one.metrics["ensemble_log_loss_gain_error"] > 1.02 * other.metrics["ensemble_log_loss_gain_error"]
    pd.testing.assert_frame_equal(one.by_threshold, other.by_threshold)


# the ensemble


def noisy(seed: int, size: float = 1.0) -> np.ndarray:
    return sigmoid(np.log(TRUTH / (1 - TRUTH)) + np.random.default_rng(seed).normal(0, size, N))


def test_models_that_err_apart_are_averaged_and_the_sum_of_weights_is_one() -> None:
    models = {"a": noisy(1), "b": noisy(2), "c": noisy(3)}
    found = chosen(models, ensemble="auto")
    assert found.name == "ensemble"
    assert set(found.weights) == set(models)
    assert sum(found.weights.values()) == pytest.approx(1)
    assert found.metrics["roc_auc_ensemble"] > max(found.metrics[f"roc_auc_{name}"] for name in models) + 0.01
    assert [found.metrics[f"weight_{name}"] for name in models] == [found.weights[name] for name in models]
    assert chosen(models).name != "ensemble"


def test_one_model_is_preferred_where_others_bring_no_more_than_chance() -> None:
    models = {"true": TRUTH, "noisy": noisy(4, 0.3)}
    assert chosen(models, ensemble="auto").name == "true"
    assert chosen({"a": noisy(1), "true": TRUTH, "far": noisy(2, 3)}, ensemble="auto").weights == {"true": 1.0}


def test_nobody_s_outcome_chooses_the_weights_of_their_own_score() -> None:
    p = {"a": noisy(1), "b": noisy(2)}
    flipped = np.where(FOLDS == 0, 1 - CHURNED, CHURNED)
    crossed, weights = cross_weighted(CHURNED, p, FOLDS, ONCE)
    other, other_weights = cross_weighted(flipped, p, FOLDS, ONCE)
    assert weights != other_weights
    assert (crossed[FOLDS == 0] == other[FOLDS == 0]).all()
    assert (crossed[FOLDS == 1] != other[FOLDS == 1]).any()


def test_the_crossed_score_of_useless_models_promises_nothing() -> None:
    """On a shuffled outcome the weights that fit best still gain by chance; the crossed score shows none of it."""
    gains = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        churned, p = rng.permutation(CHURNED), {name: rng.normal(0.3, 0.02, N) for name in "abcdef"}
        crossed, weights = cross_weighted(churned, p, FOLDS, ONCE)
        gains.append([roc_auc_score(churned, q) - 0.5 for q in (crossed, mean_of(p, weights))])
    crossed_gain, fitted_gain = np.mean(gains, axis=0)
    assert abs(crossed_gain) < 0.0075  # three standard errors of the mean of 20
    assert fitted_gain > 0.015


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_the_weighted_mean_is_never_worse_than_each_model_by_its_own_measure(seed: int) -> None:
    p = {name: noisy(seed + i, 0.5 + i) for i, name in enumerate("abc")}
    weights = weighted(CHURNED, p, ONCE)
    assert losses(CHURNED, mean_of(p, weights)).mean() <= min(losses(CHURNED, q).mean() for q in p.values()) + 1e-12


def test_customers_that_were_not_cross_validated_count_nowhere() -> None:
    models = {"a": oof(noisy(1)), "b": oof(noisy(2))}
    out = [pd.concat([model, pd.DataFrame({"fold": [-1] * 9, "p": [np.nan] * 9})]) for model in models.values()]
    more = dict(zip(models, (frame.reset_index(drop=True) for frame in out), strict=True))
    knobs = KNOBS | {"ensemble": "auto", "calibrate": "auto"}
    few = select(CHURNED, models, PROFIT, WORTH, **knobs)
    many = select(np.r_[CHURNED, np.ones(9, "int64")], more, PROFIT, np.full(N + 9, 400.0), **knobs)
    assert many.metrics == few.metrics
    assert many.out_of_fold["p"].isna().sum() == 9


# calibration

FLAT = stretch(TRUTH, 0.4, 0.6)  # the same order as TRUTH, and probabilities that are off


@pytest.mark.parametrize(
    ("p", "calibrate", "applied"),
    [
        (FLAT, "auto", True), (FLAT, "never", False), (FLAT, "always", True),
        (TRUTH, "auto", False), (TRUTH, "never", False), (TRUTH, "always", True),
    ],
)  # fmt: skip
def test_calibration_is_applied_where_it_helps_or_is_asked_for(p: np.ndarray, calibrate: str, applied: bool) -> None:
    found = chosen({"one": p}, calibrate=calibrate)
    assert found.metrics["calibration_applied"] == applied
    assert ((found.slope, found.intercept) == (1.0, 0.0)) != applied
    assert (found.out_of_fold["p"].to_numpy() == p).all() != applied
    assert found.metrics["calibration_slope"] == found.slope


def test_calibration_finds_the_truth_again() -> None:
    found = chosen({"one": FLAT}, calibrate="auto")
    assert found.slope == pytest.approx(1 / 0.4, abs=0.2)
    np.testing.assert_allclose(stretch(FLAT, found.slope, found.intercept), TRUTH, atol=0.05)


def test_nobody_is_calibrated_by_their_own_outcome() -> None:
    flipped = CHURNED.copy()
    flipped[0] = 1 - flipped[0]
    crossed, _, _ = cross_calibrated(CHURNED, FLAT, FOLDS, ONCE)
    other, _, _ = cross_calibrated(flipped, FLAT, FOLDS, ONCE)
    assert (crossed[::5] == other[::5]).all()  # customer 0's fold
    assert (crossed[1::5] != other[1::5]).all()


def test_the_gain_is_the_log_loss_it_takes_away() -> None:
    crossed, gain, error = cross_calibrated(CHURNED, FLAT, FOLDS, ONCE)
    gains = losses(CHURNED, FLAT) - losses(CHURNED, crossed)
    assert (gain, error) == pytest.approx((gains.mean(), gains.std(ddof=1) / N**0.5))
    assert gain > 0.1
    assert losses(np.array([1, 0]), np.array([0.5, 0.5])) == pytest.approx(np.log([2, 2]))


# the threshold

Y, P = np.array([1, 0, 1, 0, 0]), np.array([0.9, 0.7, 0.6, 0.3, 0.1])


def test_each_threshold_has_its_profit_f1_precision_and_recall() -> None:
    table = by_threshold(Y, P, PROFIT, WORTH[:5], ONCE[:5]).set_index("threshold")
    assert len(table) == 199
    # three flagged, two of them leave: 2 * (.3 * 400 - 40) - 40 over five customers
    assert table.loc[0.5].tolist() == pytest.approx([24, 0.8, 2 / 3, 1])
    assert table.loc[0.95].tolist() == pytest.approx([0, 0, 0, 0])
    assert table.loc[0.9].tolist() == pytest.approx([16, 2 / 3, 1, 0.5])  # p equal to the threshold is flagged


@pytest.mark.parametrize(("threshold", "value"), [("profit", 0.305), ("f1", 0.305), (0.77, 0.77)])
def test_the_threshold_is_the_lowest_best_one_or_the_number(threshold: str | float, value: float) -> None:
    folds = {"one": pd.DataFrame({"fold": np.arange(20) % 2, "p": np.repeat(P, 4)})}
    found = select(np.repeat(Y, 4), folds, PROFIT, WORTH[:20], **KNOBS | {"threshold": threshold})
    assert found.threshold == pytest.approx(value)
    assert found.metrics["threshold_by"] == (threshold if isinstance(threshold, str) else "params")


def test_profit_and_f1_may_disagree() -> None:
    dear = replace(PROFIT, offer_cost=100.0)
    folds = {"one": oof(TRUTH)}
    by = {t: select(CHURNED, folds, dear, WORTH, **KNOBS | {"threshold": t}).threshold for t in ("profit", "f1")}
    assert by["profit"] == pytest.approx(100 / 120, abs=0.1)  # offers pay where p > cost / (success * value)
    assert by["f1"] < 0.5


def test_the_metrics_tell_what_the_threshold_earns() -> None:
    found = chosen({"one": TRUTH})
    row = found.by_threshold.set_index("threshold").loc[found.threshold]
    assert found.metrics["profit_per_customer"] == pytest.approx(row["profit"]) == found.by_threshold["profit"].max()
    assert found.metrics["f1"] == pytest.approx(row["f1"])
    assert found.metrics["flagged_share"] == (found.threshold <= TRUTH).mean()


def test_customers_worth_more_move_the_threshold_and_the_profit() -> None:
    worth = np.where(TRUTH > 0.4, 4000.0, 40.0)
    found = select(CHURNED, {"one": oof(TRUTH)}, PROFIT, worth, **KNOBS)
    expected = PROFIT.of(CHURNED, found.threshold <= TRUTH, worth).mean()
    assert found.metrics["profit_per_customer"] == pytest.approx(expected)
    assert found.threshold > chosen({"one": TRUTH}).threshold


# the command


@pytest.fixture
def run_main(project: Path, elsewhere: Callable[..., Path]) -> Callable[..., Path]:
    def run(knobs: dict[str, Any] | None = None, candidates: Path | None = None) -> Path:
        here = elsewhere(knobs)
        main(project / "data/features/train.parquet", candidates or project / "models/candidates")
        return here

    return run


def test_the_winner_s_files_are_taken_over(run_main: Callable[..., Path], project: Path) -> None:
    here = run_main({"select.metric": "brier", "select.ensemble": "never"})
    metrics = json.loads((here / "metrics/select.json").read_text())
    brier = {name: metrics[f"brier_{name}"] for name in read_section("train.models")}
    assert metrics["winner"] == min(brier, key=lambda name: brier[name])
    model = project / f"models/candidates/{metrics['winner']}/model.joblib"
    (member,) = (here / "models/selected/members").iterdir()
    assert (member.name, member.read_bytes()) == (f"{metrics['winner']}.joblib", model.read_bytes())
    kept = pd.read_parquet(here / "models/selected/oof.parquet")
    assert len(kept) == len(pd.read_parquet(project / "data/features/train.parquet", columns=[TARGET]))
    plot = pd.read_csv(here / "metrics/plots/select/threshold.csv")
    assert list(plot) == ["threshold", "profit", "f1", "precision", "recall"]


def test_a_candidate_that_the_params_do_not_name_is_refused(
    run_main: Callable[..., Path], project: Path, tmp_path: Path
) -> None:
    candidates = shutil.copytree(project / "models/candidates", tmp_path / "candidates")
    (candidates / "old").mkdir()
    with pytest.raises(InputError) as error:
        run_main(candidates=candidates)
    assert str(error.value) == f"{candidates} holds ['old'], which train.models does not name; remove those folders"


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("select.metric", "auc"), ("select.calibrate", "maybe"), ("select.threshold", 1.5),
        ("select.threshold", "revenue"), ("profit.offer_success", 0), ("profit.customer_value", -1),
    ],
    ids=str,
)  # fmt: skip
def test_a_knob_out_of_range_is_named(knob: str, value: Any, run_main: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=rf"^params.yaml: {knob}"):
        run_main({knob: value})
