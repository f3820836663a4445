"""Charts of the console: numbers come in, places in percent and paths go out; the macros of charts.html draw them.

A plot fills its box: lines stretch with the page, texts keep their size. Behind each chart stands its table.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise

DAY = 86_400.0  # seconds
TICKS = 5  # of an axis, at most
STEPS = [3600 * h for h in (1, 3, 6, 12)] + [DAY * d for d in (1, 2, 7, 14)]  # seconds between ticks; then months
MONTHS = (1, 2, 3, 6, 12, 24, 60, 120, 240)
MAX_POINTS = 40  # of a line; where there are more, the line says enough
CLOSE = 3.0  # percent: marks nearer to each other are drawn as one


@dataclass(frozen=True)
class Tick:
    """A label at a place of an axis, in percent."""

    at: float
    label: str


@dataclass(frozen=True)
class Axis:
    low: float
    high: float
    ticks: list[Tick] = field(default_factory=list)

    def at(self, value: float) -> float:
        """Percent of the way from low to high."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)


@dataclass(frozen=True)
class Series:
    """A line; None where a value is not known, which breaks it. x are seconds since 1970 on an axis of times."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


@dataclass(frozen=True)
class Event:
    """What happened at a moment: a sign of a letter or two, and a sentence."""

    at: datetime
    sign: str
    text: str


@dataclass(frozen=True)
class Mark:
    """Events at one place of the axis."""

    at: float
    signs: str
    text: str


@dataclass(frozen=True)
class Drawn:
    """A series as paths in a box of 100 by 100, and its points."""

    name: str
    kind: int  # its colour, its dashes and the shape of its points
    line: str
    band: str
    points: list[tuple[float, float, str]]  # from the left and from the top, percent; what it says


@dataclass(frozen=True)
class Chart:
    label: str  # what it shows, for screen readers
    x: Axis
    y: Axis  # its ticks from the bottom
    series: list[Drawn]
    level: Tick | None  # a limit or an aim, from the bottom
    marks: list[Mark]
    head: list[str]  # of the table behind it
    rows: list[list[str]]


@dataclass(frozen=True)
class Bar:
    """A bar of a row, in percent of its cell; `limit` is where the limit's line stands."""

    left: float
    width: float
    is_over: bool
    zero: float
    limit: float | None


@dataclass(frozen=True)
class Span:
    """What held for a while, in percent of the time axis."""

    left: float
    width: float
    level: str


@dataclass(frozen=True)
class Strip:
    name: str
    spans: list[Span]


def over_time(
    label: str,
    series: Sequence[Series],
    start: datetime,
    end: datetime,
    shape: str,
    level: tuple[float, str] | None = None,
    events: Sequence[Event] = (),
    least: float | None = None,
    within: tuple[float, float] | None = None,
) -> Chart:
    """Lines with their bands from start to end; the level is a value and its name.

    The y axis holds `least`; it ends with `within`, and cuts off what lies beyond.
    """
    x, marks = time_axis(start, end), marks_of(events, start, end)
    return _chart(label, "time", series, x, _moment, shape, level, marks, least, within)


def by_number(
    label: str, name: str, series: Sequence[Series], shape_x: str, shape: str, level: tuple[float, str] | None = None
) -> Chart:
    """Lines over a number of that name."""
    x = number_axis([value for one in series for value in one.x], shape_x, is_tight=True)
    return _chart(label, name, series, x, lambda value: format(value, shape_x), shape, level, [])


def distributions(
    label: str, edges: Sequence[float], sides: Sequence[tuple[str, Sequence[float]]], shape: str
) -> Chart:
    """Histograms over each other: shares (n,) between edges (n + 1,), as lines with steps."""
    x = number_axis(edges, shape, is_tight=True)
    y = number_axis([0.0, *(share for _, shares in sides for share in shares)], ".0%")
    drawn = []
    for kind, (name, shares) in enumerate(sides):
        steps = [(x.at(edge), 100 - y.at(share)) for i, share in enumerate(shares) for edge in edges[i : i + 2]]
        line = _path(steps)
        drawn.append(Drawn(name, kind, line, f"{line}L{x.at(edges[-1])} 100L{x.at(edges[0])} 100Z", []))
    rows = [
        [f"{low:{shape}} to {high:{shape}}", *(f"{shares[i]:.1%}" for _, shares in sides)]
        for i, (low, high) in enumerate(pairwise(edges))
    ]
    return Chart(label, x, y, drawn, None, [], ["from – to", *(name for name, _ in sides)], rows)


def bars(values: Sequence[float], limit: float | None = None, most: float | None = None) -> list[Bar]:
    """A bar for each value on one axis with 0; `most` ends it, and values from the limit on are over it."""
    low, high = min([0.0, *values]), max([0.0, *values, *([] if limit is None else [limit])])
    high = high if most is None else most
    axis = Axis(low, high if high > low else low + 1)
    zero = axis.at(0)

    def bar(value: float) -> Bar:
        end = axis.at(min(max(value, axis.low), axis.high))
        is_over = limit is not None and value >= limit
        return Bar(min(zero, end), round(abs(end - zero), 2), is_over, zero, None if limit is None else axis.at(limit))

    return [bar(value) for value in values]


def strip(name: str, levels: Sequence[tuple[datetime, str]], start: datetime, end: datetime) -> Strip:
    """Levels that hold from a moment to the next one, "" for none; the last to the end."""
    axis = Axis(start.timestamp(), max(end.timestamp(), start.timestamp() + 1))
    spans: list[Span] = []
    for (at, level), (until, _) in pairwise([*levels, (end, "")]):
        left, right = axis.at(at.timestamp()), axis.at(until.timestamp())
        if spans and spans[-1].level == level:
            left = spans.pop().left
        spans.append(Span(left, round(right - left, 2), level))
    return Strip(name, [span for span in spans if span.level])


def number_axis(values: Sequence[float], shape: str, is_tight: bool = False) -> Axis:
    """From a nice number to another around the values; tight: from the least to the largest."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if not high > low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    step = nice_step((high - low) / (TICKS if is_tight else TICKS - 1))
    if not is_tight:
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    axis = Axis(low, high)
    steps = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return Axis(low, high, [Tick(axis.at(n * step), _label(n * step, step, shape)) for n in steps])


def _label(value: float, step: float, shape: str) -> str:
    """The value as `shape` has it, with as many digits as the step needs."""
    kind = shape[-1]
    digits = max(0, -math.floor(math.log10(step * (100 if kind == "%" else 1)) + 1e-9))
    return f"{value + 0.0:{',' if ',' in shape else ''}.{digits}{kind if kind in '%f' else 'f'}}"


def nice_step(least: float) -> float:
    """1, 2 or 5 times a power of ten, from `least` on."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(n * power for n in (1, 2, 5, 10) if n * power >= least * (1 - 1e-9))


def time_axis(start: datetime, end: datetime) -> Axis:
    low, high = start.timestamp(), max(end.timestamp(), start.timestamp() + 1)
    axis = Axis(low, high)
    return Axis(low, high, [Tick(axis.at(at.timestamp()), label) for at, label in _times(start, end)])


def _times(start: datetime, end: datetime) -> Iterator[tuple[datetime, str]]:
    """Full hours, days or months from start to end, in UTC."""
    span = (end - start).total_seconds()
    step = next((step for step in STEPS if span / step <= TICKS), None)
    if step is None:
        months = next((n for n in MONTHS if span / (n * 30 * DAY) <= TICKS), MONTHS[-1])
        first = start.year * 12 + start.month - 1
        for number in range(-(-first // months) * months, end.year * 12 + end.month, months):
            at = datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)
            if start <= at <= end:
                yield at, f"{at:%b %Y}" if at.month <= months else f"{at:%b}"
        return
    at = datetime.fromtimestamp(math.ceil(start.timestamp() / step) * step, UTC)
    while at <= end:
        yield at, f"{at:%H:%M}" if step < DAY and at.hour else f"{at.day} {at:%b}"
        at += timedelta(seconds=step)


def marks_of(events: Sequence[Event], start: datetime, end: datetime) -> list[Mark]:
    """Events within the axis; those close to each other are one mark."""
    axis = Axis(start.timestamp(), max(end.timestamp(), start.timestamp() + 1))
    within = sorted((event for event in events if start <= event.at <= end), key=lambda event: event.at)
    marks: list[Mark] = []
    for event in within:
        at, text = axis.at(event.at.timestamp()), f"{_moment(event.at.timestamp())} {event.text}"
        if marks and at - marks[-1].at < CLOSE:
            last = marks.pop()
            signs = last.signs if event.sign in last.signs else last.signs + event.sign
            marks.append(Mark(last.at, signs, f"{last.text}; {text}"))
        else:
            marks.append(Mark(at, event.sign, text))
    return marks


def _chart(
    label: str,
    name: str,
    series: Sequence[Series],
    x: Axis,
    written: Callable[[float], str],  # a place of the x axis
    shape: str,
    level: tuple[float, str] | None,
    marks: list[Mark],
    least: float | None = None,
    within: tuple[float, float] | None = None,
) -> Chart:
    known = [value for one in series for values in (one.y, one.low, one.high) for value in values if value is not None]
    y = number_axis([*(within or known), *([level[0]] if level else []), *([] if least is None else [least])], shape)
    cells = [[_cell(one, i, shape) for i in range(len(one.x))] for one in series]
    drawn = [
        Drawn(
            one.name,
            kind,
            "".join(_path([(x.at(one.x[i]), _from_top(y, one.y[i])) for i in run]) for run in _runs(one.y)),
            "".join(_around(one, run, x, y) for run in _runs(one.low) if one.low),
            [
                (x.at(at), _from_top(y, value), f"{one.name}, {written(at)}: {cell}")
                for at, value, cell in zip(one.x, one.y, texts, strict=True)
                if value is not None and len(one.x) <= MAX_POINTS and y.low <= value <= y.high
            ],
        )
        for kind, (one, texts) in enumerate(zip(series, cells, strict=True))
        if one.x
    ]
    by_place = [dict(zip(one.x, texts, strict=True)) for one, texts in zip(series, cells, strict=True)]
    rows = [
        [written(at), *(texts.get(at, "") for texts in by_place)]
        for at in sorted({at for one in series for at in one.x})
    ]
    line = level and Tick(y.at(level[0]), f"{level[1]} {level[0]:{shape}}")
    return Chart(label, x, y, drawn, line, marks, [name, *(one.name for one in series)], rows)


def _cell(series: Series, i: int, shape: str) -> str:
    """The value and its interval, as far as they are known."""
    value = series.y[i]
    low, high = (values[i] if values else None for values in (series.low, series.high))
    if value is None:
        return ""
    return f"{value:{shape}}" if low is None or high is None else f"{value:{shape}} ({low:{shape}} to {high:{shape}})"


def _runs(values: Sequence[float | None]) -> Iterator[list[int]]:
    """Positions of known values, between those that are not."""
    for is_known, run in groupby(range(len(values)), lambda i: values[i] is not None):
        if is_known:
            yield list(run)


def _around(series: Series, run: Sequence[int], x: Axis, y: Axis) -> str:
    """The band over these positions: along its upper end, and back along the lower."""
    upper = [(x.at(series.x[i]), _from_top(y, series.high[i])) for i in run]
    lower = [(x.at(series.x[i]), _from_top(y, series.low[i])) for i in reversed(run)]
    return f"{_path([*upper, *lower])}Z"


def _from_top(axis: Axis, value: float | None) -> float:
    return 0.0 if value is None else round(100 - axis.at(value), 2)


def _path(places: Sequence[tuple[float, float]]) -> str:
    path = "M" + "L".join(f"{left:g} {top:g}" for left, top in places)
    return path if len(places) > 1 else f"{path}h0"  # a dot


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
