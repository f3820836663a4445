"""Numbers, times and keys as reports write them, for people and for programs."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import pytest

from churn.intervals import Interval
from churn.report_text import day_and_hour, label, plain, shown


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(0.5, 0.25, 0.75), "0.50 (0.25 to 0.75)"),
        (Interval(0.5, -math.inf, math.inf), "0.50"),
        (Interval(0.5, math.nan, math.nan), "0.50"),
        (Interval(math.nan, math.nan, math.nan), "-"),
    ],
)
def test_an_interval_is_shown_as_far_as_there_is_one(interval: Interval, text: str) -> None:
    assert shown(interval, ".2f") == text


def test_times_are_shown_in_utc() -> None:
    at = datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert day_and_hour(at) == "2026-02-28 23:30 UTC"


def test_keys_become_words() -> None:
    assert (label("churn_rate"), label("roc_auc")) == ("churn rate", "ROC AUC")


@dataclass(frozen=True, kw_only=True)
class Inner:
    brier: Interval


@dataclass(frozen=True, kw_only=True)
class Outer:
    at: datetime
    parts: dict[str, Inner]
    listed: list[Inner]
    nothing: Inner | None


def test_dataclasses_become_plain_values_with_flat_intervals_in_the_order_of_the_fields() -> None:
    inner = Inner(brier=Interval(0.2, 0.1, 0.3))
    outer = Outer(at=datetime(2026, 3, 1, tzinfo=UTC), parts={"a": inner}, listed=[inner], nothing=None)
    flat = {"brier": 0.2, "brier_low": 0.1, "brier_high": 0.3}
    result = plain(outer)
    assert result == {"at": "2026-03-01T00:00:00+00:00", "parts": {"a": flat}, "listed": [flat], "nothing": None}
    assert list(result) == ["at", "parts", "listed", "nothing"]
