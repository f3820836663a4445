"""The shapes that customers come in: frames in their types, records of requests and golden lines, frames of records.

A boolean is `boolean` in a typed frame, true or false in a record, and float64 where a drift is measured.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from churn.schema import Schema


def records(customers: pd.DataFrame) -> list[dict[str, Any]]:
    """Customers as requests and golden lines hold them: true or false, null where missing."""
    columns = {name: customers[name].astype(object).where(customers[name].notna(), None).tolist() for name in customers}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def frame_of(
    customers: Sequence[Mapping[str, Any]], schema: Schema, boolean: Literal["boolean", "float64"]
) -> pd.DataFrame:
    """Records in the schema's columns, null where missing: float64, str, and booleans as that type."""
    dtypes = {"number": "float64", "boolean": boolean, "category": "str"}
    return pd.DataFrame(
        {
            column.name: pd.Series([customer.get(column.name) for customer in customers], dtype=dtypes[column.type])
            for column in schema.columns
        }
    )
