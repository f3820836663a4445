"""The verdict: what of a report crosses which threshold, in short ids for programs and words for people."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

LEVELS = ("healthy", "warn", "unknown", "breach")  # the verdict is the last of those that a reason has
NAMED = 5  # drifted inputs that a sentence names


class Reason(NamedTuple):
    id: str
    level: str
    words: str


class Limits(NamedTuple):
    """The thresholds of params.yaml that a report is held against."""

    min_customers: int
    drift_share: float
    prediction_drift: float
    more_missing: float
    unseen: float
    outside: float
    auc_loss: float
    calibration: float


def judge(found: Mapping[str, Any], limits: Limits) -> list[Reason]:
    """Every reason to be anything but healthy, the worst first."""
    n = found["customers"]
    if n < limits.min_customers:
        words = f"{n} customers in the window; {limits.min_customers} are needed to say anything about them"
        reasons = [Reason("too_few_customers", "unknown", words)]
    else:
        reasons = [*drifted(found["drift"], limits), *unclean(found["quality"], limits), *estimated(found, limits)]
    reasons += by_outcomes(found, limits)
    return sorted(reasons, key=lambda reason: -LEVELS.index(reason.level))


def verdict(reasons: list[Reason]) -> str:
    return max((reason.level for reason in reasons), key=LEVELS.index, default="healthy")


def drifted(drift: Mapping[str, Any], limits: Limits) -> list[Reason]:
    names, share = drift["drifted"], drift["share"]
    which = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    reasons = []
    if share >= limits.drift_share:
        words = f"{share:.0%} of the inputs drifted (from {limits.drift_share:.0%} on it is a breach): {which}"
        reasons.append(Reason("input_drift", "breach", words))
    elif names:
        reasons.append(Reason("input_drift", "warn", f"{len(names)} inputs drifted: {which}"))
    if drift["prediction"] >= limits.prediction_drift:
        words = f"the probabilities moved by {drift['prediction']:.2f} standard deviations of the training's"
        reasons.append(Reason("prediction_drift", "breach", f"{words}; {limits.prediction_drift:g} is the limit"))
    return reasons


def unclean(quality: Mapping[str, Any], limits: Limits) -> list[Reason]:
    reasons = []
    for check, limit, what in (
        ("more_missing", limits.more_missing, "missing more often than in training"),
        ("unseen", limits.unseen, "a level that training never saw"),
        ("outside", limits.outside, "beyond the training's range"),
    ):
        shares = {name: values.get(check, 0.0) for name, values in quality["features"].items()}
        if over := sorted((name for name in shares if shares[name] > limit), key=lambda name: -shares[name]):
            named = ", ".join(f"{name} {shares[name]:.1%}" for name in over[:NAMED])
            reasons.append(Reason(check, "breach", f"{what}: {named} of the customers; {limit:.1%} is the limit"))
    return reasons


def below(scores: Mapping[str, float], reference: float, loss: float) -> bool:
    """Whether the ROC AUC is lower than the reference's by more than `loss`, even by its interval's upper end."""
    return not math.isnan(scores["roc_auc_high"]) and scores["roc_auc_high"] < reference - loss


def estimated(found: Mapping[str, Any], limits: Limits) -> list[Reason]:
    scores, reference = found["estimated"], found["reference"]["roc_auc"]
    if not below(scores, reference, limits.auc_loss):
        return []
    words = f"without outcomes the ROC AUC is estimated at {scores['roc_auc']:.3f}, {reference:.3f} in training"
    return [Reason("estimated_auc", "breach", words)]


def by_outcomes(found: Mapping[str, Any], limits: Limits) -> list[Reason]:
    """What the cohort says. One that is too small or too picky is no reason for worry: most services have few at first;
    `found["realised"]` is None then, and `found["cohort"]` says why."""
    cohort, scores, concept = found["cohort"], found["realised"], found["concept"]
    if scores is None:
        level = "warn" if cohort["problem"] == "selected_outcomes" else ""
        return [Reason(cohort["problem"], level, cohort["words"])] if level else []
    reasons, reference = [], found["reference"]["roc_auc"]
    if below(scores, reference, limits.auc_loss):
        words = f"by outcomes the ROC AUC is {scores['roc_auc']:.3f}, {reference:.3f} in training"
        reasons.append(Reason("realised_auc", "breach", words))
    if concept["found"]:
        how = []
        if concept["ranks_worse"]:
            how.append(f"the ROC AUC is {-scores['roc_auc_gap']:.3f} below what was estimated for the same customers")
        if concept["rates_off"]:
            how.append(f"probabilities are off by {scores['miscalibration']:.3f} on average")
        words = f"customers leave for other reasons than in training: {'; '.join(how)}; don't trust the estimate"
        reasons.append(Reason("concept_drift", "breach", words))
    elif scores["miscalibration"] > limits.calibration and concept["p"] < concept["alpha"]:
        words = f"probabilities are off by {scores['miscalibration']:.3f} on average"
        reasons.append(Reason("calibration_drift", "warn", words))
    return reasons
