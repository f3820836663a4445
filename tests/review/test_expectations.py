"""expectations: the two views of a table that a suite is asked of, and what is told of what does not hold."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from churn.schema import Schema
from churn.script import InputError
from review.expectations import Failure, main, told, views

SCHEMA = Schema.model_validate(
    {
        "id": {"name": "customer_id", "source": "ID"},
        "time": {"name": "snapshot", "source": "Month"},
        "target": {"name": "churned", "source": "Churn", "positive": "Yes", "negative": "No"},
        "drop": [{"source": "Reason", "why": "known too late"}],
        "columns": [
            {"name": "charge", "source": ["Charge", "Price"], "type": "number", "decimal": ","},
            {"name": "device", "type": "category", "merge": {"Phone": ["Mobile"]}},
        ],
    }
)
NONE: Any = None


def texts() -> pd.DataFrame:
    """As load writes them; the third row is a copy of the second."""
    return pd.DataFrame(
        {
            "customer_id": ["C1", "C2", "C2", "C2"],
            "snapshot": ["2024-01-01", "soon", "soon", NONE],
            "churned": ["Yes", "Maybe", "Maybe", "No"],
            "charge": ["1,5", "dear", "dear", NONE],
            "device": ["Mobile", "Tablet", "Tablet", "Phone"],
            "Reason": ["price", "x", "x", "x"],
            "Extra": ["1", "2", "2", "3"],
        },
        dtype="str",
    )


def listed(column: pd.Series) -> list[Any]:
    return column.astype(object).where(column.notna(), None).tolist()


def test_both_views_have_the_table_s_headers_without_what_the_schema_drops() -> None:
    headers = ["ID", "Month", "Churn", "Charge", "device", "Extra"]
    assert [list(view) for view in views(texts(), SCHEMA)] == [headers, headers]


def test_cells_are_numbers_and_dates_or_the_texts_that_stand_there() -> None:
    cells, _ = views(texts(), SCHEMA)
    assert listed(cells["Charge"]) == [1.5, "dear", "dear", None]
    assert listed(cells["Month"]) == [pd.Timestamp("2024-01-01"), "soon", "soon", None]
    assert listed(cells["device"]) == ["Phone", "Tablet", "Tablet", "Phone"]
    assert listed(cells["Churn"]) == ["Yes", "Maybe", "Maybe", "No"]


def test_a_column_of_numbers_alone_has_their_dtype() -> None:
    cells, _ = views(texts().query("charge != 'dear'"), SCHEMA)
    assert cells["Charge"].dtype == "float64"


def test_values_have_no_text_for_a_number_and_no_key_in_a_copy_of_a_row() -> None:
    _, values = views(texts(), SCHEMA)
    assert values["Charge"].dtype == "float64"
    assert listed(values["Charge"]) == [1.5, None, None, None]
    assert listed(values["ID"]) == ["C1", "C2", None, "C2"]
    assert listed(values["Month"]) == ["2024-01-01", "soon", None, None]


def test_each_failure_is_a_line_with_an_example() -> None:
    between, exists = "expect_column_values_to_be_between", "expect_column_to_exist"
    failures = [
        Failure(between, ["Charge"], {"min_value": 0, "max_value": 9}, [3, 5], [-1.5, 12.0]),
        Failure("expect_column_values_to_not_be_null", ["ID"], {}, [1], [None]),
        Failure("expect_table_columns_to_match_set", [], {"exact_match": True}, values=["Extra"]),
        Failure(exists, ["device"], {}),
        Failure("expect_column_values_to_be_in_set", ["device"], {"value_set": ["Phone"]}, error="no such column"),
        Failure(between, ["Age"], {"min_value": 0}, error="Error:\n of another type"),
    ]
    assert told(failures, 7) == [
        "the table has no column 'device'",
        f"column 'Charge': {between}(min_value 0, max_value 9): 2 of 7 rows, e.g. -1.5 in row 4",
        "column 'ID': expect_column_values_to_not_be_null: 1 of 7 rows, e.g. in row 2",
        "expect_table_columns_to_match_set(exact_match True): 'Extra'",
        f"column 'Age': {between}(min_value 0) could not be asked: Error: of another type",
    ]


def test_without_great_expectations_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["expectations"])
    with pytest.raises(InputError, match="not installed here; run it with: make expectations"):
        main(tmp_path / "loaded.parquet")
