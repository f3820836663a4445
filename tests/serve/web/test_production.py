"""The page of production: scores, verdicts and reasons over time, of a range of days, however many checks there are."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from serve.settings import read_settings
from serve.web.production.checks import MAX_SHOWN, bounds, releases_between, thinned
from tests.serve.web.conftest import READER
from tests.serve.web.history import keep, report

NOW = datetime.now(UTC)
MONTHS = [NOW - timedelta(days=days) for days in (60, 40, 20, 1)]


@pytest.fixture(scope="module")
def watched(console: Any) -> Any:
    """A console whose log has four checks."""
    unseen, drift = ("unseen", "breach"), ("input_drift", "warn")
    reasons = [(), (unseen,), (), (drift,)]
    made = [(at, report(at, 0.8 - 0.01 * i, reasons[i])) for i, at in enumerate(MONTHS)]
    keep(read_settings().log, *made)
    return console


@pytest.fixture
def page(watched: Any, visitor: Callable[[str], Any]) -> Callable[[str], Any]:
    browser = visitor(READER)
    return lambda query="", twin=False: browser.get(f"/console/production{'.json' if twin else ''}{query}")


def test_scores_stand_at_the_end_of_the_window_of_their_customers(page: Callable[..., Any]) -> None:
    content = page(twin=True).json()
    scores = {score["key"]: score for score in content["scores"]}
    assert list(scores) == ["roc_auc", "profit_per_customer", "slope", "intercept"]
    auc = scores["roc_auc"]
    assert [point["value"] for point in auc["estimated"]] == pytest.approx([0.80, 0.79, 0.78, 0.77])
    assert [datetime.fromisoformat(point["at"]) for point in auc["estimated"]] == MONTHS
    cohort_ends = [at - timedelta(days=30) for at in MONTHS]
    assert [datetime.fromisoformat(point["at"]) for point in auc["realised"]] == cohort_ends
    assert auc["aim"] == 0.81
    assert scores["slope"]["estimated"] == [] and scores["slope"]["aim"] == 1.0


def test_reasons_say_since_when_and_whether_they_still_hold(page: Callable[..., Any]) -> None:
    drift, unseen = page(twin=True).json()["alerts"]
    assert (drift["id"], drift["is_open"], drift["section"]) == ("input_drift", True, "churninputdrift")
    assert (unseen["id"], unseen["is_open"], unseen["level"], unseen["checks"]) == ("unseen", False, "breach", 1)
    assert datetime.fromisoformat(unseen["first"]) == datetime.fromisoformat(unseen["last"]) == MONTHS[1]


def test_the_page_shows_each_with_a_table_and_escapes_what_checks_say(page: Callable[..., Any]) -> None:
    text = page().text
    assert text.count("<summary>As a table") == 4
    assert "0.770 (0.750 to 0.790)" in text
    assert "&lt;i&gt;input_drift&lt;/i&gt; &amp; more" in text and "<i>" not in text
    assert 'href="/console/runbook#churninputdrift"' in text
    assert text.index("tenure</a>") < text.index("contract</a>")  # it moved most


def test_a_range_of_days_leaves_out_the_others(page: Callable[..., Any]) -> None:
    first, last = (f"{MONTHS[i]:%Y-%m-%d}" for i in (1, 2))
    content = page(f"?from={first}&to={last}", twin=True).json()
    assert content["range"]["checks"] == 2
    assert datetime.fromisoformat(content["last"]["at"]) == MONTHS[2]
    assert f'value="{first}"' in page(f"?from={first}&to={last}").text
    empty = page("?from=2020-01-01&to=2020-02-01")
    assert (empty.status_code, "No check of production is of these days." in empty.text) == (200, True)


@pytest.mark.parametrize("query", ["?from=never", "?from=2026-02-30", "?from=0", "?to=20260101"])
def test_days_that_are_none_are_refused(query: str, page: Callable[..., Any]) -> None:
    for twin in (False, True):
        assert page(query, twin=twin).status_code == 422


def test_a_day_that_was_cleared_is_the_default_one(page: Callable[..., Any]) -> None:
    assert f'value="{NOW:%Y-%m-%d}"' in page("?from=&to=").text
    assert page("?from=&to=", twin=True).status_code == 422


def test_a_promotion_stands_on_the_same_axis(page: Callable[..., Any]) -> None:
    (promoted,) = page(twin=True).json()["releases"]
    assert promoted["sign"] == "P"
    assert page().text.count('<g class="mark">') == 4


def test_a_report_of_another_version_is_shown_as_far_as_it_goes(watched: Any, visitor: Callable[[str], Any]) -> None:
    at = NOW - timedelta(days=200)
    made = {name: report(at)[name] for name in ("verdict", "reasons", "window")} | {"estimated": None}
    keep(read_settings().log, (at, made))
    answer = visitor(READER).get(f"/console/production?to={at:%Y-%m-%d}")
    assert (answer.status_code, "<h2>Inputs" in answer.text) == (200, False)


def test_of_many_checks_the_worst_of_each_stretch_and_the_newest_are_shown() -> None:
    at = [NOW + timedelta(hours=n) for n in range(2160)]
    verdicts = [(moment, "breach" if n == 1000 else "healthy") for n, moment in enumerate(at)]
    shown = thinned(verdicts)
    assert len(shown) <= MAX_SHOWN + 1
    assert {at[1000], at[-1]} <= set(shown) and shown == sorted(shown)
    assert thinned([]) == [] and thinned(verdicts[:5]) == at[:5]


def test_days_are_whole_ones_in_utc() -> None:
    start, end = bounds(datetime(2026, 1, 1).date(), datetime(2026, 1, 2).date())
    assert end - start == timedelta(days=2) - timedelta(microseconds=1)
    assert bounds(end.date(), start.date()) == (start, end)
    assert bounds(date.min, date.max)[0].year == 2000 and bounds(None, date.min)[0].year == 2000


def test_retrainings_and_rollbacks_are_events_too() -> None:
    state = {"champion": "old", "previous": None, "challenger": None, "share": 0.0, "shadow": None}
    acts: list[Any] = [
        {"at": NOW.isoformat(), "who": "", "act": act, "version": "new", "reason": "", "state": state, **more}
        for act, more in (("add", {}), ("add", {"lineage": {"until": "2026"}}), ("promote", {}), ("rollback", {}))
    ]
    assert [event.sign for event in releases_between(acts, NOW - timedelta(days=1), NOW)] == ["R", "P", "B"]
    assert releases_between(acts, NOW + timedelta(days=1), NOW + timedelta(days=2)) == []
