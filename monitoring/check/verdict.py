"""The verdict: which findings of a check cross which limit, as ids for programs and sentences for people."""

import math
from collections.abc import Iterator, Sequence

from churn.intervals import Interval
from churn.reasons import LEVELS
from monitoring.check.findings import Drift, Estimated, Findings, Quality, Reason
from monitoring.check.knobs import Limits

MAX_NAMES = 5  # inputs that a sentence names


def reasons_of(findings: Findings, limits: Limits) -> list[Reason]:
    """Every reason to be anything but healthy, the worst first."""
    reasons = [*of_window(findings, limits), *of_outcomes(findings, limits)]
    return sorted(reasons, key=lambda reason: -LEVELS.index(reason.level))


def worst(reasons: Sequence[Reason]) -> str:
    """The verdict."""
    return max((reason.level for reason in reasons), key=LEVELS.index, default="healthy")


def of_window(findings: Findings, limits: Limits) -> Iterator[Reason]:
    if findings.drift is None or findings.quality is None or findings.estimated is None:
        text = f"{findings.customers} customers in the window; at least {limits.min_customers} are needed to judge it"
        yield Reason(id="too_few_customers", level="unknown", words=text)
        return
    yield from of_drift(findings.drift, limits)
    yield from of_quality(findings.quality, limits)
    yield from of_estimate(findings.estimated, findings.reference.roc_auc, limits)


def of_drift(drift: Drift, limits: Limits) -> Iterator[Reason]:
    names, n = drift.drifted, len(drift.features)
    which = ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
    if drift.share >= limits.drift_share:
        text = f"{drift.share:.0%} of the inputs drifted, a breach from {limits.drift_share:.0%} on: {which}"
        yield Reason(id="input_drift", level="breach", words=text)
    elif names:
        yield Reason(id="input_drift", level="warn", words=f"{len(names)} of {n} inputs drifted: {which}")
    if drift.prediction >= limits.prediction_drift:
        text = f"the probabilities moved by {drift.prediction:.2f} standard deviations of the training's"
        limit = f"the limit is {limits.prediction_drift:g}"
        yield Reason(id="prediction_drift", level="breach", words=f"{text}; {limit}")


def of_quality(quality: Quality, limits: Limits) -> Iterator[Reason]:
    for flaw, limit, text in (
        ("more_missing", limits.more_missing, "missing more often than in training"),
        ("unseen", limits.unseen, "levels that training never saw"),
        ("outside", limits.outside, "values beyond the training's range"),
    ):
        shares = {name: values.get(flaw, 0.0) for name, values in quality.features.items()}
        if over := sorted((name for name in shares if shares[name] > limit), key=lambda name: -shares[name]):
            named = ", ".join(f"{name} {shares[name]:.1%}" for name in over[:MAX_NAMES])
            text = f"{text}: {named} of the customers; the limit is {limit:.1%}"
            yield Reason(id=flaw, level="breach", words=text)


def of_estimate(estimated: Estimated, reference: float, limits: Limits) -> Iterator[Reason]:
    auc = estimated.roc_auc
    if is_below(auc, reference - limits.auc_loss):
        text = f"the ROC AUC estimated without outcomes is {auc.value:.3f}; in training it was {reference:.3f}"
        yield Reason(id="estimated_auc", level="breach", words=text)


def is_below(auc: Interval, limit: float) -> bool:
    """Whether even the interval's upper end is below the limit."""
    return not math.isnan(auc.high) and auc.high < limit


def of_outcomes(findings: Findings, limits: Limits) -> Iterator[Reason]:
    """What the cohort shows. One with too few outcomes is no reason to worry: most services have few at first."""
    cohort, scores, concept = findings.cohort, findings.realised, findings.concept
    if scores is None or concept is None:
        if cohort.problem == "selected_outcomes":
            yield Reason(id=cohort.problem, level="warn", words=cohort.words)
        if cohort.problem == "offers_without_control":
            yield Reason(id=cohort.problem, level="unknown", words=cohort.words)
        return
    reference, auc = findings.reference.roc_auc, scores.roc_auc
    if is_below(auc, reference - limits.auc_loss):
        text = f"the ROC AUC by outcomes is {auc.value:.3f}; in training it was {reference:.3f}"
        yield Reason(id="realised_auc", level="breach", words=text)
    rates = f"the probabilities are off by {scores.miscalibration:.3f} on average"
    if concept.found:
        order = f"the ROC AUC is {-scores.roc_auc_gap.value:.3f} below the estimate for the same customers"
        signs = "; ".join([order] * concept.ranks_worse + [rates] * concept.rates_off)
        text = f"customers leave for other reasons than in training: {signs}; don't trust the estimate"
        yield Reason(id="concept_drift", level="breach", words=text)
    elif scores.miscalibration > limits.calibration and concept.p < concept.alpha:
        yield Reason(id="calibration_drift", level="warn", words=f"{rates}; the limit is {limits.calibration:g}")
