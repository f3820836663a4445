"""What is in a table: a profile of each column beside the outcome, and the page that shows it."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from churn.page import render
from churn.schema import Column, Schema

QUANTILES = {"min": 0, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "max": 1}
MAX_PARTS = 12  # bins of a number, levels of a category
BIN_WIDTH, BIN_HEIGHT = 22, 60  # pixels of a histogram


def rate(churned: pd.Series) -> float | None:
    """Share of churned among the known outcomes; None where there are none."""
    return float(churned.mean()) if churned.notna().any() else None


def kind_of(header: str, schema: Schema) -> str:
    part = next((part for part in schema.parts if part.name == header), None)
    if isinstance(part, Column):
        return part.type
    names = {
        part.name: kind for part, kind in ((schema.id, "id"), (schema.time, "time"), (schema.target, "target")) if part
    }
    return names.get(header, "not read")


def column_profile(cells: pd.Series, values: pd.Series | None, kind: str, churned: pd.Series) -> dict[str, Any]:
    """Type, null share and distinct values of a column; then quantiles and bins, or levels, or first and last time."""
    column: dict[str, Any] = {"type": kind, "null_share": float(cells.isna().mean()), "distinct": cells.nunique()}
    if values is None or kind == "id" or values.isna().all():
        return column
    if kind == "number":
        present = values.dropna().to_numpy()
        # quantiles that are values of the column: nothing is made up between them, nothing overflows
        quantiles = np.quantile(present, list(QUANTILES.values()), method="inverted_cdf")
        return column | dict(zip(QUANTILES, quantiles.tolist(), strict=True)) | {"bins": bins(values, churned)}
    if kind in ("time", "date"):
        return column | {"min": str(values.min()), "max": str(values.max())}
    counts = sorted(cells.value_counts().to_dict().items(), key=lambda item: (-item[1], item[0]))
    levels = [{"level": v, "count": n, "target_rate": rate(churned[cells == v])} for v, n in counts[:MAX_PARTS]]
    return column | {"levels": levels, "other_levels": max(0, len(counts) - MAX_PARTS)}


def bins(values: pd.Series, churned: pd.Series) -> list[dict[str, Any]]:
    """MAX_PARTS bins of equal width, or one where all values are equal; a bin holds its lower edge, the last both."""
    low, high = float(values.min()), float(values.max())
    steps = np.linspace(0, 1, MAX_PARTS + 1 if low < high else 2)
    edges = low * (1 - steps) + high * steps  # not low + width * steps: the width of a wild column overflows
    bin_of = pd.Series(np.searchsorted(edges[1:-1], values, side="right"), values.index).where(values.notna())
    return [
        {"from": a, "to": b, "count": int((bin_of == i).sum()), "target_rate": rate(churned[bin_of == i])}
        for i, (a, b) in enumerate(pairwise(edges.tolist()))
    ]


def page(
    *,
    is_valid: bool,
    schema: str,
    metrics: Mapping[str, Any],
    errors: Sequence[str],
    warnings: Sequence[str],
    profile: Mapping[str, Mapping[str, Any]],
) -> str:
    """The result of a validation as a page: its sentences, its metrics and a row for each column."""
    return render(
        Path(__file__).with_suffix(".html"),
        is_valid=is_valid,
        schema=schema,
        numbers=[(name.replace("_", " "), readable(name, value)) for name, value in metrics.items()],
        sentences=[("error", errors), ("warning", warnings)],
        profile=profile,
        quantiles=list(QUANTILES),
        most={name: most_rows(column) for name, column in profile.items()},
        rows={name: sum(level["count"] for level in column.get("levels", [])) for name, column in profile.items()},
        width=BIN_WIDTH,
        height=BIN_HEIGHT,
    )


def most_rows(column: Mapping[str, Any]) -> int:
    """Of the bins of a number."""
    return max((part["count"] for part in column.get("bins", ())), default=0)


def readable(name: str, value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "unknown"}[value]
    return f"{value:.2%}" if name.endswith(("share", "rate")) else f"{value:,}"
