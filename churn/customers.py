"""The shapes that customers come in: frames in their types, records of requests and golden lines, frames of records.

A boolean is `boolean` in a typed frame, true or false in a record, and float64 where a drift is measured.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from churn.dates import dates_at, days_before
from churn.schema import Schema


def records(customers: pd.DataFrame, schema: Schema) -> list[dict[str, Any]]:
    """Customers in their types as requests and golden lines hold them: true or false, null where missing, ISO dates.

    Where the schema has date columns, the frame holds the rows' time column as well, or all get the schema's as_of.
    """
    columns = {
        name: customers[name].astype(object).where(customers[name].notna(), None).tolist()
        for name in customers
        if name in {column.name for column in schema.columns}
    }
    if schema.moment:
        day = customers[schema.moment] if schema.time else pd.Series(pd.Timestamp(schema.as_of), customers.index)
        moments = day.to_numpy("datetime64[D]")
        columns |= {name: dates_at(customers[name].to_numpy("float64"), moments) for name in schema.dates}
        columns[schema.moment] = moments.astype(str).tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def frame_of(
    customers: Sequence[Mapping[str, Any]], schema: Schema, boolean: Literal["boolean", "float64"]
) -> pd.DataFrame:
    """Records in the schema's columns, null where missing: float64 (of dates the days before the customer's day), str,
    and booleans as that type."""
    dtypes = {"number": "float64", "boolean": boolean, "category": "str", "date": "float64"}
    values = {column.name: [customer.get(column.name) for customer in customers] for column in schema.columns}
    if schema.moment:
        days = [customer.get(schema.moment) for customer in customers]
        values |= {name: days_before(values[name], days).tolist() for name in schema.dates}
    return pd.DataFrame(
        {column.name: pd.Series(values[column.name], dtype=dtypes[column.type]) for column in schema.columns}
    )
