"""Dates of customers as models read them: whole days before the day that the customer is described as of."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np


def today() -> str:
    """ISO 8601, in UTC."""
    return datetime.now(UTC).date().isoformat()


def days_before(dates: Sequence[str | None], days: Sequence[str | None]) -> np.ndarray:
    """(n,) float64 from each ISO 8601 date to its day, NaN where either is missing; below 0 for dates after the day."""
    from_, to = (np.array(texts, "datetime64[D]") for texts in (dates, days))
    found = (to - from_).astype("float64")
    found[np.isnat(from_) | np.isnat(to)] = np.nan
    return found


def dates_at(days: np.ndarray, moments: np.ndarray) -> list[str | None]:
    """The inverse of `days_before`: (n,) days before (n,) moments (datetime64) as ISO 8601 dates."""
    known = ~np.isnan(days)
    dates = moments.astype("datetime64[D]") - np.where(known, days, 0).astype("int64").astype("timedelta64[D]")
    return [str(date) if there else None for date, there in zip(dates, known, strict=True)]
