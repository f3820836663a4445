"""Pictures of what a pull request changes: the plots of dvc.yaml, the base and the workspace in one chart each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pandas as pd

NAMES = ("roc", "calibration", "threshold_profit")  # of the plots in dvc.yaml that are drawn


@dataclass(frozen=True)
class Chart:
    """A plot of dvc.yaml: the columns x and y of the CSV file at `path`."""

    title: str
    path: str
    x: str
    y: str


def charts(plots: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Those of NAMES, from `plots` of dvc.yaml."""
    named = {name: options for plot in plots for name, options in plot.items()}
    found = [(named[name], *next(iter(named[name]["y"].items()))) for name in NAMES if name in named]
    return [Chart(options["title"], path, options["x"], y) for options, path, y in found]


def draw(chart: Chart, before: bytes | None, after: bytes | None) -> bytes:
    """The PNG of a chart; `before` and `after` are its CSV files, None where a revision has none."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    for content, label, style in ((before, "before", "--"), (after, "after", "-")):
        if content is not None:
            frame = pd.read_csv(BytesIO(content))
            axes.plot(frame[chart.x], frame[chart.y], label=label, linestyle=style)
    axes.set(title=chart.title, xlabel=chart.x.replace("_", " "), ylabel=chart.y.replace("_", " "))
    axes.legend()
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()
