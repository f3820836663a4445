"""Checks of production for tests of pages: the report's keys, as python -m monitoring.check --json prints them."""

from datetime import datetime, timedelta
from typing import Any

from serve.log import checks
from serve.log.database import connect


def ends(name: str, value: float) -> dict[str, float]:
    return {name: value, f"{name}_low": value - 0.02, f"{name}_high": value + 0.02}


def sides(reference: list[float], current: list[float], **more: Any) -> dict[str, Any]:
    return {"edges": [], "levels": [], "low": None, "high": None, "reference": reference, "current": current} | more


def report(at: datetime, auc: float = 0.8, reasons: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
    """What a check at that moment might find; reasons are ids and their levels."""
    levels = [level for _, level in reasons]
    window = {"start": at - timedelta(days=30), "end": at, "cohort_start": at - timedelta(days=60)}
    window |= {"cohort_end": at - timedelta(days=30)}
    realised = (
        ends("roc_auc", auc - 0.01) | ends("profit_per_customer", 12.0) | ends("slope", 0.9) | ends("intercept", 0.1)
    )
    return {
        "verdict": "breach" if "breach" in levels else "warn" if levels else "healthy",
        "reasons": [{"id": name, "level": level, "words": f"<i>{name}</i> & more"} for name, level in reasons],
        "window": {name: moment.isoformat() for name, moment in window.items()} | {"model_version": "0123456789ab"},
        "customers": 1234,
        "reference": {"customers": 5000, "roc_auc": 0.81, "churn_rate": 0.2},
        "drift": {
            "share": 0.5, "drifted": ["tenure"], "prediction": 0.1,
            "features": {
                "contract": {"distance": 0.01, "threshold": 0.1, "drifted": False},
                "tenure": {"distance": 0.4, "threshold": 0.1, "drifted": True},
            },
        },
        "quality": {
            "more_missing": 0.0, "unseen": 0.1, "outside": 0.0,
            "features": {
                "contract": {"missing": 0.0, "more_missing": 0.0, "unseen": 0.1},
                "tenure": {"missing": 0.05, "more_missing": 0.05, "outside": 0.0},
            },
        },
        "distributions": {
            "contract": sides([0.6, 0.4], [0.5, 0.5], levels=["One year", "<b>other</b>"]),
            "tenure": sides([0.5, 0.5], [0.8, 0.2], edges=[0.0, 36.0, 72.0], low=0.0, high=72.0),
        },
        "estimated": ends("roc_auc", auc) | ends("profit_per_customer", 13.0),
        "realised": realised,
    }  # fmt: skip


def keep(url: str, *made: tuple[datetime, dict[str, Any]]) -> None:
    """Have these checks in the log."""
    engine = connect(url)
    with engine.connect() as connection:
        for at, found in made:
            checks.record(connection, at, found)
    engine.dispose()
