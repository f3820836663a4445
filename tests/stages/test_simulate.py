"""simulate: what the simulated operator promises about its customers, its knobs and its file."""

import logging
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import stages.simulate as stage
from churn.script import InputError
from stages.simulate import ADD_ONS, CHUNK, COLUMNS, LAST, customer_ids, leaving, main, simulate

KNOBS: dict[str, Any] = {
    "customers": 7043, "seed": 42, "months": 1, "start": pd.Timestamp("2024-01-01").date(),
    "drift": 0.0, "drift_month": 0, "concept": 0.0, "concept_month": 0,
}  # fmt: skip
NUMBERS = ["tenure", "monthly_charges", "total_charges"]
INPUTS = [column for column in COLUMNS if column not in ("customer_id", "churned")]


def simulated(**knobs: Any) -> pd.DataFrame:
    return pd.concat(simulate(**KNOBS | knobs), ignore_index=True)


def churned(customers: pd.DataFrame) -> pd.Series:
    return (customers["churned"] == "Yes").astype(int)


def months_of(customers: pd.DataFrame) -> list[pd.DataFrame]:
    return [month.set_index("customer_id") for _, month in customers.groupby("snapshot_date")]


@pytest.fixture(scope="module")
def many() -> pd.DataFrame:
    return simulated(customers=100_000)


@pytest.fixture(scope="module")
def year() -> list[pd.DataFrame]:
    return months_of(simulated(customers=5_000, months=12))


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Run main() in an empty folder with these knobs; the path of the table."""

    def write(name: str = "customers.csv", **knobs: Any) -> Path:
        monkeypatch.chdir(tmp_path)
        Path("params.yaml").write_text(yaml.safe_dump({"simulate": KNOBS | {"start": "2024-01-01"} | knobs}))
        main(tmp_path / "raw" / name)
        return tmp_path / "raw" / name

    return write


# the table


def test_a_quarter_leaves(many: pd.DataFrame) -> None:
    assert churned(many).mean() == pytest.approx(0.26, abs=0.01)
    assert churned(simulated()).mean() == pytest.approx(0.26, abs=0.01)


def test_the_best_reachable_auc_is_85(many: pd.DataFrame) -> None:
    assert roc_auc_score(churned(many), leaving(many, concept=0)) == pytest.approx(0.85, abs=0.005)


def test_leavers_are_as_many_as_their_probabilities_say(many: pd.DataFrame) -> None:
    scored = pd.DataFrame({"p": leaving(many, concept=0), "churned": churned(many)})
    tenths = scored.groupby(pd.qcut(scored["p"], 10), observed=True).mean()
    assert np.abs(tenths["p"] - tenths["churned"]).max() < 0.015


# counted over the 7,043 rows of data/Telco-Customer-Churn.csv of github.com/IBM/telco-customer-churn-on-icp4d
IBM_SHARES: dict[str, dict[Any, float]] = {
    "gender": {"Female": 0.495},
    "senior_citizen": {1: 0.162},
    "partner": {"Yes": 0.483},
    "dependents": {"Yes": 0.300},
    "phone_service": {"Yes": 0.903},
    "multiple_lines": {"Yes": 0.422, "No phone service": 0.097},
    "internet_service": {"DSL": 0.344, "Fiber optic": 0.440, "No": 0.217},
    "online_security": {"Yes": 0.287, "No internet service": 0.217},
    "online_backup": {"Yes": 0.345},
    "device_protection": {"Yes": 0.344},
    "tech_support": {"Yes": 0.290},
    "streaming_tv": {"Yes": 0.384},
    "streaming_movies": {"Yes": 0.388},
    "contract": {"Month-to-month": 0.550, "One year": 0.209, "Two year": 0.241},
    "paperless_billing": {"Yes": 0.592},
    "payment_method": {
        "Electronic check": 0.336, "Mailed check": 0.229, "Bank transfer (automatic)": 0.219,
        "Credit card (automatic)": 0.216,
    },
}  # fmt: skip
IBM_QUARTILES = {
    "tenure": (9, 29, 55),
    "monthly_charges": (35.5, 70.35, 89.85),
    "total_charges": (401.45, 1397.48, 3794.74),
}
IBM_CHURN: dict[str, dict[Any, float]] = {
    "contract": {"Month-to-month": 0.427, "One year": 0.113, "Two year": 0.028},
    "internet_service": {"DSL": 0.190, "Fiber optic": 0.419, "No": 0.074},
    "payment_method": {"Electronic check": 0.453, "Mailed check": 0.191},
    "partner": {"Yes": 0.197, "No": 0.330},
    "senior_citizen": {0: 0.236, 1: 0.417},
}


@pytest.mark.parametrize("column", IBM_SHARES)
def test_levels_are_as_frequent_as_in_the_ibm_table(many: pd.DataFrame, column: str) -> None:
    shares = many[column].value_counts(normalize=True)
    assert {level: shares[level] for level in IBM_SHARES[column]} == pytest.approx(IBM_SHARES[column], abs=0.015)


@pytest.mark.parametrize("column", IBM_QUARTILES)
def test_quartiles_are_those_of_the_ibm_table(many: pd.DataFrame, column: str) -> None:
    assert tuple(many[column].quantile([0.25, 0.5, 0.75])) == pytest.approx(IBM_QUARTILES[column], rel=0.05)


@pytest.mark.parametrize("column", IBM_CHURN)
def test_churn_by_level_is_that_of_the_ibm_table(many: pd.DataFrame, column: str) -> None:
    rates = churned(many).groupby(many[column], observed=True).mean()
    assert {level: rates[level] for level in IBM_CHURN[column]} == pytest.approx(IBM_CHURN[column], abs=0.03)


def test_inputs_hang_together_as_in_the_ibm_table(many: pd.DataFrame) -> None:
    tenure = many.groupby("contract", observed=True)["tenure"].mean()
    assert tenure.to_dict() == pytest.approx({"Month-to-month": 18.0, "One year": 42.0, "Two year": 56.7}, abs=2)
    dependents = (many["dependents"] == "Yes").groupby(many["partner"], observed=True).mean()
    assert dependents.to_dict() == pytest.approx({"No": 0.099, "Yes": 0.514}, abs=0.02)


def test_a_level_without_the_service_says_so_and_only_then(many: pd.DataFrame) -> None:
    for column in ADD_ONS:
        assert ((many[column] == "No internet service") == (many["internet_service"] == "No")).all()
    assert ((many["multiple_lines"] == "No phone service") == (many["phone_service"] == "No")).all()
    assert set(many.loc[many["phone_service"] == "No", "internet_service"]) == {"DSL"}


def test_the_total_is_blank_exactly_at_tenure_zero(many: pd.DataFrame) -> None:
    assert (many["total_charges"].isna() == (many["tenure"] == 0)).all()
    assert 0.001 < (many["tenure"] == 0).mean() < 0.002
    assert many["tenure"].between(0, LAST).all()


def test_the_first_bill_is_the_total_and_later_totals_stay_near_it(many: pd.DataFrame) -> None:
    first, later = many[many["tenure"] == 1], many[many["tenure"] >= 12]
    assert (first["total_charges"] == first["monthly_charges"]).all()
    assert (later["total_charges"] / (later["tenure"] * later["monthly_charges"])).between(0.85, 1.15).all()


def test_ids_are_like_the_ibm_ones_and_never_repeat(many: pd.DataFrame) -> None:
    assert many["customer_id"].is_unique
    assert many["customer_id"].str.fullmatch(r"\d{4}-[A-Z]{5}").all()
    ends = np.r_[0:100_000, 10**4 * 26**5 - 100_000 : 10**4 * 26**5]
    assert len(np.unique(customer_ids(ends, seed=1))) == len(ends)
    assert not set(many["customer_id"][:7043]) & set(simulated(seed=43)["customer_id"])


def test_a_smaller_table_is_the_beginning_of_a_larger_one() -> None:
    larger = simulated(customers=CHUNK + 5_000)
    assert simulated(customers=CHUNK + 10).equals(larger[: CHUNK + 10])
    assert simulated(customers=10).equals(larger[:10])
    assert not larger[:5_000]["monthly_charges"].equals(larger[CHUNK:]["monthly_charges"].reset_index(drop=True))


# months


def test_stayers_age_by_a_month_and_pay_their_bill(year: list[pd.DataFrame]) -> None:
    assert [month["snapshot_date"].iloc[0] for month in year[:2]] == ["2024-01-01", "2024-02-01"]
    for before, after in pairwise(year):
        old = before[before["churned"] == "No"]
        now = after.loc[old.index]
        assert (now["tenure"] == np.minimum(old["tenure"] + 1, LAST)).all()
        assert np.abs(now["total_charges"] - old["total_charges"].fillna(0) - now["monthly_charges"]).max() < 0.006
        assert (now["gender"] == old["gender"]).all()


@pytest.mark.slow
def test_leavers_are_gone_for_good_and_others_take_their_places(year: list[pd.DataFrame]) -> None:
    seen = left = pd.Index([])
    for month in year:
        assert month.index.is_unique
        assert len(month) == 5_000
        assert not month.index.isin(left).any()
        seen, left = seen.union(month.index), left.union(month.index[month["churned"] == "Yes"])
    assert len(seen) == 5_000 + len(left) - churned(year[-1]).sum()


def test_the_book_is_steady_while_nothing_drifts(year: list[pd.DataFrame]) -> None:
    for month in year[1:]:
        assert churned(month).mean() == pytest.approx(churned(year[0]).mean(), abs=0.02)
        assert month["tenure"].mean() == pytest.approx(year[0]["tenure"].mean(), abs=2)
        for column in ("contract", "internet_service", "payment_method"):
            shares = [table[column].value_counts(normalize=True) for table in (year[0], month)]
            assert shares[1].to_dict() == pytest.approx(shares[0].to_dict(), abs=0.03)


def test_more_months_begin_with_the_fewer(year: list[pd.DataFrame]) -> None:
    one = simulated(customers=5_000).set_index("customer_id")
    assert year[0].drop(columns="snapshot_date").equals(one)


@pytest.mark.parametrize("knob", ["drift", "concept"])
def test_a_change_starts_in_its_month(knob: str) -> None:
    calm = months_of(simulated(customers=3_000, months=4))
    changed = months_of(simulated(customers=3_000, months=4, **{knob: 1.0, f"{knob}_month": 2}))
    for month in (0, 1):
        assert changed[month].equals(calm[month])
    assert not changed[2].equals(calm[2])
    assert (changed[2].index == calm[2].index).all()  # the same customers, under new circumstances


# drift and concept


@pytest.fixture(scope="module")
def model() -> Pipeline:
    """What a team would fit on the default table."""
    customers = simulated()
    levels = [column for column in INPUTS if column not in NUMBERS]
    encoded = make_column_transformer((OneHotEncoder(drop="first"), levels), (StandardScaler(), NUMBERS))
    return make_pipeline(encoded, LogisticRegression(C=100, max_iter=300)).fit(inputs(customers), churned(customers))


def inputs(customers: pd.DataFrame) -> pd.DataFrame:
    return customers[INPUTS].fillna({"total_charges": 0})


@pytest.mark.slow
def test_a_plain_model_comes_near_the_best(model: Pipeline, many: pd.DataFrame) -> None:
    others = many[7_043:]
    assert 0.835 < roc_auc_score(churned(others), model.predict_proba(inputs(others))[:, 1]) < 0.85


def test_drift_moves_the_inputs(many: pd.DataFrame) -> None:
    moved = simulated(customers=30_000, drift=0.5)
    for column, level in {
        "internet_service": "Fiber optic",
        "contract": "Month-to-month",
        "payment_method": "Electronic check",
    }.items():
        assert (moved[column] == level).mean() > (many[column] == level).mean() + 0.08
    assert moved["tenure"].mean() < many["tenure"].mean() - 4
    assert moved["monthly_charges"].mean() > many["monthly_charges"].mean() + 5


def test_drift_leaves_the_relation_alone() -> None:
    moved = simulated(customers=60_000, drift=1.0)
    assert churned(moved).mean() == pytest.approx(leaving(moved, concept=0).mean(), abs=0.006)


def test_concept_moves_no_input_but_costs_an_old_model_its_skill(model: Pipeline, many: pd.DataFrame) -> None:
    changed = simulated(customers=30_000, concept=1.0)
    assert changed[INPUTS].equals(many[:30_000][INPUTS])
    assert churned(changed).mean() == pytest.approx(0.26, abs=0.02)
    p = model.predict_proba(inputs(changed))[:, 1]
    before, after = (roc_auc_score(churned(table), p) for table in (many[:30_000], changed))
    assert after < before - 0.05
    assert roc_auc_score(churned(changed), leaving(changed, concept=1)) > after + 0.05  # retraining has much to gain


@pytest.mark.slow
def test_half_the_concept_costs_half_the_skill(model: Pipeline) -> None:
    tables = [simulated(customers=30_000, concept=concept) for concept in (0, 0.5, 1)]
    auc = [roc_auc_score(churned(table), model.predict_proba(inputs(table))[:, 1]) for table in tables]
    assert auc[0] - 0.03 > auc[1] > auc[2] + 0.03


# the file


def test_the_same_knobs_give_the_same_bytes_and_another_seed_others(written: Callable[..., Path]) -> None:
    first, again = (written(customers=2_000).read_bytes() for _ in range(2))
    assert first == again
    assert written(customers=2_000, seed=43).read_bytes() != first


@pytest.mark.parametrize("name", ["customers.csv", "customers.csv.gz", "customers.parquet"])
def test_every_format_holds_the_frame(written: Callable[..., Path], name: str) -> None:
    path = written(name, customers=2_000, months=2)
    read = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype={"snapshot_date": "str"})
    assert list(read.columns) == [*COLUMNS, "snapshot_date"]
    assert not any(isinstance(kind, pd.CategoricalDtype) for kind in read.dtypes)
    expected = simulated(customers=2_000, months=2)
    assert read.astype(expected.dtypes).equals(expected)


def test_the_header_is_bare(written: Callable[..., Path]) -> None:
    assert written(customers=1).read_text().splitlines()[0] == ",".join(COLUMNS)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_customers(written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    in_arrow: list[int] = []  # tracemalloc does not see what Arrow holds
    plain = stage._plain

    def watched(frame: pd.DataFrame) -> pa.Table:
        in_arrow.append(pa.total_allocated_bytes())
        return plain(frame)

    monkeypatch.setattr(stage, "_plain", watched)
    monkeypatch.setattr(stage, "CHUNK", 2_000)

    def peak(customers: int) -> int:
        in_arrow.clear()
        tracemalloc.start()
        try:
            written(customers=customers)
            return tracemalloc.get_traced_memory()[1] + max(in_arrow)
        finally:
            tracemalloc.stop()

    peak(10)  # what is imported on the first call does not count
    assert peak(16_000) < 1.3 * peak(4_000)


def test_a_long_run_says_how_far_it_is(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stage, "CHUNK", 100)
    monkeypatch.setattr(stage, "LOG_EVERY", 200)
    with caplog.at_level(logging.INFO, logger="simulate"):
        path = written(customers=510)
    assert caplog.messages[:-1] == ["200 of 510 rows", "400 of 510 rows"]
    assert caplog.messages[-1].startswith(f"wrote {path}: 510 rows, ")


@pytest.mark.parametrize("name", ["customers.csv", "customers.csv.gz", "customers.parquet"])
def test_a_failed_write_leaves_the_old_table_and_nothing_else(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = written(name, customers=100)
    before = path.read_bytes()
    draw = stage._kinds

    def broken(seed: int, chunk: int, n: int) -> Any:
        if chunk == 1:
            raise RuntimeError("the second chunk fails")
        return draw(seed, chunk, n)

    monkeypatch.setattr(stage, "_kinds", broken)
    monkeypatch.setattr(stage, "CHUNK", 50)
    with pytest.raises(RuntimeError, match="second chunk"):
        written(name, customers=51)
    assert [file.name for file in path.parent.iterdir()] == [name]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"customers": 0}, r"simulate\.customers is 0: .*greater than or equal to 1"),
        ({"customers": 10**9}, r"simulate\.customers is 1000000000: "),
        ({"drift": 1.5}, r"simulate\.drift is 1\.5: .*less than or equal to 1"),
        ({"months": "two"}, r"simulate\.months is 'two': .*integer"),
        ({"start": "soon"}, r"simulate\.start is 'soon': .*date"),
        ({"drfit": 0.5}, r"no knob 'drfit' \(did you mean 'drift'\?\)"),
    ],
)
def test_a_bad_knob_is_one_line(written: Callable[..., Path], knobs: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        written(**knobs)
    assert "\n" not in str(caught.value)


def test_a_format_it_cannot_write_is_refused_with_those_it_can(written: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"customers\.xlsx: simulate writes \.csv, \.csv\.gz or \.parquet"):
        written("customers.xlsx")
