"""evaluate: intervals that hold the truth, money by hand, slices that are worse, and importance of what counts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline

from churn.calibration import sigmoid, stretch
from churn.profit import Profit
from churn.script import InputError
from stages.evaluate import HEADLINES, POINTS, curves, doubtful, evaluate, importance, main, slice_scores, thinned

PROFIT = Profit(customer_value=400.0, offer_cost=40.0, offer_success=0.3)


def drawn(n: int, seed: int, slope: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes of n customers and probabilities that are right where slope is 1."""
    rng = np.random.default_rng(seed)
    p = sigmoid(rng.normal(-1, 1.3, n))
    return (rng.random(n) < p).astype("int64"), stretch(p, slope, 0)


def evaluated(churned: np.ndarray, p: np.ndarray, threshold: float = 0.4, b: int = 200, **knobs: Any) -> dict[str, Any]:
    other = knobs.pop("other", p)
    rate = knobs.pop("base_rate", 0.3)
    fixed: dict[str, Any] = {"baseline": "simple", "slices": [], "resamples": b, "seed": 1}
    return evaluate(churned, p, other, threshold, rate, PROFIT, PROFIT.worth({}, len(p)), **fixed | knobs)


# intervals


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    truth = evaluated(*drawn(200_000, seed=0), b=1)
    keys = ("roc_auc", "average_precision", "brier", "log_loss", "f1", "precision", "recall", "profit_per_customer")
    keys += ("maximum_profit", "maximum_profit_share", "empc", "empc_share")
    found = [evaluated(*drawn(300, seed), b=100, seed=seed) for seed in range(1, 81)]
    held = {key: np.mean([f[f"{key}_low"] <= truth[key] <= f[f"{key}_high"] for f in found]) for key in keys}
    assert {key: share for key, share in held.items() if not 0.86 <= share <= 1} == {}
    assert 0.9 <= np.mean(list(held.values())) <= 0.99


def test_an_interval_stands_around_its_value() -> None:
    found = evaluated(*drawn(500, seed=2), b=300)
    for key in HEADLINES:
        assert found[f"{key}_low"] <= found[key] <= found[f"{key}_high"], key


def weighted(churned: np.ndarray, p: np.ndarray, counted: np.ndarray) -> dict[str, Any]:
    knobs: dict[str, Any] = {"baseline": "simple", "slices": [], "resamples": 200, "seed": 1}
    return evaluate(churned, p, p, 0.4, 0.3, PROFIT, PROFIT.worth({}, len(p)), counted, **knobs)


def test_a_customer_who_counts_ten_times_is_ten_alike_but_tells_of_one() -> None:
    churned, p = drawn(2000, seed=3)
    counted = np.where(p > 0.5, 10.0, 1.0)
    rows = np.repeat(np.arange(len(p)), counted.astype("int64"))
    one, other = weighted(churned, p, counted), evaluated(churned[rows], p[rows])
    for key in set(HEADLINES) - {"ece"}:  # its bins hold as many rows each
        assert one[key] == pytest.approx(other[key]), key
    width, too_small = (found["roc_auc_high"] - found["roc_auc_low"] for found in (one, other))
    assert width > 1.5 * too_small


@pytest.mark.slow
def test_intervals_of_customers_who_stand_for_others_hold_the_truth() -> None:
    """Those above .4 are held back with a chance of a tenth, as in a campaign."""
    truth, keys = evaluated(*drawn(200_000, seed=0), b=1), ("roc_auc", "brier", "precision", "profit_per_customer")
    held = []
    for seed in range(1, 61):
        churned, p = drawn(6000, seed)
        there = (p < 0.4) | (np.random.default_rng([seed, 1]).random(len(p)) < 0.1)
        found = weighted(churned[there], p[there], np.where(p > 0.4, 10.0, 1.0)[there])
        held.append([found[f"{key}_low"] <= truth[key] <= found[f"{key}_high"] for key in keys])
    assert (np.mean(held, axis=0) >= 0.85).all()


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    rows = drawn(300, seed=3)
    one, twin, other = (json.dumps(evaluated(*rows, seed=seed)) for seed in (1, 1, 2))
    assert one == twin != other


def test_a_resample_without_leavers_does_not_spoil_the_interval() -> None:
    churned, p = np.array([1, *[0] * 19]), np.linspace(0.9, 0.1, 20)
    found = evaluated(churned, p, b=200)
    assert found["roc_auc"] == found["roc_auc_low"] == found["roc_auc_high"] == 1


# the model against others


def test_policies_earn_what_a_hand_counts() -> None:
    churned, p = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0]), np.array([0.9, 0.2, 0.8, *[0.1] * 7])
    found = evaluated(churned, p, threshold=0.5)
    assert found["profit_per_customer"] == pytest.approx((80 - 40) / 10)  # one leaver and one who stays are flagged
    assert found["profit_everybody"] == pytest.approx((2 * 80 - 8 * 40) / 10)
    assert found["profit_random"] == pytest.approx(0.2 * (2 * 80 - 8 * 40) / 10)
    assert found["profit_gain"] == pytest.approx(4)  # nobody earns more than everybody


def test_profit_gains_over_everybody_where_everybody_pays() -> None:
    churned, p = np.array([1, 1, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])
    assert evaluated(churned, p, threshold=0.5)["profit_gain"] == pytest.approx((3 * 80 - (3 * 80 - 40)) / 4)


def test_skill_is_against_the_base_rate_of_the_training() -> None:
    churned, p = drawn(400, seed=5)
    found = evaluated(churned, p, base_rate=0.25)
    assert found["brier_skill"] == pytest.approx(1 - np.mean((p - churned) ** 2) / np.mean((0.25 - churned) ** 2))
    assert evaluated(churned, np.full(400, 0.25), base_rate=0.25)["brier_skill"] == pytest.approx(0)


def test_the_gain_over_the_baseline_is_paired() -> None:
    churned, p = drawn(400, seed=6)
    other = np.clip(p + np.random.default_rng(1).normal(0, 0.1, 400), 0, 1)
    found = evaluated(churned, p, other=other)
    assert found["roc_auc_simple"] == pytest.approx(roc_auc_score(churned, other))
    assert found["roc_auc_gain"] == pytest.approx(found["roc_auc"] - found["roc_auc_simple"])
    widths = {key: found[f"{key}_high"] - found[f"{key}_low"] for key in ("roc_auc", "roc_auc_gain")}
    assert widths["roc_auc_gain"] < widths["roc_auc"]  # both models see the same resample


def test_decisions_at_half_stand_beside_those_at_the_threshold() -> None:
    churned, p = drawn(300, seed=7)
    assert evaluated(churned, p, threshold=0.5)["f1"] == evaluated(churned, p, threshold=0.2)["f1_at_half"]


# slices


@pytest.fixture(scope="module")
def sliced() -> pd.DataFrame:
    churned, p = drawn(3000, seed=8)
    whole = evaluated(churned, p)
    group = pd.Series(np.array(["fine", "blind", "biased"])[np.arange(3000) % 3])
    p = np.where(group == "blind", np.random.default_rng(2).permutation(p), p)
    p = np.where(group == "biased", stretch(p, 1, 1), p)
    rare = pd.Series("rest", group.index).mask(group.index.isin(np.flatnonzero(churned == 0)[:100]), "no leavers")
    size = pd.Series(["few"] * 29 + ["many"] * 2970 + [None])
    found = slice_scores(
        churned, p, pd.DataFrame({"group": group, "size": size, "rare": rare}), whole, 200, 1, np.ones(len(p))
    )
    return found.set_index("slice")


def test_slices_that_are_blind_or_biased_are_worse_and_others_not(sliced: pd.DataFrame) -> None:
    assert sliced.loc[[f"group = {level}" for level in ("biased", "blind", "fine")], "worse"].tolist() == [
        True,
        True,
        False,
    ]
    assert sliced.loc["group = blind", "roc_auc"] == pytest.approx(0.5, abs=0.08)
    assert sliced.loc["group = biased", "bias"] > 0.1
    assert abs(sliced.loc["group = fine", "bias"]) < 0.05


def test_small_slices_are_counted_and_not_scored(sliced: pd.DataFrame) -> None:
    few, no_leavers = sliced.loc["size = few"], sliced.loc["rare = no leavers"]
    assert (few["n"], no_leavers["n"], no_leavers["churn_rate"]) == (29, 100, 0)
    assert sliced.loc[["size = few", "rare = no leavers"], ["roc_auc", "bias", "roc_auc_low"]].isna().all(axis=None)
    assert sliced.loc["size = many", "n"] == 2970  # a missing level is no slice
    assert sliced.loc["size = many", "roc_auc"] > 0.5


def test_the_slices_of_a_column_hold_every_customer(sliced: pd.DataFrame) -> None:
    assert sliced.loc[[f"group = {level}" for level in ("biased", "blind", "fine")], "n"].sum() == 3000


# plots


def test_curves_are_bounded_and_end_where_they_should() -> None:
    found = curves(*drawn(5000, seed=9), 0.4, np.ones(5000))
    assert max(len(table) for table in found.values()) <= POINTS
    assert found["roc"].iloc[[0, -1]].to_numpy().tolist() == [[0, 0], [1, 1]]
    assert found["gain"].iloc[-1].tolist() == pytest.approx([1, 1, 1])
    assert found["precision_recall"]["recall"].iloc[[0, -1]].tolist() == [0, 1]
    assert len(found["roc"]) == POINTS


def test_thinning_keeps_short_curves_whole() -> None:
    assert len(thinned(pd.DataFrame({"x": range(7)}))) == 7


def test_confusion_and_calibration_count_every_customer() -> None:
    churned, p = drawn(503, seed=10)
    found = curves(churned, p, 0.4, np.ones(len(p)))
    cells = dict(found["confusion"].itertuples(index=False))
    assert sum(cells.values()) == found["calibration"]["n"].sum() == 503
    assert cells["churned, flagged"] == ((p >= 0.4) & (churned == 1)).sum()
    assert (np.diff(found["calibration"]["predicted"]) > 0).all()
    weighted = found["calibration"]["observed"] @ found["calibration"]["n"]
    assert weighted == pytest.approx(churned.sum())


# importance


def test_the_only_column_that_tells_comes_first() -> None:
    rng = np.random.default_rng(11)
    customers = pd.DataFrame({"noise": rng.normal(size=500), "signal": rng.normal(size=500)})
    churned = (customers["signal"] + rng.normal(size=500) > 0).to_numpy("int64")
    model: Pipeline = make_pipeline(LogisticRegression()).fit(customers, churned)
    found = importance(model, customers, churned, 1, np.ones(len(churned)))
    assert found["column"].tolist() == ["signal", "noise"]
    lost = dict(found.itertuples(index=False))
    whole = roc_auc_score(churned, model.predict_proba(customers)[:, 1])
    assert lost["signal"] == pytest.approx(whole - 0.5, abs=0.05)
    assert lost["noise"] == pytest.approx(0, abs=0.02)
    pd.testing.assert_frame_equal(found, importance(model, customers, churned, 1, np.ones(len(churned))))


# the command


@pytest.fixture
def run_main(project: Path, elsewhere: Callable[..., Path]) -> Callable[..., Path]:
    def run(knobs: dict[str, Any] | None = None, choice: Path | None = None) -> Path:
        here = elsewhere(knobs)
        files = ("models/selected/members", "models/candidates", "data/train.parquet", "data/test.parquet")
        main(*(project / file for file in files), choice or project / "metrics/select.json")
        return here

    return run


def test_the_metrics_are_the_same_bytes_again(run_main: Callable[..., Path], project: Path) -> None:
    here = run_main()
    for file in ("metrics/evaluate.json", "metrics/evaluation.json", "metrics/plots/evaluate/importance.csv"):
        assert (here / file).read_bytes() == (project / file).read_bytes()


def test_the_headlines_have_their_intervals_and_the_details_the_rest(project: Path) -> None:
    shown, all_ = (json.loads((project / f"metrics/{name}.json").read_text()) for name in ("evaluate", "evaluation"))
    ends = ("", "_low", "_high")
    assert list(shown) == ["threshold", *(f"{key}{end}" for key in HEADLINES for end in ends), "slices_worse"]
    assert shown.items() <= all_.items()
    assert all_["roc_auc_logistic_regression"] > 0.5


def test_plots_are_one_file_each(project: Path) -> None:
    names = {path.stem for path in (project / "metrics/plots/evaluate").iterdir()}
    assert names == {"roc", "precision_recall", "gain", "calibration", "confusion", "importance", "slices", "fairness"}


def test_a_slice_that_the_table_has_not_is_skipped_and_told(
    run_main: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    here = run_main({"evaluate.slices": ["contract", "contrct"], "evaluate.resamples": 100})
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("skipped the slices ['contrct']: the table has not the columns; it has ['gender', ")
    slices = pd.read_csv(here / "metrics/plots/evaluate/slices.csv")["slice"]
    assert slices.str.startswith("contract = ").all()
    assert len(slices) == 3


def test_groups_are_named_by_schema_header_or_feature(run_main: Callable[..., Path]) -> None:
    least = {"evaluate.fairness_customers": 2, "evaluate.fairness_outcomes": 1}
    here = run_main({"evaluate.fairness": ["SeniorCitizen", "tenure_group"], "evaluate.resamples": 100, **least})
    gaps = json.loads((here / "metrics/fairness.json").read_text())
    assert list(gaps) == ["SeniorCitizen", "tenure_group"]
    groups = pd.read_csv(here / "metrics/plots/evaluate/fairness.csv")
    assert groups["column"].value_counts().to_dict() == {"SeniorCitizen": 2, "tenure_group": 4}
    assert gaps["SeniorCitizen"]["recall_difference_low"] <= gaps["SeniorCitizen"]["recall_difference"]


def test_without_columns_nothing_is_measured_by_group(run_main: Callable[..., Path]) -> None:
    here = run_main({"evaluate.fairness": [], "evaluate.resamples": 100})
    assert json.loads((here / "metrics/fairness.json").read_text()) == {}
    assert pd.read_csv(here / "metrics/plots/evaluate/fairness.csv").empty


def test_a_column_that_another_table_has_is_skipped_with_a_warning(
    run_main: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    here = run_main({"evaluate.fairness": ["gendr"]})
    assert json.loads((here / "metrics/fairness.json").read_text()) == {}
    (line,) = [line for line in caplog.messages if "evaluate.fairness" in line]
    assert "names 'gendr' (did you mean 'gender'?), which is skipped; the table has ['gender', " in line


def test_a_column_that_holds_no_groups_is_one_line(run_main: Callable[..., Path]) -> None:
    says = r"names 'tenure', which has \d+ values; name a column of at most 50, or a feature that groups it"
    with pytest.raises(InputError, match=rf"^params.yaml: evaluate.fairness {says}[^\n]*$"):
        run_main({"evaluate.fairness": ["tenure"]})


def test_a_calibrated_choice_is_evaluated_calibrated(
    run_main: Callable[..., Path], project: Path, tmp_path: Path
) -> None:
    choice = json.loads((project / "metrics/select.json").read_text())
    moved = tmp_path / "select.json"
    moved.write_text(json.dumps(choice | {"calibration_slope": 5.0, "calibration_intercept": -2.0}))
    here = run_main(choice=moved)
    plain, calibrated = (json.loads((at / "metrics/evaluate.json").read_text()) for at in (project, here))
    assert plain["roc_auc"] == calibrated["roc_auc"]
    assert plain["log_loss"] < calibrated["log_loss"]


@pytest.mark.parametrize(
    ("knob", "value"), [("resamples", 10), ("seed", -1), ("slices", "contract"), ("fairness", "gender")]
)
def test_a_knob_out_of_range_is_named(knob: str, value: Any, run_main: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=rf"^params.yaml: evaluate.{knob} is "):
        run_main({f"evaluate.{knob}": value})


def test_a_baseline_that_is_no_model_is_one_line(run_main: Callable[..., Path]) -> None:
    with pytest.raises((InputError, OSError)) as error:  # run() makes a line of both
        run_main({"evaluate.baseline": "oracle"})
    assert "oracle" in str(error.value)


@pytest.mark.parametrize(
    ("flagged", "earned", "says"),
    [
        (0.0, 0.0, ["nobody would be made an offer: state what an offer costs and brings under profit in params.yaml"]),
        (0.999, 5.0, ["99.9% of the customers would be made an offer: state"]),
        (0.3, -1.5, ["the offers would lose 1.50 per customer: state what an offer costs"]),
        (0.3, 1.5, []),
    ],
)
def test_a_profit_of_another_business_is_told(flagged: float, earned: float, says: list[str]) -> None:
    found = list(doubtful(flagged, earned))
    assert len(found) == len(says)
    assert all(line.startswith(start) for line, start in zip(found, says, strict=True))
