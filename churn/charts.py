"""Charts of pages, drawn with matplotlib."""

import re
from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOR = "#3b7ddd"


def band_by_day(
    days: Sequence[str],
    middle: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    *,
    effect: float,
    unit: str,
    label: str,
) -> Markup:
    """A difference with its interval, day by day; dotted lines at `effect` on both sides of 0."""
    from matplotlib.figure import Figure

    x = np.array(days, dtype="datetime64[D]")
    center, lows, highs = (np.array(values) for values in (middle, low, high))
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(x, lows, highs, alpha=0.25, color=COLOR, linewidth=0)
    axes.plot(x, center, color=COLOR, marker="o", markersize=3)
    axes.axhline(0, color="black", linewidth=1)
    for line in (-effect, effect):
        axes.axhline(line, color="black", alpha=0.6, linestyle=":", linewidth=1)
    tallest = max(float(np.median(highs - lows)), 4 * effect)  # the first days know little
    axes.set_ylim(max(lows.min(), center[-1] - tallest), min(highs.max(), center[-1] + tallest))
    axes.set_ylabel(unit)
    for tick in axes.get_xticklabels():
        tick.set(rotation=30, ha="right")
    axes.spines[["top", "right"]].set_visible(False)
    return svg(figure, label)


def calibration(predicted: np.ndarray, observed: np.ndarray) -> Markup:
    """Mean probability and share that left of each group, (n,) both, beside the line on which they are equal."""
    figure, axes = _empty()
    end = float(max(predicted.max(), observed.max())) * 1.05
    axes.plot([0, end], [0, end], color="black", alpha=0.6, linestyle=":", linewidth=1)
    axes.plot(predicted, observed, color=COLOR, marker="o", markersize=4)
    axes.set(xlabel="mean probability", ylabel="share that left", xlim=(0, end), ylim=(0, end))
    return svg(figure, "Share of customers that left, by their mean probability, in equal groups")


def profit(thresholds: np.ndarray, profits: np.ndarray, chosen: float) -> Markup:
    """Profit per customer at each threshold, (n,) both; the line stands at the chosen one."""
    figure, axes = _empty()
    axes.plot(thresholds, profits, color=COLOR)
    axes.axhline(0, color="black", linewidth=1)
    axes.axvline(chosen, color="black", alpha=0.6, linestyle=":", linewidth=1)
    axes.set(xlabel="threshold", ylabel="profit per customer", xlim=(0, 1))
    return svg(figure, f"Profit per customer by threshold; {chosen:g} is chosen")


def _empty() -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def svg(figure: "Figure", label: str) -> Markup:
    """The figure as an <svg> that `label` describes to screen readers.

    Text stays text. Black and white of the figure become the page's ink and paper, so that the chart can be read in
    dark mode, too; draw grids in black with an alpha, and the rest in colours that stand out on both.
    """
    from matplotlib import rc_context

    drawn = StringIO()
    # names of clip paths and markers come from their content and the label: the same figure is the same text, and two
    # figures of one page share no name
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    text = drawn.getvalue()
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'<g id="[A-Za-z.]+_?\w*">', "<g>", text)  # figure_1, axes_1: the same in each chart of a page
    # attributes in place of styles, which a content security policy would have to allow
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<[^<>]*) style="([^"]*)"', lambda found: f"{found[1]} {_attributes(found[2])}", text)
    text = text.replace("#000000", "currentColor").replace("#ffffff", "var(--paper)")
    named = Markup('<svg role="img" aria-label="{}" stroke-linejoin="round" ').format(label)
    text = text.replace("<svg ", named, 1)
    return Markup(text)  # nosec B704: matplotlib escapes what it draws


def _attributes(style: str) -> str:
    """fill: none; stroke-width: 2 -> fill="none" stroke-width="2" """
    return " ".join(f'{name}="{value}"' for name, value in (part.split(": ", 1) for part in style.split("; ")))
