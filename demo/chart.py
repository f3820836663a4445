"""The demo's chart: ROC AUC and profit over the months, with and without retraining; and a page that holds it."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib

matplotlib.use("agg")  # no window

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from churn.charts import svg
from churn.intervals import Interval
from churn.page import render
from churn.script import replacing, write_text
from demo.story import Month, Recovery, row, totals
from demo.world import CHANGED, WORLDS

WIDE = 13  # letters of a line above a month
TRUE, WITHOUT, ESTIMATED, REALISED = "#0b6e4f", "#9a9a9a", "#2f6fde", "#c2410c"


def draw(months: Sequence[Month], recovery: Recovery, wrong: float) -> Figure:
    """`wrong` is the true ROC AUC of the bad release."""
    with matplotlib.rc_context({"font.size": 10}):
        figure = Figure(figsize=(11, 7.5), layout="constrained")
        above, below = figure.subplots(2, sharex=True, height_ratios=(3, 2))
        aucs(above, months, recovery, wrong)
        money(below, months)
        below.set_xlabel("month")
        below.set_xticks([month.number for month in months])
    return figure


def write_png(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)


def aucs(axes: Axes, months: Sequence[Month], recovery: Recovery, wrong: float) -> None:
    numbers = [month.number for month in months]
    for label, estimates, colour, marker, offset in (
        ("estimated without outcomes, 95 %", [month.estimated for month in months], ESTIMATED, "D", -0.07),
        ("by outcomes, a month later, 95 %", [month.realised for month in months], REALISED, "o", 0.07),
    ):
        interval(axes, [n + offset for n in numbers], estimates, label, colour, marker)
    changed = [n for n, world in enumerate(WORLDS, 1) if world == CHANGED]
    label = "a model trained on plenty of the new customers"
    axes.plot(changed, [recovery.plenty] * len(changed), ":", color="black", lw=1.2, label=label)
    lines: Sequence[tuple[str, list[float], dict[str, Any]]] = (
        ("true, without retraining", [month.without.auc for month in months], {"ls": "--", "color": WITHOUT, "lw": 2}),
        ("true, of what was answered", [month.answered.auc for month in months], {"color": TRUE, "lw": 2.5}),
    )
    for label, values, style in lines:
        axes.plot(numbers, values, label=label, **style)
    at = next(month.number for month in months if "bad release" in month.events)
    axes.plot([at], [wrong], "x", color="#b00020", ms=9, mew=2.5, label="true, of the bad release alone")
    axes.set_ylabel("ROC AUC")
    axes.set_title("Customers change, the monitoring sees it, a retraining brings most of it back", loc="left")
    axes.set_ylim(min(month.without.auc for month in months) - 0.08, 0.95)
    axes.legend(loc="lower left", fontsize=9, frameon=False, ncols=2)
    events(axes, months)
    plain(axes)


def interval(
    axes: Axes, x: Sequence[float], estimates: Sequence[Interval | None], label: str, colour: str, marker: str
) -> None:
    known = [(at, estimate) for at, estimate in zip(x, estimates, strict=True) if estimate]
    values = [estimate.value for _, estimate in known]
    off = [[e.value - e.low for _, e in known], [e.high - e.value for _, e in known]]
    style: dict[str, Any] = {"fmt": marker, "color": colour, "ms": 4.5, "lw": 1.2, "capsize": 2.5}
    axes.errorbar([at for at, _ in known], values, off, label=label, **style)


def money(axes: Axes, months: Sequence[Month]) -> None:
    numbers = [month.number for month in months]
    gained, without = totals(months)
    for label, values, colour, offset in (
        (f"without retraining: {without:,.0f} in all", [month.without.profit for month in months], WITHOUT, -0.19),
        (f"with the loop: {gained:,.0f} in all", [month.answered.profit for month in months], TRUE, 0.19),
    ):
        axes.bar([n + offset for n in numbers], values, 0.36, color=colour, label=label)
    axes.axhline(0, color="black", lw=0.8)
    axes.set_ylabel("profit per customer")
    axes.legend(loc="upper left", bbox_to_anchor=(0.3, 1), fontsize=9, frameon=False)
    plain(axes)


def events(axes: Axes, months: Sequence[Month]) -> None:
    """What happened, above the months in which it did."""
    top = axes.get_ylim()[1]
    for month in months:
        if month.events:
            axes.axvline(month.number, color="black", lw=0.6, ls=":", zorder=0)
            words = "\n".join(fill(event, WIDE) for event in month.events)
            axes.text(month.number, top - 0.004, words, ha="center", va="top", fontsize=8.5,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip


def plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="black", alpha=0.1, lw=0.7)
    axes.set_axisbelow(True)


def write_page(figure: Figure, months: Sequence[Month], sentences: Sequence[str], path: Path) -> None:
    """One file: the sentences, the chart and the months."""
    rows = [row(month) for month in months]
    page = render(
        Path(__file__).with_suffix(".html"),
        sentences=sentences,
        drawing=svg(figure, "ROC AUC and profit over the months, with and without retraining"),
        head=list(rows[0]),
        rows=[list(cells.values()) for cells in rows],
    )
    write_text(path, page)
