"""What in a table a person should look at: `validate` warns of it, `churn.draft_schema` marks it."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from churn.leakage import auc_alone
from churn.profile import rate
from churn.schema import Column, Target
from churn.text import quoted

MISSING_AUC = 0.7  # of missing or not alone; honest gaps stay below
MAX_TWINS = 0.01  # of the rows: new customers with the same tariff are twins by chance


def repeated_rows(copies: pd.Series, has_id: bool) -> Iterator[str]:
    if copies.any():
        alike = "" if has_id else "; without an id they may be customers who are alike: set it to false to keep them"
        yield (
            f"{copies.sum()} of {len(copies)} rows repeat an earlier row in every column, "
            f"e.g. row {copies.argmax() + 1}; preprocess.drop_duplicates drops them{alike}"
        )


def twin_rows(twins: pd.Series) -> Iterator[str]:
    if twins.mean() > MAX_TWINS:
        yield (
            f"{twins.sum()} of {len(twins)} rows repeat an earlier row in every column but id and time, e.g. row "
            f"{twins.argmax() + 1}; one customer under two ids? they stay on one side of the split"
        )


def rare_class(churned: pd.Series, target: Target, least: float) -> Iterator[str]:
    share = rate(churned)
    if share is not None and 0 < min(share, 1 - share) < least:
        yield (
            f"column '{target.name}': {churned.sum():.0f} of {churned.count()} values are positive, a share of "
            f"{share:.2%}; below {least:g} or above {1 - least:g} scores are unsteady, gather more of the rare outcome"
        )


def many_missing(cells: pd.Series, column: Column, most: float, where: str) -> Iterator[str]:
    nulls = cells.isna()
    if column.nullable and column.max_missing is None and nulls.mean() > most:
        yield (
            f"column '{column.name}': {nulls.sum()} of {len(cells)} values are missing, more than {most:g}, e.g. in "
            f"row {nulls.argmax() + 1}; drop the column, or say with max_missing in {where} how many may be"
        )


def constant(cells: pd.Series, where: str) -> Iterator[str]:
    if cells.nunique(dropna=False) == 1:
        value = quoted(cells.iloc[0])
        yield f"column '{cells.name}': all {len(cells)} values are {value}; it tells nothing, drop it in {where}"


def outliers(numbers: pd.Series, most: float) -> Iterator[str]:
    """Values outside the quartiles by more than 3 times their distance (Tukey's far out)."""
    if numbers.dtype != "float64" or numbers.isna().all():
        return
    low, high = np.quantile(numbers.dropna(), [0.25, 0.75], method="inverted_cdf")
    with np.errstate(over="ignore"):
        far = (numbers < low - 3 * (high - low)) | (numbers > high + 3 * (high - low))
    # where most values are equal the quartiles meet, and every other value would be far out
    if high > low and far.mean() > most:
        yield (
            f"column '{numbers.name}': {far.sum()} of {len(numbers)} values are more than 3 quartile distances outside "
            f"the quartiles {low:g} and {high:g}, e.g. {numbers[far].iloc[0]:g} in row {far.argmax() + 1}; check them"
        )


def leak(values: pd.Series, churned: pd.Series, least: float, where: str) -> Iterator[str]:
    auc = auc_alone(values, churned)
    if values.isna().any() and (gaps := auc_alone(values.isna().astype("str"), churned)) >= MISSING_AUC:
        yield (
            f"column '{values.name}': whether it is missing tells the outcome with ROC AUC {gaps:.3f}; is it filled in "
            f"after the customer leaves? if so, drop it in {where}"
        )
    if auc >= least:
        yield (
            f"column '{values.name}': alone it tells the outcome of {churned.count()} rows with ROC AUC {auc:.3f}, "
            f"at least {least:g}; is it known before the customer leaves? if not, drop it in {where}"
        )
