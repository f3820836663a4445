"""The classes inside a pickled model: frames of customers in, calibrated probabilities out."""

from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.estimator_checks import parametrize_with_checks

from churn.calibration import stretch
from churn.features import FEATURES
from churn.model import AddFeatures, Calibrated, assemble, load_model

CUSTOMERS = pd.DataFrame(
    {
        "contract": pd.Series(["One year", None, "Two year", "One year"], dtype="str"),
        "partner": pd.array([True, None, False, True], dtype="boolean"),
        "tenure": [0.0, np.nan, 30.0, 50.0],
        "monthly_charges": [50.0, 20.0, 70.0, 90.0],
    }
)
CHURNED = np.array([1, 1, 0, 0])


# no exceptions: the checks hand over arrays, and those pass through as float32 (one skips itself: no SCIPY_ARRAY_API)
@parametrize_with_checks([AddFeatures()])
def test_add_features_keeps_the_promises_of_a_transformer(estimator: BaseEstimator, check: object) -> None:
    check(estimator)  # type: ignore[operator]


# AddFeatures on frames


def test_numbers_come_first_as_float32_and_levels_after() -> None:
    add = AddFeatures(["tenure_group", "total_spent"]).fit(CUSTOMERS)
    made = add.transform(CUSTOMERS)
    assert list(made) == ["partner", "tenure", "monthly_charges", "total_spent", "contract", "tenure_group"]
    assert list(made) == add.get_feature_names_out().tolist() == [*add.numbers_, *add.categories_]
    assert set(made[add.numbers_].dtypes) == {np.dtype("float32")}


def test_what_is_missing_is_nan_or_a_level_of_its_own() -> None:
    row = AddFeatures().fit(CUSTOMERS).transform(CUSTOMERS).iloc[1]
    assert row[["partner", "tenure", "total_spent", "tenure_log"]].isna().all()
    assert (row["contract"], row["tenure_group"]) == ("missing", "missing")


@pytest.mark.parametrize(
    "partner",
    [
        pd.Series([True, False, False, True]),
        pd.Series([True, False, False, True], dtype="boolean"),
        pd.Series([1, 0, 0, 1]),
        pd.Series([1.0, 0.0, 0.0, 1.0]),
    ],
    ids=lambda partner: str(partner.dtype),
)
def test_a_boolean_is_one_or_zero_however_it_is_stored(partner: pd.Series) -> None:
    made = AddFeatures().fit(CUSTOMERS).transform(CUSTOMERS.assign(partner=partner))
    assert made["partner"].tolist() == [1, 0, 0, 1]


def test_levels_may_be_objects_with_none() -> None:
    add = AddFeatures().fit(CUSTOMERS)
    objects = CUSTOMERS.assign(contract=CUSTOMERS["contract"].astype(object).where(CUSTOMERS["contract"].notna(), None))
    pd.testing.assert_frame_equal(add.transform(objects), add.transform(CUSTOMERS))


def test_a_column_of_nothing_but_missing_keeps_the_type_it_was_fitted_with() -> None:
    add = AddFeatures([]).fit(CUSTOMERS)
    made = add.transform(CUSTOMERS.assign(tenure=None, contract=np.nan))
    assert made["tenure"].isna().all()
    assert made["contract"].eq("missing").all()


def test_all_features_are_added_unless_some_are_named() -> None:
    assert AddFeatures().fit(CUSTOMERS).names_ == list(FEATURES)
    assert AddFeatures([]).fit(CUSTOMERS).names_ == []
    assert AddFeatures(["total_spent", "tenure_log"]).fit(CUSTOMERS[["tenure"]]).names_ == ["tenure_log"]


@pytest.mark.parametrize(
    ("customers", "reason"),
    [
        (CUSTOMERS.assign(colour="red"), "Feature names unseen at fit time:\n- colour"),
        (CUSTOMERS.drop(columns="tenure"), "Feature names seen at fit time, yet now missing:\n- tenure"),
        (CUSTOMERS[list(CUSTOMERS)[::-1]], "Feature names must be in the same order"),
    ],
    ids=["unseen", "missing", "other order"],
)
def test_other_columns_than_at_fit_are_refused_by_name(customers: pd.DataFrame, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        AddFeatures().fit(CUSTOMERS).transform(customers)


def test_rows_are_independent_and_keep_their_index() -> None:
    add = AddFeatures().fit(CUSTOMERS)
    whole = add.transform(CUSTOMERS)
    pd.testing.assert_frame_equal(add.transform(CUSTOMERS.iloc[[2, 0]]), whole.iloc[[2, 0]])


# Calibrated


@pytest.fixture(scope="module")
def candidate() -> Pipeline:
    inputs = AddFeatures([]).fit(CUSTOMERS).transform(CUSTOMERS).fillna({"tenure": 1, "partner": 0})
    encode = make_column_transformer((OneHotEncoder(), ["contract"]), remainder="passthrough")
    return make_pipeline(encode, LogisticRegression(C=0.01, max_iter=1000)).fit(inputs, CHURNED)


KNOWN = CUSTOMERS.fillna({"tenure": 1, "partner": False})


def test_calibrated_stretches_p_and_keeps_its_order(candidate: Pipeline) -> None:
    inputs = AddFeatures([]).fit(KNOWN).transform(KNOWN)
    p = candidate.predict_proba(inputs)[:, 1]
    calibrated = Calibrated(candidate, 2.0, -0.5).predict_proba(inputs)
    np.testing.assert_allclose(calibrated[:, 1], stretch(p, 2.0, -0.5), atol=1e-12)
    np.testing.assert_allclose(calibrated.sum(axis=1), 1)
    assert (p.argsort() == calibrated[:, 1].argsort()).all()
    assert len(set(p.tolist())) > 2


def test_calibrated_is_double_and_decides_at_half(candidate: Pipeline) -> None:
    inputs = AddFeatures([]).fit(KNOWN).transform(KNOWN)
    sure = Calibrated(candidate, 1.0, 20.0)
    assert sure.predict_proba(inputs).dtype == np.dtype("float64")
    assert sure.classes_.tolist() == [0, 1]
    assert sure.predict(inputs).tolist() == [1, 1, 1, 1]
    assert Calibrated(candidate, 1.0, -20.0).predict(inputs).tolist() == [0, 0, 0, 0]


def test_calibrated_keeps_what_it_is_given() -> None:
    model = LogisticRegression()
    assert clone(Calibrated(model, 2.0, 1.0)).get_params(deep=False)["slope"] == 2.0
    assert Calibrated(model).fit(None).model is model


# assemble


@pytest.mark.parametrize(
    "calibration", [pytest.param((1, 0), id="as it is"), pytest.param((2.0, -0.5), id="calibrated")]
)
def test_assembled_it_goes_from_customers_to_probabilities(
    calibration: tuple[float, float], candidate: Pipeline, tmp_path: Path
) -> None:
    model = assemble(candidate, KNOWN, [], *calibration)
    inputs = AddFeatures([]).fit(KNOWN).transform(KNOWN)
    expected = stretch(candidate.predict_proba(inputs)[:, 1].astype("float64"), *calibration)
    np.testing.assert_allclose(model.predict_proba(KNOWN)[:, 1], expected, atol=2e-6)
    joblib.dump(model, tmp_path / "model.joblib")
    again = load_model(tmp_path / "model.joblib").predict_proba(KNOWN)
    assert again.tolist() == model.predict_proba(KNOWN).tolist()


def test_what_needs_no_calibration_is_not_wrapped(candidate: Pipeline) -> None:
    assert assemble(candidate, KNOWN, [], 1.0, 0.0).named_steps["model"] is candidate
    assert isinstance(assemble(candidate, KNOWN, [], 1.0, 0.1).named_steps["model"], Calibrated)


def test_of_the_customers_only_columns_and_types_count(candidate: Pipeline) -> None:
    models = assemble(candidate, KNOWN, [], 1, 0), assemble(candidate, KNOWN.head(1), [], 1, 0)
    assert models[0].predict_proba(KNOWN).tolist() == models[1].predict_proba(KNOWN).tolist()
