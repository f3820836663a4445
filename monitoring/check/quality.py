"""Data quality in production: missing values, levels that training never saw, numbers beyond the reference's range."""

from collections.abc import Mapping, Sequence

import pandas as pd

from churn.features import MISSING
from monitoring.check.findings import Quality

FLAWS = ("more_missing", "unseen", "outside")


def quality(
    reference: pd.DataFrame, current: pd.DataFrame, numbers: Sequence[str], levels: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    """Input -> shares of the current customers: `missing`; how much more that is than in the reference
    (`more_missing`); with a level that is not among `levels` (`unseen`); beyond the reference's range (`outside`).
    """
    shares: dict[str, dict[str, float]] = {}
    for name in numbers:
        now, before = current[name], reference[name]
        beyond = (now < before.min()) | (now > before.max())
        shares[name] = missing(before.isna(), now.isna()) | {"outside": float(beyond.mean())}
    for name, seen in levels.items():
        now, before = current[name], reference[name]
        unseen = ~now.isin([*seen, MISSING])
        shares[name] = missing(before == MISSING, now == MISSING) | {"unseen": float(unseen.mean())}
    return shares


def missing(reference: pd.Series, current: pd.Series) -> dict[str, float]:
    share = float(current.mean())
    return {"missing": share, "more_missing": share - float(reference.mean())}


def summary(shares: Mapping[str, Mapping[str, float]]) -> Quality:
    """The largest share of each flaw, and all shares by input."""
    largest = {flaw: max((values.get(flaw, 0.0) for values in shares.values()), default=0.0) for flaw in FLAWS}
    return Quality(**largest, features={name: dict(values) for name, values in shares.items()})
