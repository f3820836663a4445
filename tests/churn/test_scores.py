"""The scores are scikit-learn's, ties and weights included, and any resample's at once."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from churn.scores import LOSSES, SCORES, ResampledScores, Scored, resamples, scores

# few different probabilities, so that many customers tie
ROWS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])), min_size=2, max_size=30
)
BOTH = ROWS.filter(lambda rows: 0 < sum(churned for churned, _ in rows) < len(rows))
Rows = list[tuple[int, float]]


def arrays(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    churned, p = zip(*rows, strict=True)
    return np.array(churned), np.array(p)


def peer(y: np.ndarray, p: np.ndarray, threshold: float, w: np.ndarray | None = None) -> dict[str, float]:
    flagged = p >= threshold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "roc_auc": metrics.roc_auc_score(y, p, sample_weight=w),
            "average_precision": metrics.average_precision_score(y, p, sample_weight=w),
            "brier": metrics.brier_score_loss(y, p, sample_weight=w),
            "log_loss": metrics.log_loss(y, p, sample_weight=w),
            "accuracy": metrics.accuracy_score(y, flagged, sample_weight=w),
            "f1": metrics.f1_score(y, flagged, sample_weight=w),
            "precision": metrics.precision_score(y, flagged, sample_weight=w, zero_division=0),
            "recall": metrics.recall_score(y, flagged, sample_weight=w),
        }


@given(BOTH, st.sampled_from([0.1, 0.3, 0.5, 1.0]))
def test_the_eight_scores_are_those_of_scikit_learn(rows: Rows, threshold: float) -> None:
    y, p = arrays(rows)
    found = scores(y, p, threshold)
    assert tuple(found) == SCORES
    assert found == pytest.approx(peer(y, p, threshold), abs=1e-12)


def test_they_are_on_probabilities_of_a_model_too() -> None:
    rng = np.random.default_rng(0)
    p = rng.beta(1, 3, 3000)
    y = (rng.random(3000) < p).astype("int64")
    assert scores(y, p) == pytest.approx(peer(y, p, 0.5), abs=1e-12)


@given(BOTH, st.data())
def test_a_weight_is_a_row_that_stands_so_often(rows: Rows, data: st.DataObject) -> None:
    y, p = arrays(rows)
    w = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(y), max_size=len(y))))
    often_y, often_p = np.repeat(y, w), np.repeat(p, w)
    if len(set(often_y.tolist())) < 2:
        return
    once, often = ResampledScores(y, p), ResampledScores(often_y, often_p)
    one, many = np.ones((1, len(often_y))), w[None].astype("float64")
    found = once.ranking(many) | once.flagging(many, 0.3)
    expected = often.ranking(one) | often.flagging(one, 0.3)
    # bins of calibration are cut where the sample's customers are, not the resample's; the lift is that of tied orders
    for name in set(expected) - {"ece", "lift_top_decile"}:
        assert found[name] == pytest.approx(expected[name], abs=1e-9), name


def test_resamples_are_scored_side_by_side() -> None:
    rng = np.random.default_rng(1)
    y, p = rng.integers(0, 2, 50), rng.random(50)
    w = rng.integers(0, 3, (4, 50)).astype("float64")
    model = ResampledScores(y, p)
    for name, values in (model.ranking(w) | model.flagging(w, 0.4)).items():
        apart = [(model.ranking(row[None]) | model.flagging(row[None], 0.4))[name][0] for row in w]
        assert values.tolist() == pytest.approx(apart, abs=1e-12), name


def test_the_order_of_customers_changes_no_score() -> None:
    rng = np.random.default_rng(2)
    y, p = rng.integers(0, 2, 200), rng.random(200)
    order = rng.permutation(200)
    assert scores(y[order], p[order]) == pytest.approx(scores(y, p), abs=1e-12)


def test_ece_is_the_mean_distance_of_ten_bins() -> None:
    p = np.repeat(np.arange(10) / 10 + 0.05, 10)
    y = np.concatenate([np.arange(10) < k for k in (1, 1, 2, 4, 4, 6, 6, 7, 9, 9)]).astype("int64")
    off = np.abs(np.arange(10) / 10 + 0.05 - np.array([1, 1, 2, 4, 4, 6, 6, 7, 9, 9]) / 10).mean()
    assert ResampledScores(y, p).ranking(np.ones((1, 100)))["ece"] == pytest.approx([off])


@pytest.mark.parametrize(("top", "lift"), [([1, 1], 4.0), ([1, 0], 2.0), ([0, 0], 0.0)])
def test_lift_is_the_top_decile_s_churn_rate_over_everybody_s(top: list[int], lift: float) -> None:
    churned = np.array([*top, *([1] * (5 - sum(top))), *([0] * (13 + sum(top)))])
    p = np.linspace(0.9, 0.1, 20)
    assert ResampledScores(churned, p).ranking(np.ones((1, 20)))["lift_top_decile"] == pytest.approx([lift])


def test_a_decile_that_cuts_through_a_customer_counts_the_part() -> None:
    churned, p = np.array([0, 1, 0, 0, 0]), np.array([0.9, 0.8, 0.3, 0.2, 0.1])
    assert ResampledScores(churned, p).ranking(np.full((1, 5), 3.0))["lift_top_decile"] == pytest.approx([0.0])
    assert ResampledScores(churned[1:], p[1:]).ranking(np.full((1, 4), 3.0))["lift_top_decile"] == pytest.approx([4.0])


def test_without_both_outcomes_there_is_no_ranking() -> None:
    found = ResampledScores(np.array([1, 1]), np.array([0.2, 0.3])).ranking(np.ones((1, 2)))
    assert np.isnan(found["roc_auc"]).all()
    assert found["brier"] == pytest.approx([(0.8**2 + 0.7**2) / 2])


def test_nobody_flagged_has_precision_and_f1_zero() -> None:
    found = scores(np.array([0, 1]), np.array([0.1, 0.2]), 0.9)
    assert (found["precision"], found["f1"], found["recall"], found["accuracy"]) == (0, 0, 0, 0.5)


def test_losses_are_scores() -> None:
    assert set(LOSSES) < set(SCORES)
    good, bad = (scores(np.array([0, 1]), np.array(p)) for p in ([0.1, 0.9], [0.4, 0.6]))
    assert {name for name in SCORES if good[name] < bad[name]} == set(LOSSES)


def test_blocks_of_resamples_draw_what_one_block_would() -> None:
    whole = np.concatenate(list(resamples(1_000_000, 3, seed=4)))
    assert [block.shape for block in resamples(1_000_000, 3, seed=4)] == [(2, 1_000_000), (1, 1_000_000)]
    assert (whole.sum(axis=1) == 1_000_000).all()
    rng = np.random.default_rng(4)
    assert (
        whole[2] == np.bincount([rng.integers(0, 1_000_000, 1_000_000) for _ in range(3)][2], minlength=10**6)
    ).all()


def test_the_measures_of_a_resample_are_those_of_its_customers() -> None:
    rng = np.random.default_rng(1)
    p, earned = rng.beta(1, 3, 200), rng.normal(size=200)
    churned = (rng.random(200) < p).astype("float64")
    (weights,) = resamples(200, 1, 3)
    again = np.repeat(np.arange(200), weights[0].astype(int))
    ranking = peer(churned[again], p[again], 0.5)
    expected = {name: ranking[name] for name in ("roc_auc", "average_precision", "brier")}
    expected |= {"churn_rate": churned[again].mean(), "profit_per_customer": earned[again].mean()}
    measured = Scored(churned, p, earned).measures(weights)
    assert {name: value[0] for name, value in measured.items()} == pytest.approx(expected)
