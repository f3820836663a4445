"""The check's report for people: as text, and as a page with the verdict, its reasons and the numbers behind them."""

import math
from pathlib import Path

from churn.intervals import Interval
from churn.page import render
from churn.report_text import day_and_hour, label, shown
from churn.text import columns
from monitoring.check.findings import Findings, Report

TONES = {"healthy": "good", "warn": "warn", "breach": "bad", "unknown": ""}
HEAD = ("score", "estimated, without outcomes", "by outcomes", "minus the estimate for the same")
SHAPES = {
    "roc_auc": ".3f",
    "brier": ".3f",
    "churn_rate": ".1%",
    "profit_per_customer": ".2f",
    "recall": ".1%",
    "precision": ".1%",
    "slope": ".2f",
    "intercept": ".2f",
}
TRUST = {
    True: "its probabilities still mean what they say",
    False: "not to be trusted, because customers leave for other reasons than in training",
    None: "not yet checked against outcomes",
}


def as_text(report: Report) -> str:
    findings = report.findings
    lines = []
    if findings is not None:
        rows = performance(findings)
        scores = [*columns([HEAD, *rows]), ""] if rows else []
        lines = [title(findings), "", *scores, drift_of(findings), outcomes(findings), ""]
    lines += [*reasons(report), f"verdict: {report.verdict}"]
    return "".join(f"{line}\n" for line in lines)


def as_html(report: Report, drift_page: str) -> str:
    """The page of a report with findings; `drift_page` is the file with Evidently's charts, or ""."""
    findings = report.findings
    if findings is None:
        raise ValueError("a report without findings has no page")
    return render(
        Path(__file__).with_suffix(".html"),
        verdict=report.verdict,
        tone=TONES[report.verdict],
        reasons=reasons(report),
        title=title(findings),
        head=HEAD,
        performance=performance(findings),
        outcomes=outcomes(findings),
        drift=drift_of(findings),
        inputs=inputs(findings),
        drift_page=drift_page,
    )


def reasons(report: Report) -> list[str]:
    return [f"{reason.level}: {reason.words}" for reason in report.reasons]


def title(findings: Findings) -> str:
    window = findings.window
    span = f"{day_and_hour(window.start)} to {day_and_hour(window.end)}"
    return f"Champion {window.model_version}, {findings.customers:,} customers from {span}"


def performance(findings: Findings) -> list[list[str]]:
    """Rows: a score that there is, estimated, realised, and the difference on the same customers."""
    rows = [
        [
            label(key),
            number(findings.estimated, key, shape),
            number(findings.realised, key, shape),
            number(findings.realised, f"{key}_gap", f"+{shape}"),
        ]
        for key, shape in SHAPES.items()
    ]
    return [row for row in rows if any(row[1:])]


def number(scores: object, key: str, shape: str) -> str:
    """The score of that name; "" where there is none."""
    interval: Interval | None = getattr(scores, key, None)
    return "" if interval is None else shown(interval, shape)


def outcomes(findings: Findings) -> str:
    """Which customers the outcomes are of, and how far the estimate can be trusted."""
    window, cohort = findings.window, findings.cohort
    span = f"{day_and_hour(window.cohort_start)} to {day_and_hour(window.cohort_end)}"
    text = f"Outcomes: {cohort.labelled:,} of {cohort.customers:,} customers from {span}"
    if cohort.problem:
        text += f", not scored: {cohort.words}"
    return text if findings.estimated is None else f"{text}; the estimate: {TRUST[findings.estimated.trusted]}"


def drift_of(findings: Findings) -> str:
    drift = findings.drift
    if drift is None:
        return "Too few customers to compare"
    moved = f"the probabilities moved by {drift.prediction:.3f} standard deviations"
    return f"{len(drift.drifted)} of {len(drift.features)} inputs drifted; {moved}"


def inputs(findings: Findings) -> list[tuple[str, float, list[str]]]:
    """Inputs, those that moved most first: name, distance as a share of its threshold, and cells."""
    if findings.drift is None or findings.quality is None:
        return []
    rows = []
    for name, moved in findings.drift.features.items():
        flaws = findings.quality.features[name]
        shares = [percent(flaws.get(flaw)) for flaw in ("missing", "unseen", "outside")]
        rows.append((name, moved.distance / moved.threshold, [f"{moved.distance:.3f}", *shares]))
    return sorted(rows, key=lambda row: -row[1])


def percent(share: float | None) -> str:
    return "" if share is None or math.isnan(share) else f"{share:.1%}"
