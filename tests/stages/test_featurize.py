"""featurize: the model inputs of params' features, or one line about the feature that is not there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from churn.model import AddFeatures
from churn.schema import CUSTOMER, TARGET, WEIGHT, Schema
from churn.script import InputError
from stages.featurize import featurize, main

CUSTOMERS = pd.DataFrame({"contract": ["One year", "Two year"], "tenure": [0.0, 30.0], "monthly_charges": [50.0, 20.0]})
SCHEMA: dict[str, Any] = {
    "id": {"name": "customer_id"},
    "target": {"name": "left", "positive": "Yes", "negative": "No"},
    "columns": [{"name": "tenure", "type": "number"}, {"name": "contract", "type": "category"}],
}
WIDER = SCHEMA | {"columns": [{"name": "monthly_charges", "type": "number"}, *SCHEMA["columns"]]}


def made_of(customers: pd.DataFrame, features: list[str]) -> pd.DataFrame:
    """The model inputs of customers in one block."""
    blocks = [customers.assign(**{TARGET: True})]
    (made,) = featurize(blocks, Schema.model_validate(WIDER), features=features)
    return made.drop(columns=TARGET)


def test_the_features_of_the_params_are_made_in_their_order() -> None:
    made = made_of(CUSTOMERS, ["tenure_log", "total_spent", "tenure_group"])
    assert list(made) == ["monthly_charges", "tenure", "tenure_log", "total_spent", "contract", "tenure_group"]
    assert made["tenure_group"].tolist() == ["new", "mature"]
    assert list(made_of(CUSTOMERS, [])) == ["monthly_charges", "tenure", "contract"]


def test_a_feature_whose_columns_are_absent_is_skipped_and_told(caplog: pytest.LogCaptureFixture) -> None:
    made = made_of(CUSTOMERS.drop(columns="monthly_charges"), ["total_spent", "tenure_log"])
    assert list(made) == ["tenure", "tenure_log", "contract"]
    assert caplog.messages[-1] == "skipped ['total_spent']: the table has not the numbers, or has such a column itself"


def test_the_weight_stands_beside_the_inputs() -> None:
    made = made_of(CUSTOMERS.assign(**{WEIGHT: [1.0, 9.0]}), [])
    assert made.pop(WEIGHT).tolist() == [1.0, 9.0]
    pd.testing.assert_frame_equal(made, made_of(CUSTOMERS, []))


def test_a_misspelt_feature_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(InputError) as error:
        made_of(CUSTOMERS, ["tenure_grop"])
    assert str(error.value) == (
        "featurize.features has 'tenure_grop' (did you mean 'tenure_group'?); churn/features.py has "
        "['total_spent', 'avg_monthly_ratio', 'tenure_group', 'tenure_log']"
    )


def test_it_is_what_the_release_s_pipeline_makes_of_the_same_customers() -> None:
    features = ["total_spent", "tenure_group"]
    columns = CUSTOMERS[["monthly_charges", "tenure", "contract"]]
    expected = AddFeatures(features).fit(columns).transform(columns)
    pd.testing.assert_frame_equal(made_of(CUSTOMERS, features), expected, check_flags=False)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pd.DataFrame]:
    """What main() writes of three customers with these ids."""

    def write(*ids: str, **columns: list[int]) -> pd.DataFrame:
        monkeypatch.chdir(tmp_path)
        params: dict[str, Any] = {"data": {"schema": "my.yaml"}, "featurize": {"features": ["tenure_log"]}}
        Path("params.yaml").write_text(json.dumps(params))
        Path("my.yaml").write_text(json.dumps(SCHEMA))
        churned = pd.array([True, False, True], "boolean")
        customers = {"customer_id": ids, TARGET: churned, "tenure": [1.0, 2.0, 3.0], "contract": ["a", None, "b"]}
        pd.DataFrame(customers | columns).to_parquet("train.parquet")
        main(Path("train.parquet"), Path("inputs.parquet"))
        return pd.read_parquet("inputs.parquet")

    return write


def test_the_outcome_stands_before_the_inputs_and_the_id_nowhere(written: Callable[..., pd.DataFrame]) -> None:
    made = written("A", "B", "C")
    assert list(made) == [TARGET, "tenure", "tenure_log", "contract"]
    assert made[TARGET].tolist() == [1, 0, 1]
    assert made["contract"].tolist() == ["a", "missing", "b"]


def test_the_limits_of_levels_come_along(written: Callable[..., pd.DataFrame], monkeypatch: pytest.MonkeyPatch) -> None:
    assert written("A", "B", "C").attrs == {"max_levels": {}}
    monkeypatch.setitem(SCHEMA["columns"][1], "max_levels", 7)  # type: ignore[index]
    assert written("A", "B", "C").attrs == {"max_levels": {"contract": 7}}


def test_a_customer_with_several_rows_is_numbered(written: Callable[..., pd.DataFrame]) -> None:
    made = written("A", "B", "A", **{CUSTOMER: [0, 1, 0]})
    assert list(made)[:2] == [TARGET, CUSTOMER]
    assert made[CUSTOMER].tolist() == [0, 1, 0]
