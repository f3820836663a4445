"""How the reports are laid out: rows of a table for people, JSON for programs."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from churn.script import rounded


def row(*cells: str) -> str:
    return f"{cells[0]:<20}" + "".join(f"{text:>28}" for text in cells[1:])


def cell(values: Mapping[str, float], key: str, shape: str) -> str:
    """The value of `key` with its interval, _low and _high, as far as there are any."""
    value, low, high = values[key], values[f"{key}_low"], values[f"{key}_high"]
    if math.isnan(value):
        return "-"
    if not math.isfinite(low):
        return format(value, shape)
    return f"{value:{shape}} ({low:{shape}} to {high:{shape}})"


def day_and_hour(at: str) -> str:
    """Of a time as the ledger writes it."""
    return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def as_json(found: Mapping[str, Any]) -> str:
    return json.dumps(rounded(_plain(found), 6), indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """JSON knows no NaN and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
