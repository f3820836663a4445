"""report: judge a snapshot of the champion's answers; write monitoring/metrics/check.json and two pages.

The pages are report.html, and drift.html, which is Evidently's.
"""

import logging
import math
from pathlib import Path

import pandas as pd

from churn.intervals import intervals
from churn.model_inputs import model_inputs
from churn.offers import MAX_UNCOVERED, effective
from churn.page import TEMPLATES, render
from churn.params import read_knobs
from churn.profit import Profit
from churn.schema import TARGET
from churn.scores import scores
from churn.script import as_json, run, write_text
from monitoring.check import drift, quality
from monitoring.check.distributions import distributions
from monitoring.check.estimate import calibrate, estimate
from monitoring.check.findings import Cohort, Drift, Estimated, Findings, Reference, Report
from monitoring.check.knobs import Limits
from monitoring.check.page import as_html
from monitoring.check.realised import concept_drift, realised, selection
from monitoring.check.snapshot_files import Snapshot, read_snapshot
from monitoring.check.verdict import reasons_of, worst
from monitoring.counting import counting, not_covered

log = logging.getLogger("monitoring.report")

MIN_OF_EACH_OUTCOME = 10  # customers: with fewer, intervals of a ranking mean nothing


def report(snapshot: Snapshot, profit: Profit, limits: Limits) -> tuple[Report, str]:
    """All that is known of the window and its cohort; and Evidently's page, "" where there are too few customers."""
    profit = profit.on_average(lambda: snapshot.card)
    training = snapshot.reference.dropna(subset=[TARGET, drift.PREDICTION])
    churned, p = training[TARGET].to_numpy("float64"), training[drift.PREDICTION].to_numpy()
    curve, b, seed = calibrate(churned, p), limits.resamples, limits.seed

    cohort, scored, concept = cohort_of(snapshot.cohort, limits), None, None
    if not cohort.problem:
        scored = realised(counting(snapshot.cohort), curve, profit, b, seed)
        concept = concept_drift(scored, limits)

    moved, flaws, estimated, charts, sides = None, None, None, "", {}
    if len(snapshot.answers) >= limits.min_customers:
        numbers, levels = snapshot.card["inputs"]["numbers"], snapshot.card["inputs"]["categories"]
        inputs = inputs_of(snapshot)
        current = inputs.assign(**{drift.PREDICTION: snapshot.sample[drift.PREDICTION].to_numpy()})
        moved, charts = drift_of(snapshot, current, limits)
        sides = distributions(snapshot.reference, current, [*numbers, drift.PREDICTION], levels)
        flaws = quality.summary(quality.quality(snapshot.reference, inputs, numbers, levels))
        now, flagged = (snapshot.answers[name].to_numpy() for name in ("p", "flagged"))
        trusted = None if concept is None else not concept.found
        estimated = Estimated(**intervals(estimate(now, flagged, curve, profit, b, seed)), trusted=trusted)

    findings = Findings(
        window=snapshot.window,
        customers=snapshot.standing.rows if snapshot.standing else len(snapshot.answers),
        sampled=len(snapshot.sample),
        reference=Reference(
            customers=len(training), roc_auc=scores(churned, p)["roc_auc"], churn_rate=float(churned.mean())
        ),
        drift=moved,
        quality=flaws,
        distributions=sides,
        estimated=estimated,
        realised=scored,
        concept=concept,
        cohort=cohort,
    )
    reasons = reasons_of(findings, limits)
    return Report(verdict=worst(reasons), reasons=reasons, findings=findings), charts


def inputs_of(snapshot: Snapshot) -> pd.DataFrame:
    """The sampled customers as the model reads them."""
    if snapshot.standing:
        return snapshot.standing.inputs
    card = snapshot.card
    numbers, categories = card["inputs"]["numbers"], list(card["inputs"]["categories"])
    customers = snapshot.sample.drop(columns=drift.PREDICTION)
    return model_inputs(customers, card["features"], numbers, categories)


def drift_of(snapshot: Snapshot, current: pd.DataFrame, limits: Limits) -> tuple[Drift, str]:
    """Drift of the sampled customers, inputs and probabilities, against the reference; and Evidently's page."""
    numbers, categories = snapshot.card["inputs"]["numbers"], list(snapshot.card["inputs"]["categories"])
    sides = snapshot.reference, current
    present = drift.comparable(*sides, [*numbers, drift.PREDICTION])
    compared = drift.compare(*sides, present, categories, limits)
    return drift.summary(drift.distances(compared), categories, limits), drift.charts(compared)


def cohort_of(customers: pd.DataFrame, limits: Limits) -> Cohort:
    """How many customers have an outcome, and why they can't stand for the others, where they can't."""
    is_known = customers["churned"].notna().to_numpy()
    known, counted = customers[is_known], counting(customers)
    n, labelled, effect = len(customers), len(known), effective(counted["weight"].to_numpy())
    share = labelled / n if n else math.nan
    off = selection(customers["p"].to_numpy(), is_known)
    missed = not_covered(customers)
    rarer = min(counted["churned"].sum(), len(counted) - counted["churned"].sum())
    problem = text = ""
    if labelled < limits.min_labelled:
        problem, text = "too_few_outcomes", f"{labelled} outcomes are known; at least {limits.min_labelled} are needed"
    elif share < limits.min_known or abs(off) > limits.selected:
        problem = "selected_outcomes"
        text = f"outcomes are known of {share:.0%} of the cohort; the probabilities of these customers are {off:+.2f}"
        text += " standard deviations off, so they can't stand for the others"
    elif missed > MAX_UNCOVERED:
        problem = "offers_without_control"
        text = f"offers went to {missed:.0%} of the customers with an outcome, and nobody like them was held back"
        text += ": what they would have done without an offer is not known"
    elif effect < limits.min_labelled:
        problem = "too_few_outcomes"
        text = f"{len(counted)} outcomes are those of customers without an offer, and tell as much as {effect:.0f}"
        text += f"; at least {limits.min_labelled} are needed: hold more customers back"
    elif rarer < MIN_OF_EACH_OUTCOME:
        problem, text = "one_outcome", f"all outcomes but {int(rarer)} are the same"
    offered = int(known["offered"].sum())
    return Cohort(
        customers=n,
        labelled=labelled,
        known=share,
        off=off,
        offered=offered,
        control=int((known["spared"] < 1).sum()) - offered,
        effective=effect,
        problem=problem,
        words=text,
    )


def main(
    folder: Path = Path("monitoring/data"),
    metrics: Path = Path("monitoring/metrics/check.json"),
    html: Path = Path("monitoring/report.html"),
    drift_html: Path = Path("monitoring/drift.html"),
) -> None:
    limits, profit = read_knobs("monitoring.report", Limits), read_knobs("profit", Profit)
    made, charts = report(read_snapshot(folder), profit, limits)
    write_report(made, charts, metrics, html, drift_html)
    log.info("wrote %s, %s and %s: %s", metrics, html, drift_html, made.verdict)


def write_report(made: Report, charts: str, metrics: Path, html: Path, drift_html: Path) -> None:
    write_text(metrics, as_json(made.as_dict()))
    write_text(html, as_html(made, drift_html.name if charts else ""))
    write_text(drift_html, charts or render(TEMPLATES / "message.html", title="Drift", text="Too few customers."))


if __name__ == "__main__":
    run(main, "monitoring.report")
