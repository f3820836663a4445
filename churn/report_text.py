"""How reports are written: numbers and times for people, plain values for programs."""

import math
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from churn.intervals import Interval

LABELS = {"roc_auc": "ROC AUC", "brier": "Brier score", "f1": "F1"}


def shown(interval: Interval, shape: str) -> str:
    """The value and its interval, as far as there are any."""
    value, low, high = interval
    if math.isnan(value):
        return "-"
    if not math.isfinite(low):
        return format(value, shape)
    return f"{value:{shape}} ({low:{shape}} to {high:{shape}})"


def day_and_hour(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def label(key: str) -> str:
    """A key in words."""
    return LABELS.get(key, key.replace("_", " "))


def plain(part: Any) -> Any:
    """Dataclasses as dictionaries for JSON: intervals as key, key_low and key_high, times in ISO 8601."""
    if is_dataclass(part):
        result: dict[str, Any] = {}
        for field in fields(part):
            value = getattr(part, field.name)
            result |= value.named(field.name) if isinstance(value, Interval) else {field.name: plain(value)}
        return result
    match part:
        case dict():
            return {key: plain(value) for key, value in part.items()}
        case list():
            return [plain(value) for value in part]
        case datetime():
            return part.isoformat()
    return part
