"""report: what a snapshot says of the champion; monitoring/metrics/check.json for programs, two pages for people."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pandas as pd
from pydantic import Field

from churn.intervals import with_intervals
from churn.model_inputs import model_inputs
from churn.params import read_knobs, read_params
from churn.profit import Profit
from churn.schema import TARGET
from churn.scores import scores
from churn.script import as_json, run, write_text
from monitoring.check import drift
from monitoring.check.estimate import calibrate, estimate
from monitoring.check.page import page
from monitoring.check.quality import quality, summary
from monitoring.check.realised import concept_drift, realised, selection
from monitoring.check.snapshot_files import Snapshot, read_snapshot
from monitoring.check.verdict import Limits, judge, verdict

log = logging.getLogger("monitoring.report")

Share = Annotated[float, Field(gt=0, le=1)]
Distance = Annotated[float, Field(gt=0)]
NOTHING = "<!doctype html>\n<title>Drift</title>\n<p>Too few customers to compare.</p>\n"
FEWEST = 10  # customers of either outcome: with fewer, intervals of a ranking mean nothing


class Report(NamedTuple):
    found: dict[str, Any]
    drift_page: str  # Evidently's


def report(
    taken: Snapshot,
    profit: Profit,
    *,
    min_customers: Annotated[int, Field(ge=50)],
    min_labelled: Annotated[int, Field(ge=50)],
    number_drift: Distance,
    category_drift: Distance,
    drift_share: Share,
    prediction_drift: Distance,
    more_missing: Share,
    unseen: Share,
    outside: Share,
    auc_loss: Share,
    min_known: Share,
    selected: Distance,
    calibration: Share,
    concept_gap: Share,
    concept_calibration: Share,
    alpha: Annotated[float, Field(gt=0, le=0.5)],
    resamples: Annotated[int, Field(ge=100)],
    seed: Annotated[int, Field(ge=0)],
) -> Report:
    """All that is known of the window and its cohort; None where there are too few customers to say it."""
    numbers, levels = taken.card["inputs"]["numbers"], taken.card["inputs"]["categories"]
    known = taken.reference.dropna(subset=[TARGET, drift.PREDICTION])
    churned, p = known[TARGET].to_numpy("float64"), known[drift.PREDICTION].to_numpy()
    curve, n = calibrate(churned, p), len(taken.answers)
    found: dict[str, Any] = {
        "window": taken.window,
        "customers": n,
        "sampled": len(taken.sample),
        "reference": {"customers": len(known), "roc_auc": scores(churned, p)["roc_auc"], "churn_rate": churned.mean()},
        **dict.fromkeys(("drift", "quality", "estimated", "realised", "concept")),
    }
    shown = ""
    if n >= min_customers:
        thresholds = {"number": number_drift, "category": category_drift}
        found["drift"], shown = moved(taken, numbers, list(levels), thresholds)
        found["quality"] = summary(quality(taken.reference, inputs_of(taken), numbers, levels))
        probabilities, flagged = (taken.answers[name].to_numpy() for name in ("p", "flagged"))
        found["estimated"] = with_intervals(estimate(probabilities, flagged, curve, profit, resamples, seed))
    found["cohort"] = known_of(taken.cohort, min_labelled, min_known, selected)
    if not found["cohort"]["problem"]:
        found["realised"] = realised(taken.cohort.dropna(), curve, profit, resamples, seed)
        off = concept_drift(found["realised"], gap=concept_gap, alpha=alpha, miscalibration=concept_calibration)
        found["concept"] = off | {"p": found["realised"]["p_calibrated"], "alpha": alpha}
    if found["estimated"]:
        # None: nobody has looked yet whether probabilities still mean what they meant
        found["estimated"]["trusted"] = None if found["concept"] is None else not found["concept"]["found"]
    limits = Limits(min_customers, drift_share, prediction_drift, more_missing, unseen, outside, auc_loss, calibration)
    reasons = judge(found, limits)
    listed = [reason._asdict() for reason in reasons]
    return Report({"verdict": verdict(reasons), "reasons": listed, **found}, shown)


def inputs_of(taken: Snapshot) -> pd.DataFrame:
    """The sampled customers as the model reads them."""
    card = taken.card
    numbers, categories = card["inputs"]["numbers"], list(card["inputs"]["categories"])
    customers = taken.sample.drop(columns=drift.PREDICTION)
    return model_inputs(customers, card["features"], numbers, categories)


def moved(
    taken: Snapshot, numbers: list[str], categories: list[str], thresholds: Mapping[str, float]
) -> tuple[dict[str, Any], str]:
    """Drift of the sampled customers against the reference, and Evidently's page."""
    current = inputs_of(taken).assign(**{drift.PREDICTION: taken.sample[drift.PREDICTION].to_numpy()})
    sides = taken.reference, current
    there = drift.comparable(*sides, [*numbers, drift.PREDICTION])
    compared = drift.compare(*sides, there, categories, thresholds)
    return drift.judged(drift.distances(compared), categories, thresholds), drift.page(compared)


def known_of(cohort: pd.DataFrame, min_labelled: int, min_known: float, selected: float) -> dict[str, Any]:
    """How many of the cohort have an outcome, and why these can't speak for it, where they can't."""
    is_known = cohort["churned"].notna().to_numpy()
    n, labelled = len(cohort), int(is_known.sum())
    share = labelled / n if n else math.nan
    off = selection(cohort["p"].to_numpy(), is_known)
    least = min(cohort["churned"].sum(), labelled - cohort["churned"].sum())
    problem = words = ""
    if labelled < min_labelled:
        problem, words = "too_few_outcomes", f"{labelled} outcomes are known; {min_labelled} are needed"
    elif share < min_known or abs(off) > selected:
        problem = "selected_outcomes"
        words = f"outcomes are known of {share:.0%} of the cohort"
        words += f", whose probabilities are {off:+.2f} standard deviations off: they can't speak for the others"
    elif least < FEWEST:
        problem, words = "one_outcome", f"all outcomes but {int(least)} are the same"
    return {"customers": n, "labelled": labelled, "known": share, "off": off, "problem": problem, "words": words}


def main(
    folder: Path = Path("monitoring/data"),
    metrics: Path = Path("monitoring/metrics/check.json"),
    html: Path = Path("monitoring/report.html"),
    drift_html: Path = Path("monitoring/drift.html"),
) -> None:
    knobs, profit = read_params("monitoring.report", report), read_knobs("profit", Profit)
    made = report(read_snapshot(folder), profit, **knobs)
    write_report(made, metrics, html, drift_html)
    log.info("wrote %s, %s and %s: %s", metrics, html, drift_html, made.found["verdict"])


def write_report(made: Report, metrics: Path, html: Path, drift_html: Path) -> None:
    write_text(metrics, as_json(made.found))
    write_text(html, page(made.found, drift_html.name if made.drift_page else ""))
    write_text(drift_html, made.drift_page or NOTHING)


if __name__ == "__main__":
    run(main, "monitoring.report")
