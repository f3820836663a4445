"""What is in a table: a profile of each column beside the outcome, and the page that shows it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from churn.page import render
from churn.schema import WEIGHT, Column, Customer, Identifier, Schema

QUANTILES = {"min": 0, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "max": 1}
PARTS, FEW_PARTS, WIDE = 12, 5, 150  # bins of a number, levels of a category; fewer in a table of more columns
FARTHEST = 10  # columns at the head of the page that moved most since the last release
WIDTH, HEIGHT = 264, 60  # pixels of a histogram


def parts_of(columns: int) -> int:
    """How many bins or levels each column of a table gets: the page of a wide one stays small."""
    return PARTS if columns <= WIDE else FEW_PARTS


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
    return names.get(header, "weight" if header == WEIGHT else "not read")


def contract(part: Identifier) -> str:
    """What the schema asks of a column, in words."""
    if not isinstance(part, Column):
        return "at most once" if isinstance(part, Customer) and not part.repeats else ""
    words = [part.description]
    if part.min is not None or part.max is not None:
        ends = ["any" if end is None else f"{end:,.10g}" for end in (part.min, part.max)]
        words.append(f"{ends[0]} to {ends[1]}")
    if part.levels:
        words.append(f"one of {', '.join(part.levels)}")
    words += [part.unit and f"in {part.unit}", "may be missing" if part.nullable else "required"]
    if part.max_missing is not None:
        words.append(f"at most {part.max_missing:.0%} missing")
    return "; ".join(filter(None, words))


def column_profile(
    cells: pd.Series, values: pd.Series | None, kind: str, churned: pd.Series, parts: int = PARTS
) -> dict[str, Any]:
    """Type, null share and distinct values of a column; then quantiles and bins, or levels, or first and last time."""
    column: dict[str, Any] = {"type": kind, "null_share": float(cells.isna().mean()), "distinct": cells.nunique()}
    if values is None or kind == "id" or values.isna().all():
        return column
    if kind == "number":
        present = values.dropna().to_numpy()
        # quantiles that are values of the column: nothing is made up between them, nothing overflows
        quantiles = np.quantile(present, list(QUANTILES.values()), method="inverted_cdf")
        return column | dict(zip(QUANTILES, quantiles.tolist(), strict=True)) | {"bins": bins(values, churned, parts)}
    if kind in ("time", "date"):
        return column | {"min": str(values.min()), "max": str(values.max())}
    counts = sorted(cells.value_counts().to_dict().items(), key=lambda item: (-item[1], item[0]))
    levels = [{"level": v, "count": n, "target_rate": rate(churned[cells == v])} for v, n in counts[:parts]]
    return column | {"levels": levels, "other_levels": max(0, len(counts) - parts)}


def bins(values: pd.Series, churned: pd.Series, parts: int) -> list[dict[str, Any]]:
    """`parts` bins of equal width, or one where all values are equal; a bin holds its lower edge, the last both."""
    low, high = float(values.min()), float(values.max())
    steps = np.linspace(0, 1, parts + 1 if low < high else 2)
    edges = low * (1 - steps) + high * steps  # not low + width * steps: the width of a wild column overflows
    bin_of = pd.Series(np.searchsorted(edges[1:-1], values, side="right"), values.index).where(values.notna())
    return [
        {"from": a, "to": b, "count": int((bin_of == i).sum()), "target_rate": rate(churned[bin_of == i])}
        for i, (a, b) in enumerate(pairwise(edges.tolist()))
    ]


@dataclass(frozen=True)
class Drawing:
    """Paths of a histogram in a box of WIDTH by HEIGHT: bars of rows, dots at their share of churned."""

    bars: str
    dots: str


def drawing(bins: Sequence[Mapping[str, Any]]) -> Drawing:
    most, width = max(part["count"] for part in bins) or 1, WIDTH / len(bins)
    bars, dots = [], []
    for i, part in enumerate(bins):
        bars.append(f"M{i * width:.0f} {HEIGHT}v-{HEIGHT * part['count'] / most:.0f}h{width - 2:.0f}V{HEIGHT}")
        if part["target_rate"] is not None:
            dots.append(f"M{(i + 0.5) * width - 1:.0f} {HEIGHT * (1 - part['target_rate']):.0f}h0")
    return Drawing("".join(bars), "".join(dots))


def page(
    *,
    is_valid: bool,
    schema: str,
    metrics: Mapping[str, Any],
    errors: Sequence[str],
    warnings: Sequence[str],
    profile: Mapping[str, Mapping[str, Any]],
    contracts: Mapping[str, str],
    reference: Mapping[str, Any] | None,
    dropped: Mapping[str, str],
    base_rate: float | None,
) -> str:
    """The result of a validation as a page: its sentences, its metrics and a part for each column."""
    places = {name: f"c{number}" for number, name in enumerate(profile)}
    moved = {name: column["drift"] for name, column in profile.items() if "drift" in column}
    return render(
        Path(__file__).with_suffix(".html"),
        is_valid=is_valid,
        schema=schema,
        numbers=[(name.replace("_", " "), readable(name, value)) for name, value in metrics.items()],
        sentences=[
            (word, [(line, column_of(line, places)) for line in lines])
            for word, lines in (("error", errors), ("warning", warnings))
        ],
        profile=profile,
        contracts=contracts,
        dropped=dropped,
        places=places,
        base_rate=base_rate,
        reference=reference,
        moved=len(moved),
        farthest=sorted(moved.items(), key=lambda item: (-item[1], item[0]))[:FARTHEST],
        drawings={name: drawing(column["bins"]) for name, column in profile.items() if column.get("bins")},
        quantiles=list(QUANTILES),
        most={
            name: max((part["count"] for part in column.get("levels", ())), default=1)
            for name, column in profile.items()
        },
        width=WIDTH,
        height=HEIGHT,
    )


def column_of(sentence: str, places: Mapping[str, str]) -> str:
    """The place on the page of the column that a sentence is about, "" for none."""
    about = re.match(r"column '(.*?)':", sentence)
    return places.get(about[1], "") if about else ""


def readable(name: str, value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "unknown"}[value]
    return f"{value:.2%}" if name.endswith(("share", "rate")) else f"{value:,}"
