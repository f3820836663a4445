"""validate: check data/loaded.parquet against the schema, write metrics/validate.json, data/validation.json and a page.

All mistakes of the table are reported at once; the files are written even then, so that the page shows what is in it.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pydantic import Field

from churn.blocks import ColumnsOf, Table
from churn.doubts import constant, leak, many_missing, outliers, rare_class, repeated_rows, twin_rows
from churn.params import read_params, read_section
from churn.profile import column_profile, contract, kind_of, page, parts_of, rate
from churn.reference import Reference, read_reference
from churn.schema import (
    LARGEST,
    MAX_TEXT,
    WEIGHT,
    Column,
    Customer,
    Identifier,
    Schema,
    Share,
    Target,
    Time,
    as_text,
    read_schema,
)
from churn.script import InputError, run, write_json, write_text
from churn.table import copies_of, fingerprints, moments, typed
from churn.text import listed, listed_counts, quoted

log = logging.getLogger("validate")

EXAMPLES = 10  # failing rows of a check that the page shows

CHECKS = ("type", "not_nullable", "unique", "min", "max", "levels", "size", "length")  # of a column, as they are told


@dataclass(frozen=True)
class Validation:
    """What makes a table unfit (errors), what a person should look at (warnings) and what is in it (stats)."""

    is_valid: bool
    errors: list[str]
    warnings: list[str]
    stats: dict[str, Any]

    @property
    def metrics(self) -> dict[str, Any]:
        """The small flat part: how many sentences, and the statistics of the table as a whole."""
        counts = {"is_valid": self.is_valid, "errors": len(self.errors), "warnings": len(self.warnings)}
        return counts | {key: value for key, value in self.stats.items() if key not in ("profile", "reference")}


def validate(
    texts: Table,
    schema: Schema,
    where: str = "the schema",
    *,
    max_null_share: Share,
    min_class_share: Annotated[float, Field(ge=0, le=0.5)],
    max_outlier_share: Share,
    leak_auc: Annotated[float, Field(gt=0.5, le=1)],
    reference: Path | None = None,
) -> Validation:
    """Check texts under schema names (n >= 1 rows). Sentences call the schema `where` and count rows from 1.

    `reference` is the file of churn.reference; its release is left out where the table has few of its columns.
    """
    texts = texts.reset_index(drop=True) if isinstance(texts, pd.DataFrame) else texts
    headers, n = list(texts), len(texts)
    before = read_reference(reference) if reference else Reference()
    before = before if before.fits(headers) else Reference()
    parts = {part.name: part for part in schema.parts if part.name in texts}
    unread = [header for header in headers if header not in {*parts, *schema.dropped, WEIGHT}]
    copies = fingerprints(texts, headers).duplicated()
    twins = twin_rows_of(texts, schema) & ~copies
    repeated = repeated_ids(texts, schema, copies)
    churned = (
        typed(texts[schema.target.name], schema.target)[0].astype("Float64")
        if schema.target.name in parts
        else pd.Series(pd.NA, range(n), dtype="Float64")
    )
    errors = list(missing_columns(schema, headers, unread, where))
    warnings = [*repeated_rows(copies, schema.id is not None), *twin_rows(twins)]
    warnings += rare_class(churned, schema.target, min_class_share)
    profile, nulls = {}, []
    for name in [*parts, *(header for header in headers if header not in parts)]:  # one column in memory
        cells, part = texts[name], parts.get(name)
        values = as_typed(cells, part) if part else None
        failed = failed_rows(cells, values, repeated, part) if part and cells.notna().any() else {}
        if part:
            errors += broken_cells(cells, failed, part, where)
        if isinstance(part, Column) and cells.notna().any():
            warnings += [
                *many_missing(cells, part, max_null_share, where),
                *constant(cells, where),
                *outliers(values, max_outlier_share),
                *leak(values, churned, leak_auc, where),
            ]
        profile[name] = column_profile(cells, values, kind_of(name, schema), churned, parts_of(len(headers)))
        if isinstance(part, Column) and (moved := before.distance(name, values)) is not None:
            profile[name]["drift"] = moved
        if failed:
            profile[name]["failing"] = {check: examples(cells, rows) for check, rows in failed.items()}
        nulls.append(cells.isna().mean())
    errors += one_class(churned, schema.target, where)
    errors += unfit_weights(texts[WEIGHT]) if WEIGHT in texts else ()
    (errors if schema.strict else warnings).extend(unread_columns(unread, where))
    stats = {
        "rows": n,
        "columns": len(headers),
        "average_null_share": float(np.mean(nulls)),
        "duplicate_rows": int(copies.sum()),
        "duplicate_ids": int(repeated.sum()),
        "copies_but_for_id": int(twins.sum()),
        "target_rate": rate(churned),
        "reference": before.model_dump(exclude={"columns"}) if before.columns else None,
        "profile": {header: profile[header] for header in headers},
    }
    return Validation(not errors, errors, warnings, stats)


def as_typed(texts: pd.Series, part: Identifier) -> pd.Series:
    """The column in its type; text that is none of the type becomes null."""
    if isinstance(part, Column | Target):
        return typed(texts, part)[0]
    return moments(texts, part.format) if isinstance(part, Time) else texts


def twin_rows_of(texts: Table, schema: Schema) -> pd.Series:
    """Rows (n,) equal to an earlier one in all but id and time, more of them than chance explains, of another id."""
    names = [part.name for part in (*schema.columns, schema.target) if part.name in texts]
    copies = copies_of(texts, names) if names else None
    if copies is None:
        return pd.Series(False, range(len(texts)))
    twins = copies.duplicated()
    return twins & ~texts[schema.id.name].duplicated() if schema.id and schema.id.name in texts else twins


def repeated_ids(texts: Table, schema: Schema, copies: pd.Series) -> pd.Series:
    """Rows (n,) whose id, at the same time where there is one, is in an earlier row that differs.

    Whole copies do not count, preprocess drops them; in a table of snapshots a customer stands once in each.
    """
    if schema.id is None or schema.id.name not in texts or schema.id.repeats:
        return pd.Series(False, range(len(texts)))
    key = [part.name for part in (schema.id, schema.time) if part and part.name in texts]
    there = fingerprints(texts, key)[~copies & texts[schema.id.name].notna()]
    return there.duplicated().reindex(range(len(texts)), fill_value=False)


# errors


def missing_columns(schema: Schema, headers: list[str], unread: list[str], where: str) -> Iterator[str]:
    near_to = {re.sub(r"[\W_]", "", header).casefold(): header for header in unread}
    for part in schema.parts:
        if part.name in headers:
            continue
        sought = list(dict.fromkeys(part.headers))
        squashed = [re.sub(r"[\W_]", "", header).casefold() for header in sought]
        near = [near_to[word] for like in squashed for word in get_close_matches(like, near_to, cutoff=0.8)]
        hint = f"; it has {listed(dict.fromkeys(near))}" if near else ""
        words = " or ".join(quoted(header) for header in sought)
        yield (
            f"column '{part.name}': the table has no header {words}{hint}; "
            f"add it to the table, or its header to source in {where}"
        )


def checks_of(cells: pd.Series, values: pd.Series, repeated: pd.Series, part: Identifier) -> pa.Column:
    """What the typed values must satisfy; each check is called by the key under which `complaint` finds its words."""
    readable = cells.isna() | values.notna()
    checks = [pa.Check(lambda _: readable, error="type", ignore_na=False)]
    if isinstance(part, Customer):
        checks += [pa.Check(lambda _: ~repeated, error="unique", ignore_na=False)]
    if isinstance(part, Column):
        checks += [pa.Check.ge(part.min, error="min")] if part.min is not None else []
        checks += [pa.Check.le(part.max, error="max")] if part.max is not None else []
        checks += [pa.Check.isin(part.levels, error="levels")] if part.levels is not None else []
        checks += [pa.Check.in_range(-LARGEST, LARGEST, error="size")] if part.type == "number" else []
        is_free = part.type == "category" and part.levels is None
        checks += [pa.Check.str_length(max_value=MAX_TEXT, error="length")] if is_free else []
    return pa.Column(checks=checks, nullable=isinstance(part, Column) and part.nullable)


def failed_rows(cells: pd.Series, values: pd.Series, repeated: pd.Series, part: Identifier) -> dict[str, pd.Series]:
    """The rows (from 0) of a column (n,), read as `values` (n,), that fail each check, of those that any fails."""
    try:
        pa.DataFrameSchema({part.name: checks_of(cells, values, repeated, part)}).validate(values.to_frame(), lazy=True)
        return {}
    except pa.errors.SchemaErrors as error:
        failed = {check: rows.astype("int64") for check, rows in error.failure_cases.groupby("check")["index"]}
    if "not_nullable" in failed:  # a cell that is there but unreadable is reported under "type"
        failed["not_nullable"] = failed["not_nullable"][cells[failed["not_nullable"]].isna().to_numpy()]
    return {check: failed[check] for check in CHECKS if len(failed.get(check, ()))}


def examples(cells: pd.Series, rows: pd.Series) -> dict[str, Any]:
    """How many rows fail, and the first of them: number, from 1, and cell, None where missing."""
    first = rows.sort_values().head(EXAMPLES)
    return {
        "rows": len(rows),
        "first": [[row + 1, cells[row] if pd.notna(cells[row]) else None] for row in first.tolist()],
    }


def broken_cells(cells: pd.Series, failed: Mapping[str, pd.Series], part: Identifier, where: str) -> Iterator[str]:
    """One sentence per kind of mistake in a column (n,); `failed`: see `failed_rows`."""
    n, share = len(cells), float(cells.isna().mean())
    if share == 1:
        yield f"column '{part.name}': all {n} values are missing; fill them, or take the column out of {where}"
        return
    for check, rows in failed.items():
        first, (predicate, way_out) = int(rows.min()), complaint(check, part, where)
        value = cells[first] if check in ("min", "max", "size") else quoted(cells[first])
        example = "" if check == "not_nullable" else f"{value} "
        bad = cells[rows].value_counts()
        others = f", in all {listed_counts(bad.to_dict())}" if len(bad) > 1 and check != "unique" else ""
        yield (
            f"column '{part.name}': {len(rows)} of {n} values {predicate}, "
            f"e.g. {example}in row {first + 1}{others}; {way_out}"
        )
    if isinstance(part, Column) and part.max_missing and share > part.max_missing:
        yield (
            f"column '{part.name}': {cells.isna().sum()} of {n} values are missing, more than its max_missing "
            f"{part.max_missing:g}, e.g. in row {cells.isna().argmax() + 1}; fill them, or raise it in {where}"
        )


def complaint(check: str, part: Identifier, where: str) -> tuple[str, str]:
    """What is wrong with the values that fail `check`, and the way out."""
    correct = f"correct the table or {where}"
    match check, part:
        case "type", Column(type="number"):
            return "are no finite numbers", f"correct the table, or list the text under missing in {where}"
        case "type", Column() | Target():
            positive, negative = part.positive or ("true",), part.negative or ("false",)
            return f"are neither positive ({listed(positive)}) nor negative ({listed(negative)})", correct
        case "type", Column(type="date") | Time():
            return f"are no dates {f'like {part.format}' if part.format else 'of ISO 8601'}", f"say format in {where}"
        case "not_nullable", Column():
            return "are missing", f"fill them, or set nullable: true in {where}"
        case "not_nullable", _:
            return "are missing", "fill them or drop the rows"
        case "unique", _:
            return "stand in an earlier row that differs", "keep one row per customer"
        case "min", Column():
            return f"are below the minimum {as_text(part.min)}", correct
        case "max", Column():
            return f"are above the maximum {as_text(part.max)}", correct
        case "levels", Column():
            return f"are none of the levels {listed(part.levels or ())}", correct
        case "size", Column():
            return f"are beyond ±{LARGEST:.0e}", f"state them in larger units, or take the column out of {where}"
        case "length", Column():
            return f"have more than {MAX_TEXT} characters", f"shorten them, or take the column out of {where}"
    raise AssertionError(f"no words for the check {check!r}")


def one_class(churned: pd.Series, target: Target, where: str) -> Iterator[str]:
    if churned.nunique() == 1:
        side, values = ("positive", target.positive) if churned.max() else ("negative", target.negative)
        yield (
            f"column '{target.name}': all {churned.count()} readable values are {side} ({listed(values)}); "
            f"a model needs both outcomes, correct the table or {where}"
        )


def unfit_weights(cells: pd.Series) -> Iterator[str]:
    numbers = pd.to_numeric(cells, errors="coerce")
    if (unfit := ~(numbers.gt(0) & np.isfinite(numbers))).any():
        first = int(unfit.argmax())
        value = "a missing one" if pd.isna(cells[first]) else quoted(cells[first])
        yield (
            f"the column of data.weight: {unfit.sum()} of {len(cells)} values are no positive finite numbers, e.g. "
            f"{value} in row {first + 1}; correct the table, or set data.weight: null in params.yaml"
        )


def unread_columns(unread: list[str], where: str) -> Iterator[str]:
    if unread:
        yield f"columns {listed(unread)}: not named by {where} and not read; name them there under columns or drop"


def as_page(validation: Validation, schema: Schema, where: str) -> str:
    parts = {part.name: part for part in schema.parts}
    profile = validation.stats["profile"]
    return page(
        contracts={name: contract(parts[name]) for name in profile if name in parts},
        dropped=schema.dropped,
        base_rate=validation.stats["target_rate"],
        is_valid=validation.is_valid,
        schema=where,
        metrics=validation.metrics,
        reference=validation.stats["reference"],
        errors=validation.errors,
        warnings=validation.warnings,
        profile=profile,
    )


def main(
    texts: Path = Path("data/loaded.parquet"),
    metrics: Path = Path("metrics/validate.json"),
    result: Path = Path("data/validation.json"),
    profile: Path = Path("metrics/validation.html"),
) -> None:
    where = Path(read_section("data")["schema"])
    schema = read_schema(where)
    table = ColumnsOf(texts)
    validation = validate(table, schema, str(where), **read_params("validate", validate))
    write_json(metrics, validation.metrics)
    write_json(result, asdict(validation), digits=9)
    write_text(profile, as_page(validation, schema, str(where)))
    log.info("read %s: %d rows, %d columns; checked against %s", texts, len(table), len(list(table)), where)
    if dropped := {header: why for header, why in schema.dropped.items() if header in table}:
        log.info("not read, as %s says: %s", where, ", ".join(f"{header!r} ({why})" for header, why in dropped.items()))
    for line in validation.warnings:
        log.warning("warning: %s", line)
    counts = len(validation.errors), len(validation.warnings)
    log.info("wrote %s, %s and %s: %d errors, %d warnings", metrics, result, profile, *counts)
    if not validation.is_valid:
        raise InputError("\n".join(validation.errors))


if __name__ == "__main__":
    run(main, "validate")
