"""The monitoring report as one page: the verdict, its reasons, and the numbers behind them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from monitoring.text import cell, day_and_hour

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Monitoring: {verdict}</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }}
  .verdict {{ border-left: .4rem solid {color}; background: #f5f6f8; padding: .8rem 1rem }}
  table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }}
  th, td {{ text-align: right; padding: .3rem .6rem; border-bottom: 1px solid #d9dde3 }}
  th:first-child, td.words {{ text-align: left }}
  .bar {{ display: inline-block; height: .7rem; background: #0969da }}
  .over {{ background: #cf222e }}
  small {{ color: #57606a }}
</style>
<h1>Monitoring</h1>
<p>{title}</p>
<div class="verdict"><strong>{verdict}</strong>{reasons}</div>
<h2>Performance</h2>
{performance}
<p><small>{known}</small></p>
<h2>Inputs</h2>
{inputs}
</html>
"""
COLORS = {"healthy": "#1a7f37", "warn": "#bf8700", "breach": "#cf222e", "unknown": "#57606a"}
COLUMNS = ("", "estimated, without outcomes", "by outcomes", "minus the estimate for the same")
SCORES = {"roc_auc": ".3f", "brier": ".3f", "churn_rate": ".1%", "profit_per_customer": ".2f"}
ESTIMATED_ALONE = {"recall": ".1%", "precision": ".1%"}
REALISED_ALONE = {"slope": ".2f", "intercept": ".2f"}


def page(found: Mapping[str, Any], drift_page: str) -> str:
    """The report of `monitoring.report.report` as HTML; `drift_page` is where Evidently's charts are."""
    reasons = "".join(f"<li>{escape(r['level'])}: {escape(r['words'])}</li>" for r in found["reasons"])
    return PAGE.format(
        verdict=found["verdict"],
        color=COLORS[found["verdict"]],
        title=escape(title(found)),
        reasons=f"<ul>{reasons}</ul>" if reasons else " - no threshold is crossed",
        performance=table(COLUMNS, performance(found)),
        known=escape(known(found)),
        inputs=inputs(found, drift_page),
    )


def title(found: Mapping[str, Any]) -> str:
    window = found["window"]
    span = f"{day_and_hour(window['start'])} to {day_and_hour(window['end'])}"
    return f"champion {window['model_version']}, {found['customers']:,} customers from {span}"


def known(found: Mapping[str, Any]) -> str:
    """What the outcomes are of, and how far the estimate can be trusted."""
    window, cohort, estimated = found["window"], found["cohort"], found["estimated"]
    span = f"{day_and_hour(window['cohort_start'])} to {day_and_hour(window['cohort_end'])}"
    text = f"outcomes are those of {cohort['labelled']:,} of {cohort['customers']:,} customers from {span}"
    if cohort["problem"]:
        text += f", not scored: {cohort['words']}"
    if estimated is None:
        return text
    trust = {
        True: "its probabilities still mean what they say",
        False: "not to be trusted, for customers leave for other reasons than in training",
        None: "not checked yet against outcomes",
    }
    return f"{text}; the estimate: {trust[estimated['trusted']]}"


def performance(found: Mapping[str, Any]) -> list[list[str]]:
    """Rows: a score, estimated, realised, and the difference on the same customers."""
    estimated, realised = found["estimated"] or {}, found["realised"] or {}
    rows = []
    for key, shape in (SCORES | ESTIMATED_ALONE | REALISED_ALONE).items():
        gap = cell(realised, f"{key}_gap", f"+{shape}") if f"{key}_gap" in realised else ""
        sides = [cell(side, key, shape) if key in side else "" for side in (estimated, realised)]
        rows.append([key.replace("_", " "), *sides, gap])
    return rows


def inputs(found: Mapping[str, Any], drift_page: str) -> str:
    drift, quality = found["drift"], found["quality"]
    if drift is None:
        return "<p>Too few customers to compare.</p>"
    features = drift["features"]
    rows = [
        [
            escape(name),
            bar(moved["distance"] / moved["threshold"]),
            f"{moved['distance']:.3f}",
            *(shown(quality["features"][name].get(check)) for check in ("missing", "unseen", "outside")),
        ]
        for name, moved in sorted(features.items(), key=lambda item: -item[1]["distance"] / item[1]["threshold"])
    ]
    head = ["input", "of its threshold", "distance", "missing", "unseen level", "beyond the range"]
    link = f' <a href="{escape(drift_page)}">Evidently\'s charts</a>.' if drift_page else ""
    return (
        f"<p>{len(drift['drifted'])} of {len(features)} inputs drifted; the probabilities moved by "
        f"{drift['prediction']:.3f} standard deviations.{link}</p>\n{table(head, rows)}"
    )


def bar(share: float) -> str:
    over = " over" if share >= 1 else ""
    return f'<span class="bar{over}" style="width:{min(share, 3) * 4:.2f}rem"></span>'


def shown(share: float | None) -> str:
    return "" if share is None or math.isnan(share) else f"{share:.1%}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells hold HTML, the first of a row is its name."""
    lines = [f"<tr><th>{name}</th>{''.join(f'<td>{text}</td>' for text in cells)}</tr>" for name, *cells in rows]
    heads = "".join(f"<th>{text}</th>" for text in head)
    return f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody>\n</table>"
