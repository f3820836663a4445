"""Data quality in production: missing values, levels that training never saw, numbers beyond the reference's range."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from churn.features import MISSING


def quality(
    reference: pd.DataFrame, current: pd.DataFrame, numbers: Sequence[str], levels: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    """Input -> shares of the current customers: missing, beyond what the reference misses (`more_missing`), with a
    level that is not among `levels` (`unseen`), beyond the reference's smallest and largest value (`outside`).
    """
    found: dict[str, dict[str, float]] = {}
    for name in numbers:
        there, known = current[name], reference[name]
        beyond = (there < known.min()) | (there > known.max())
        found[name] = missing(known.isna(), there.isna()) | {"outside": float(beyond.mean())}
    for name, seen in levels.items():
        there, known = current[name], reference[name]
        unseen = ~there.isin([*seen, MISSING])
        found[name] = missing(known == MISSING, there == MISSING) | {"unseen": float(unseen.mean())}
    return found


def missing(reference: pd.Series, current: pd.Series) -> dict[str, float]:
    share = float(current.mean())
    return {"missing": share, "more_missing": share - float(reference.mean())}


def summary(found: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """The largest share of each check, and all of them by input."""
    checks = ("more_missing", "unseen", "outside")
    largest = {check: max((values.get(check, 0.0) for values in found.values()), default=0.0) for check in checks}
    return {**largest, "features": dict(found)}
