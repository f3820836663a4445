"""What a check of production may find: the check gives these reasons, the service exports them, retrainings need them.

Alerts in ops/prometheus/rules/model.yml and monitoring.retrain.reasons in params.yaml name them, too.
"""

LEVELS = ("healthy", "warn", "unknown", "breach")  # a verdict is the last of those that its reasons have
REASONS = {  # id -> the levels that it may have
    "input_drift": ("warn", "breach"),
    "prediction_drift": ("breach",),
    "more_missing": ("breach",),
    "unseen": ("breach",),
    "outside": ("breach",),
    "estimated_auc": ("breach",),
    "realised_auc": ("breach",),
    "concept_drift": ("breach",),
    "calibration_drift": ("warn",),
    "selected_outcomes": ("warn",),
    "offers_without_control": ("unknown",),
    "too_few_customers": ("unknown",),
}
