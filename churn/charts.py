"""Charts of pages, drawn with matplotlib."""

import re
from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    axes.fill_between(x, lows, highs, alpha=0.25, color="#3b7ddd", linewidth=0)
    axes.plot(x, center, color="#3b7ddd", marker="o", markersize=3)
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


def svg(figure: "Figure", label: str) -> Markup:
    """The figure as an <svg> that `label` describes to screen readers.

    Text stays text. Black and white of the figure become the page's ink and paper, so that the chart can be read in
    dark mode, too; draw grids in black with an alpha, and the rest in colours that stand out on both.
    """
    from matplotlib import rc_context

    drawn = StringIO()
    # names of clip paths and markers come from their content and a fixed salt: the same figure is the same text
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "page"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    text = drawn.getvalue()
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'<g id="[a-z]+_?\w*">', "<g>", text)  # figure_1, axes_1: the same in each chart of a page
    text = text.replace("#000000", "currentColor").replace("#ffffff", "var(--paper)")
    text = text.replace("<svg ", Markup('<svg role="img" aria-label="{}" ').format(label), 1)
    return Markup(text)  # nosec B704: matplotlib escapes what it draws
