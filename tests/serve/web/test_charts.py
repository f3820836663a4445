"""Charts: where numbers come to stand, nice ticks, lines that break, and the table behind each."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn.page import environment
from serve.web.charts import (
    Event,
    Series,
    bars,
    by_number,
    distributions,
    marks_of,
    nice_step,
    number_axis,
    over_time,
    time_axis,
)
from serve.web.pages import TEMPLATES

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = [(START + timedelta(days=n)).timestamp() for n in range(4)]


@given(st.floats(1e-9, 1e9))
def test_a_step_is_one_two_or_five_times_a_power_of_ten(least: float) -> None:
    step = nice_step(least)
    assert least * (1 - 1e-9) <= step <= 2.5 * least * (1 + 1e-9)
    assert f"{step:e}"[0] in "125"


@given(st.lists(st.floats(-1e6, 1e6), max_size=5), st.booleans())
def test_an_axis_holds_its_values_and_few_ticks_at_their_places(values: list[float], is_tight: bool) -> None:
    axis = number_axis(values, ".2f", is_tight)
    assert all(-0.01 <= axis.at(value) <= 100.01 for value in values)
    assert len(axis.ticks) <= 7
    assert all(-0.01 <= tick.at <= 100.01 for tick in axis.ticks)


def test_labels_have_as_many_digits_as_their_step_needs() -> None:
    assert [tick.label for tick in number_axis([0.71, 0.78], ".3f").ticks] == ["0.70", "0.72", "0.74", "0.76", "0.78"]
    assert [tick.label for tick in number_axis([0, 0.9], ".1%").ticks] == ["0%", "50%", "100%"]
    assert [tick.label for tick in number_axis([0, 40_000], ",.2f").ticks][-1] == "40,000"


@pytest.mark.parametrize(
    ("days", "labels"),
    [
        (0.5, ["00:00", "03:00"]),
        (3, ["1 Jan", "2 Jan"]),
        (30, ["1 Jan"]),
        (90, ["Jan 2026", "Feb", "Mar", "Apr"]),
        (2000, ["Jan 2026", "Jan 2028", "Jan 2030"]),
    ],
)
def test_times_stand_at_full_hours_days_or_months(days: float, labels: list[str]) -> None:
    ticks = time_axis(START, START + timedelta(days=days)).ticks
    assert len(ticks) <= 7
    if days not in (0.5, 30):
        assert [tick.label for tick in ticks][: len(labels)] == labels
    assert all(0 <= tick.at <= 100 for tick in ticks)


def test_a_line_breaks_where_a_value_is_not_known() -> None:
    series = Series("seen", DAYS, [1.0, None, 2.0, 3.0], [0.5, None, 1.5, 2.5], [1.5, None, 2.5, 3.5])
    chart = over_time("Values", [series], START, START + timedelta(days=3), ".1f", level=(2.0, "limit"))
    (drawn,) = chart.series
    assert drawn.line.count("M") == drawn.band.count("M") == 2
    assert len(drawn.points) == 3
    assert chart.rows[0] == ["2026-01-01 00:00", "1.0 (0.5 to 1.5)"]
    assert chart.rows[1] == ["2026-01-02 00:00", ""]
    assert chart.level and chart.level.label == "limit 2.0"


def test_what_lies_beyond_the_axis_is_cut_off_and_stays_in_the_table() -> None:
    series = Series("profit", DAYS, [90.0, 2.0, 1.0, 1.5])
    chart = over_time("Profit", [series], START, START + timedelta(days=3), ".0f", within=(0, 4))
    assert [tick.label for tick in chart.y.ticks] == ["0", "1", "2", "3", "4"]
    assert len(chart.series[0].points) == 3
    assert chart.rows[0][1] == "90"


def test_several_series_share_the_rows_of_their_table() -> None:
    one, two = Series("a", DAYS[:2], [1.0, 2.0]), Series("b", DAYS[1:3], [3.0, 4.0])
    chart = over_time("Two", [one, two], START, START + timedelta(days=3), ".0f")
    assert chart.head == ["time", "a", "b"]
    assert [row[1:] for row in chart.rows] == [["1", ""], ["2", "3"], ["", "4"]]


def test_events_close_to_each_other_are_one_mark() -> None:
    events = [Event(START + timedelta(days=n), sign, f"on day {n}") for n, sign in ((50, "P"), (10, "R"), (51, "R"))]
    first, second = marks_of([*events, Event(START - timedelta(days=1), "P", "before")], START, START + timedelta(100))
    assert (first.signs, second.signs) == ("R", "PR")
    assert "on day 50" in second.text and "on day 51" in second.text


def test_a_bar_begins_at_zero_and_tells_when_it_is_over() -> None:
    gain, loss = bars([3.0, -1.0])
    assert (gain.left, gain.width, loss.left, loss.width) == (25, 75, 0, 25)
    below, over = bars([0.1, 0.5], limit=0.2, most=0.4)
    assert (below.is_over, over.is_over) == (False, True)
    assert (below.width, over.width, below.limit) == (25, 100, 50)


def test_distributions_are_drawn_as_steps() -> None:
    chart = distributions("Both", [0, 1, 2], [("training", [0.5, 0.5]), ("now", [0.25, 0.75])], ".0f")
    assert chart.rows == [["0 to 1", "50.0%", "25.0%"], ["1 to 2", "50.0%", "75.0%"]]
    assert chart.series[0].line == "M0 37.5L50 37.5L50 37.5L100 37.5"


def test_a_chart_is_drawn_without_styles_and_with_its_texts_escaped() -> None:
    chart = by_number("A <b>", "budget", [Series("<i>", [0, 10], [1, 2]), Series("b", [0], [1.5])], ".0f", ".1f")
    macro = environment(TEMPLATES).get_template("charts.html").module.line_chart  # type: ignore[attr-defined]
    text = str(macro(chart, "caption"))
    assert "<b>" not in text and "<i>" not in text
    assert not re.search(r"\sstyle=", text)
    assert 'role="img"' in text and "<details>" in text
