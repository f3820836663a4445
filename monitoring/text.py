"""How the reports are laid out: rows of a table for people, JSON for programs."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime


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
