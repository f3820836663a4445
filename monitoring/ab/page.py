"""The A/B report as one page that needs no other file: the verdict, the difference day by day, and the two arms."""

import io
from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from monitoring.ab.experiment import RATES, SCORES, title
from monitoring.frames import ANSWERED
from monitoring.text import cell

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>A/B report: {verdict}</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }}
  .verdict {{ border-left: .4rem solid {color}; background: #f5f6f8; padding: .8rem 1rem }}
  svg {{ width: 100%; height: auto }}
  table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }}
  th, td {{ text-align: right; padding: .35rem .6rem; border-bottom: 1px solid #d9dde3 }}
  th:first-child {{ text-align: left }}
  small {{ color: #57606a }}
</style>
<h1>A/B report</h1>
<p>{title}</p>
<p class="verdict">{words}</p>
{drawn}
<table>
<thead><tr><th></th><th>champion</th><th>challenger</th><th>difference</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
<p><small>Intervals of 95 % for one look, save the one at all looks together. Customers in both arms: {switched}.
Ratio of customers: p = {ratio_p:.2g}; ratio of outcomes: p = {labels_p:.2g}.</small></p>
</html>
"""
COLORS = {"better": "#1a7f37", "worse": "#cf222e", "invalid": "#bf8700"}


def page(found: Mapping[str, Any]) -> str:
    """The report of `monitoring.ab.report` as HTML."""
    arms, gained, last = found["arms"], found["differences"], found["sequential"]
    lines = [[key, *(f"{arms[arm][key]:,}" for arm in ANSWERED), ""] for key in ("customers", "labelled")]
    lines += [[key, *(cell(arms[arm], key, ".1%") for arm in ANSWERED), ""] for key in RATES]
    for key, shape in zip(SCORES, (".3f", ".3f", ".2f"), strict=True):
        lines.append([key, *(cell(arms[arm], key, shape) for arm in ANSWERED), cell(gained, key, f"+{shape}")])
    at_all_looks = {"profit": last["difference"], "profit_low": last["low"], "profit_high": last["high"]}
    lines.append(["profit, at all looks", "", "", cell(at_all_looks, "profit", "+.2f")])
    rows = [f"<tr><th>{escape(name.replace('_', ' '))}</th>{''.join(f'<td>{escape(c)}</td>' for c in cells)}</tr>"
            for name, *cells in lines]  # fmt: skip
    return PAGE.format(
        verdict=found["verdict"],
        color=COLORS.get(found["verdict"], "#57606a"),
        title=escape(title(found)),
        words=escape(found["words"]),
        drawn=figure(found),
        rows="\n".join(rows),
        **{key: found["checks"][key] for key in ("switched", "ratio_p", "labels_p")},
    )


def figure(found: Mapping[str, Any]) -> str:
    """An SVG: the difference in profit per customer with its interval, day by day from the first look on."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    seen = [day for day in found["days"] if np.isfinite(day["low"])]
    if not seen:
        return "<p>No look yet: too few outcomes.</p>"
    days = np.array([day["day"] for day in seen], dtype="datetime64[D]")
    middle, low, high = (np.array([day[key] for day in seen]) for key in ("difference", "low", "high"))
    # the same report is the same file: ids by a fixed salt, no date
    with rc_context({"svg.hashsalt": "ab", "font.size": 11}):
        drawn = Figure(figsize=(10, 4.5), layout="constrained")
        axes = drawn.subplots()
        axes.fill_between(days, low, high, alpha=0.25, color="#0969da", linewidth=0)
        axes.plot(days, middle, color="#0969da", marker="o", markersize=3, label="difference")
        axes.axhline(0, color="#1b1f24", linewidth=1)
        for effect in (-found["effect"], found["effect"]):
            axes.axhline(effect, color="#57606a", linestyle=":", linewidth=1)
        tallest = max(float(np.median(high - low)), 4 * found["effect"])  # the first days know little
        axes.set_ylim(max(low.min(), middle[-1] - tallest), min(high.max(), middle[-1] + tallest))
        axes.set(
            ylabel="profit per customer", title="challenger minus champion; the band holds at all looks; dots: effect"
        )
        axes.tick_params(axis="x", rotation=30)
        axes.spines[["top", "right"]].set_visible(False)
        file = io.StringIO()
        drawn.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    return svg[svg.index("<svg") :].replace("<svg ", '<svg role="img" aria-label="difference by day" ', 1)
