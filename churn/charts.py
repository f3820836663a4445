"""Charts that several pages have, drawn with matplotlib."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from churn.page import svg


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
