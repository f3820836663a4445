"""The result of a campaign for people: as text, and as a page with the verdict, the money, and how it went by day."""

import math
from pathlib import Path

import numpy as np
from markupsafe import Markup

from campaigns.result.report import SIDES, Report
from churn.charts import band_by_day
from churn.intervals import Interval
from churn.page import render
from churn.report_text import day_and_hour, shown
from churn.text import columns

TONES = {"profitable": "good", "unprofitable": "bad", "invalid": "warn"}
LABELS = {"control": "held back", "offered": "made an offer"}


def as_text(report: Report) -> str:
    parts = [
        columns([("measure", "", "holds"), *money(report)]),
        columns([("side", "customers", "outcomes that count", "churned"), *sides(report)]),
    ]
    if report.fifths:
        parts.append(columns([("probability of churn", "customers", "churn avoided"), *fifths(report)]))
    lines = [title(report), ""]
    for part in parts:
        lines += [*part, ""]
    return "".join(f"{line}\n" for line in [*lines, checks(report), report.words])


def as_html(report: Report) -> str:
    return render(
        Path(__file__).with_suffix(".html"),
        report=report,
        tone=TONES.get(report.verdict, ""),
        title=title(report),
        money=money(report),
        sides=sides(report),
        fifths=fifths(report),
        checks=checks(report),
        drawing=drawing(report),
    )


def title(report: Report) -> str:
    since = f" since {day_and_hour(report.since)}" if report.since else ""
    return f"{report.offered.customers:,} customers made an offer, {report.control.customers:,} held back{since}"


def money(report: Report) -> list[list[str]]:
    """Rows: a measure, its value with an interval, and how long that holds."""
    rows: list[tuple[str, Interval, str, str]] = [
        ("churn avoided", report.churn_avoided, "+.2%", "for one look"),
        ("churn avoided", report.churn_avoided_at_all_looks, "+.2%", "at all looks"),
        ("share of leavers kept", report.offer_success, ".1%", "for one look"),
        ("incremental profit per contact", report.profit_per_contact, "+.2f", "for one look"),
        ("incremental profit per contact", report.profit_per_contact_at_all_looks, "+.2f", "at all looks"),
        ("incremental profit per 1,000 contacts", report.profit_per_1000_contacts, "+,.0f", "at all looks"),
        ("incremental profit in all", report.profit, "+,.0f", "at all looks"),
    ]
    lines = [[name, shown(interval, shape), holds] for name, interval, shape, holds in rows]
    if report.expected and "profit" in report.expected:
        lines.append(["its plan expected in all", f"{report.expected['profit']:+,.0f}", ""])
    return lines


def sides(report: Report) -> list[list[str]]:
    found = []
    for name in SIDES:
        side = getattr(report, name)
        rate = "-" if math.isnan(side.churn_rate) else f"{side.churn_rate:.1%}"
        found.append([LABELS[name], f"{side.customers:,}", f"{side.known:,}", rate])
    return found


def fifths(report: Report) -> list[list[str]]:
    return [
        [f"{one.low:.3f} to {one.high:.3f}", f"{one.customers:,}", shown(one.churn_avoided, "+.2%")]
        for one in report.fifths
    ]


def checks(report: Report) -> str:
    checks = report.checks
    parts = [f"ratio of customers p = {checks.srm_p:.2g}, of outcomes p = {checks.labels_p:.2g}"]
    if not math.isnan(report.narrower):
        parts.append(f"the score took {report.narrower:.0%} out of the outcomes' variance")
    if checks.hidden:
        named = ", ".join(checks.hidden_customers) + (", ..." if checks.hidden > len(checks.hidden_customers) else "")
        parts.append(f"{checks.hidden} held back, and made an offer all the same: {named}")
    return "; ".join(parts)


def drawing(report: Report) -> Markup | None:
    days = [day for day in report.days if np.isfinite(day.low)]
    if not days:
        return None
    values = [[getattr(day, key) for day in days] for key in ("profit", "low", "high")]
    label = "incremental profit per contact by day"
    return band_by_day([day.day for day in days], *values, effect=report.effect, unit="profit per contact", label=label)
