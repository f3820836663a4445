"""The A/B report for people: as text, and as a page with the verdict, the difference day by day, and the two arms."""

from pathlib import Path

import numpy as np
from markupsafe import Markup

from churn.charts import band_by_day
from churn.page import render
from churn.report_text import day_and_hour, label, shown
from churn.text import columns
from monitoring.ab.report import Report
from monitoring.frames import ARMS

TONES = {"better": "good", "worse": "bad", "invalid": "warn"}
HEAD = ("measure", *ARMS, "difference")
RATES = {"churn_rate": ".1%", "flagged_rate": ".1%"}
SHAPES = {"roc_auc": ".3f", "brier": ".3f", "profit_per_customer": ".2f"}


def as_text(report: Report) -> str:
    lines = [title(report), "", *columns([HEAD, *rows(report)]), "", checks(report), report.words]
    return "".join(f"{line}\n" for line in lines)


def as_html(report: Report) -> str:
    return render(
        Path(__file__).with_suffix(".html"),
        report=report,
        tone=TONES.get(report.verdict, ""),
        title=title(report),
        head=HEAD,
        rows=rows(report),
        checks=checks(report),
        drawing=drawing(report),
    )


def title(report: Report) -> str:
    releases = f"champion {report.champion} against challenger {report.challenger}"
    return f"{releases} with {report.share:.0%} of the customers since {day_and_hour(report.since)}"


def checks(report: Report) -> str:
    checks = report.checks
    ratios = f"ratio of customers p = {checks.srm_p:.2g}, of outcomes p = {checks.labels_p:.2g}"
    return f"{ratios}; {checks.switched} customers in both arms"


def rows(report: Report) -> list[list[str]]:
    """Rows: a count, a rate or a score of champion and challenger, and the difference."""
    arms = [report.arms[arm] for arm in ARMS]
    lines = [[key, *(f"{getattr(arm, key):,}" for arm in arms), ""] for key in ("customers", "labelled")]
    for key, shape in (RATES | SHAPES).items():
        difference = getattr(report.differences, key, None)
        gained = "" if difference is None else shown(difference, f"+{shape}")
        lines.append([label(key), *(shown(getattr(arm, key), shape) for arm in arms), gained])
    return [*lines, ["profit, at all looks", "", "", shown(report.sequential.profit, "+.2f")]]


def drawing(report: Report) -> Markup | None:
    """The difference in profit per customer with its interval, day by day from the first look on."""
    days = [day for day in report.days if np.isfinite(day.low)]
    if not days:
        return None
    values = [[getattr(day, key) for day in days] for key in ("difference", "low", "high")]
    label = "difference in profit per customer by day"
    return band_by_day(
        [day.day for day in days], *values, effect=report.effect, unit="profit per customer", label=label
    )
