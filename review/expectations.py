"""expectations: the loaded table against its schema, by Great Expectations: make expectations.

Runs in .venv/expectations, where Great Expectations is. Exit status 0: every expectation holds; 1: some fail; 2: it
could not tell. docs/expectations.md says what a suite cannot check.
"""

import argparse
import json
import logging
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from churn.expectations import RESULT, VERSION, header_of, suite_hash, suite_of
from churn.params import read_section
from churn.read_suite import read_suite, sentence, type_of
from churn.schema import Column, Identifier, Schema, Time, read_schema
from churn.script import InputError, run
from churn.table import moments, typed
from churn.text import listed, quoted

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # a check of customers tells nobody

log = logging.getLogger("expectations")

DOCS = Path("data_docs")
EXISTS = "expect_column_to_exist"
# which read values where others stand; the others look at every cell
OF_VALUES = (
    "expect_column_values_to_be_between",
    "expect_column_values_to_be_unique",
    "expect_compound_columns_to_be_unique",
)


@dataclass(frozen=True)
class Failure:
    """An expectation that does not hold: of which columns, in which rows (from 0), or why it could not be asked."""

    type: str
    columns: list[str]
    arguments: dict[str, Any]
    rows: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    error: str = ""


def views(texts: pd.DataFrame, schema: Schema) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The loaded table under its own headers, but what the schema drops, as its cells and as its values.

    Cells are numbers and dates where they can be read so, else texts. Values are null where a text stands for a number:
    that is none out of range. And an id is null in a copy of a whole row: preprocess drops that.
    """
    cells, values, copies = {}, {}, texts.duplicated()
    parts, key = {part.name: part for part in schema.parts}, (schema.id, schema.time)
    for name in texts:
        if name in schema.dropped:
            continue
        part = parts.get(name)
        header, read = header_of(part) if part else name, as_read(texts[name], part)
        unreadable = texts[name].notna() & read.isna()
        cells[header] = read.astype(object).where(~unreadable, texts[name]) if unreadable.any() else read
        values[header] = texts[name].mask(copies) if part and part in key else read
    return pd.DataFrame(cells), pd.DataFrame(values)


def as_read(texts: pd.Series, part: Identifier | None) -> pd.Series:
    """Numbers, dates and merged levels; a boolean stays the text that it is in the table."""
    if isinstance(part, Column) and part.type != "boolean":
        return typed(texts, part)[0]
    return moments(texts, part.format) if isinstance(part, Time) else texts


class Checker:
    """Great Expectations with one suite, in memory, its expectations of cells apart from those of values."""

    def __init__(self, suite: Mapping[str, Any]):
        own_log = logging.getLogger("great_expectations")  # of its making, in hundreds of lines
        own_log.propagate = False
        own_log.addHandler(logging.NullHandler())
        import great_expectations as gx  # five seconds, and only in .venv/expectations

        self._context = gx.get_context(mode="ephemeral")
        self._context.variables.progress_bars = {"globally": False}
        table = self._context.data_sources.add_pandas("table")
        self._definitions = []
        for view in ("cells", "values"):
            wanted = [
                {"type": type_of(one), "kwargs": one.get("kwargs", {}), "meta": one.get("meta")}
                for one in suite["expectations"]
                if (type_of(one) in OF_VALUES) == (view == "values")
            ]
            part = gx.ExpectationSuite(name=view, expectations=wanted)
            if len(part.expectations) < len(wanted):  # it drops those that it does not understand, and goes on
                refused = [
                    one for one in wanted if not gx.ExpectationSuite(name="one", expectations=[one]).expectations
                ]
                lines = [f"Great Expectations refuses {sentence(one['type'], one['kwargs'])}" for one in refused]
                raise InputError("\n".join(lines))
            batch = table.add_dataframe_asset(view).add_batch_definition_whole_dataframe(view)
            definition = gx.ValidationDefinition(name=view, data=batch, suite=self._context.suites.add(part))
            self._definitions.append(self._context.validation_definitions.add(definition))

    def check(self, texts: pd.DataFrame, schema: Schema) -> list[Failure]:
        """What of the suite does not hold for a loaded table (n >= 1 rows)."""
        return [
            failure_of(result)
            for definition, frame in zip(self._definitions, views(texts, schema), strict=True)
            for result in definition.run(
                batch_parameters={"dataframe": frame}, result_format={"result_format": "COMPLETE"}
            ).results
            if not result.success
        ]

    def write_docs(self, folder: Path, result: Mapping[str, Any]) -> Path:
        """Data Docs of all that was checked and its result, in place of the `folder` that was there; its first page."""
        new = folder.with_name(f".{folder.name}.{os.getpid()}")
        site = {
            "class_name": "SiteBuilder",
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(new.resolve())},
        }
        try:
            self._context.add_data_docs_site(site_name=folder.name, site_config=site)
            self._context.build_data_docs(site_names=[folder.name])
            (new / RESULT).write_text(json.dumps(result, indent=2, default=str) + "\n")
            shutil.rmtree(folder, ignore_errors=True)
            new.rename(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        return folder / "index.html"


def failure_of(result: Any) -> Failure:
    config, found = result.expectation_config, result.result
    kwargs = {key: value for key, value in config.kwargs.items() if key != "batch_id"}
    where = (kwargs.get("row_condition") or {}).get("column", {}).get("name")
    column = kwargs.pop("column", where)
    columns = [column] if column else list(kwargs.get("column_list", []))
    unexpected = found.get("unexpected_list") or found.get("details", {}).get("mismatched", {}).get("unexpected")
    # of the whole expectation, or of each of its metrics
    info = result.exception_info
    told = [info] if "raised_exception" in info else list(info.values())
    error = next((str(one["exception_message"]) for one in told if one["raised_exception"]), "")
    rows = list(found.get("unexpected_index_list") or [])
    return Failure(config.type, columns, kwargs, rows, list(unexpected or []), error)


def missing_columns(failures: list[Failure]) -> list[str]:
    return [column for failure in failures if failure.type == EXISTS for column in failure.columns]


def told(failures: list[Failure], n: int) -> list[str]:
    """A line for each failure (of n rows); of a column that is missing, that it is."""
    missing = missing_columns(failures)
    asked = [failure for failure in failures if not set(failure.columns) & set(missing)]
    return [f"the table has no column {quoted(column)}" for column in missing] + [line_of(one, n) for one in asked]


def line_of(failure: Failure, n: int) -> str:
    words = ", ".join(f"{key} {quoted(value)}" for key, value in failure.arguments.items())
    asked = f"{failure.type}({words})" if words else failure.type
    place = f"column {listed(failure.columns)}: {asked}" if failure.columns else asked
    if failure.error:
        return f"{place} could not be asked: {' '.join(failure.error.split())}"
    if failure.rows:
        value = f"{quoted(failure.values[0])} " if failure.values and failure.values[0] is not None else ""
        return f"{place}: {len(failure.rows)} of {n} rows, e.g. {value}in row {failure.rows[0] + 1}"
    return f"{place}: {listed(failure.values)}" if failure.values else place


def result_of(failures: list[Failure], suite: Mapping[str, Any], texts: Path, n: int) -> dict[str, Any]:
    """What was asked of which table (n rows) and what fails, for programs; without a value of a customer."""
    with texts.open("rb") as file:
        table = {"path": str(texts), "md5": file_digest(file, "md5").hexdigest(), "rows": n}
    failed = [
        {
            "type": one.type,
            "columns": one.columns,
            "arguments": one.arguments,
            "rows": len(one.rows),
            "could_be_asked": not one.error,
        }
        for one in failures
    ]
    asked = {"count": len(suite["expectations"]), "sha256": suite_hash(suite)}
    return {"great_expectations": VERSION, "table": table, "expectations": asked, "failed": failed}


def main(texts: Path = Path("data/loaded.parquet"), docs: Path = DOCS) -> None:
    parser = argparse.ArgumentParser(prog="python -m review.expectations", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--suite", type=Path, help="instead of the schema's own")
    given = parser.parse_args()
    if find_spec("great_expectations") is None:
        raise InputError("Great Expectations is not installed here; run it with: make expectations")
    if not texts.is_file():
        raise InputError(f"{texts} is missing; write it with: dvc repro load")
    path = Path(read_section("data")["schema"])
    schema = read_schema(path)
    suite = read_suite(given.suite) if given.suite else suite_of(schema, path.stem)
    checker, table = Checker(suite), pd.read_parquet(texts)
    failures = checker.check(table, schema)
    for line in told(failures, len(table)):
        log.error(line)
    page = checker.write_docs(docs, result_of(failures, suite, texts, len(table)))
    of = f"{len(suite['expectations'])} expectations of {given.suite or path}"
    log.info("%d of %s fail on %d rows of %s; Data Docs: %s", len(failures), of, len(table), texts, page.resolve())
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    run(main, "expectations", mistake=2)
