"""Frames of customers to frames of model inputs: the functions of churn/features.py on pandas."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from churn import features


def is_category(column: pd.Series) -> bool:
    return not (pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype))


def input_names(customers: pd.DataFrame, names: Iterable[str]) -> tuple[list[str], list[str], list[str]]:
    """The features of `names` whose columns are there, and the inputs' names: the numbers, then the categories.

    A column of the table that is called like a feature stays as it is.
    """
    levels = {column for column in customers if is_category(customers[column])}
    usable = set(customers.columns) - (levels & features.NUMBERS)
    added = features.available(usable, [name for name in names if name not in customers])
    levels |= features.CATEGORIES & set(added)
    columns = [*customers.columns, *added]
    return added, [c for c in columns if c not in levels], [c for c in columns if c in levels]


def model_inputs(
    customers: pd.DataFrame, added: Iterable[str], numbers: Iterable[str], categories: Iterable[str]
) -> pd.DataFrame:
    """(n, k + m): k numbers as float32, NaN where missing, booleans 0 and 1; m categories, "missing" where missing."""
    levels = set(categories)
    columns: dict[str, np.ndarray] = {}
    for name in customers:
        dtype, missing = ("object", None) if name in levels else ("float64", np.nan)
        columns[name] = customers[name].to_numpy(dtype, na_value=missing)
    columns = features.add_features(columns, added)
    return pd.DataFrame(
        {name: columns[name].astype("float32") for name in numbers}
        | {name: features.filled(columns[name]) for name in categories},
        index=customers.index,
    )
