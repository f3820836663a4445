"""Great Expectations itself, with the suite of a schema, finds in mutated tables what the stage validate finds."""

import json
import os
from collections import Counter
from collections.abc import Mapping
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from churn.read_table import read_table
from churn.schema import Column, Identifier, Schema, read_schema
from churn.table import fingerprints, typed
from stages.load import load
from stages.validate import as_typed, failed_rows, one_class, repeated_ids, validate
from tests.conftest import ROOT
from tests.e2e.conftest import command
from tests.e2e.mutated_tables import SCHEMAS, mutated, sound

PYTHON = ROOT / ".venv/expectations/bin/python"
TABLES = int(os.environ.get("MUTATED_TABLES", "100"))
KNOBS: dict[str, Any] = {"max_null_share": 0.3, "min_class_share": 0.05, "max_outlier_share": 0.05, "leak_auc": 0.9}

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not PYTHON.exists(), reason="no Great Expectations: make .venv/expectations/.installed"),
]

Rows = frozenset[int]
Findings = dict[tuple[str, str], Rows]  # check, header -> rows from 0; none where the check is of the whole column


def by_validate(texts: pd.DataFrame, schema: Schema) -> Findings:
    """What the stage's own functions find."""
    unread = [header for header in texts if header not in schema.dropped]
    copies = fingerprints(texts, list(texts)).duplicated()
    repeated, found = repeated_ids(texts, schema, copies), Findings()
    for part in schema.parts:
        header = part.headers[0]
        if part.name not in texts:
            found["missing column", header] = Rows()
            continue
        unread.remove(part.name)
        cells, values = texts[part.name], as_typed(texts[part.name], part)
        if cells.isna().all():
            is_nullable = isinstance(part, Column) and part.nullable
            found["empty" if is_nullable else "not_nullable", header] = Rows() if is_nullable else Rows(cells.index)
            continue
        for check, rows in failed_rows(cells, values, repeated, part).items():
            key = "range" if check in ("min", "max", "size") else check, header
            found[key] = found.get(key, Rows()) | Rows(rows)
        if isinstance(part, Column) and part.max_missing and cells.isna().mean() > part.max_missing:
            found["share", header] = Rows()
    target = schema.target
    if target.name in texts and [*one_class(typed(texts[target.name], target)[0], target, "")]:
        found["outcomes", target.headers[0]] = Rows()
    if schema.strict:
        found |= {("unread", header): Rows() for header in unread}
    return found


CHECKS = {
    "expect_column_to_exist": "missing column",
    "expect_column_values_to_not_be_null": "not_nullable",
    "expect_column_proportion_of_non_null_values_to_be_between": "empty",
    "expect_column_values_to_be_in_type_list": "type",
    "expect_column_values_to_be_between": "range",
    "expect_column_value_lengths_to_be_between": "length",
    "expect_column_values_to_be_unique": "unique",
    "expect_compound_columns_to_be_unique": "unique",
    "expect_table_row_count_to_be_between": "outcomes",
}


def by_great_expectations(failures: list[dict[str, Any]], texts: pd.DataFrame, schema: Schema) -> Findings:
    """The same out of its results, in which a row of a repeated id stands even if it is the first."""
    parts: Mapping[str, Identifier] = {part.headers[0]: part for part in schema.parts}
    absent = {one["columns"][0] for one in failures if one["type"] == "expect_column_to_exist"}
    sides = Counter(one["type"] for one in failures)["expect_table_row_count_to_be_between"]
    found = Findings()
    for one in failures:
        what, rows = one["type"], one["rows"]
        if what == "expect_table_columns_to_match_set":
            found |= {("unread", header): Rows() for header in one["values"]}
            continue
        header = one["columns"][0]
        if what != "expect_column_to_exist" and absent & set(one["columns"]):
            continue
        assert not one["error"], one
        check = CHECKS.get(what)
        if what == "expect_column_values_to_be_in_set":
            part = parts[header]
            check = "levels" if isinstance(part, Column) and part.type == "category" else "type"
        if check == "not_nullable" and "mostly" in one["arguments"]:
            check, rows = "share", []
        if check == "outcomes" and sides == 2:  # no outcome can be read at all
            continue
        if check == "unique":
            key = [part.name for part in (schema.id, schema.time) if part]
            named = texts.loc[rows, key].dropna(subset=key[:1])
            rows = named.index[named.duplicated()]
        if check == "unique" and not len(rows):
            continue
        found[str(check), header] = Rows(rows)
    return {key: rows for key, rows in found.items() if key[0] != "share" or ("empty", key[1]) not in found}


def comparable(found: Findings, schema: Schema) -> Findings:
    """Where the time is missing, validate looks for ids alone, which a suite does not."""
    lacks_time = schema.time and ("missing column", schema.time.headers[0]) in found
    return {key: rows for key, rows in found.items() if key[0] != "unique" or not lacks_time}


def is_as_loaded(raw: pd.DataFrame) -> bool:
    """Whether load has nothing to do: no white space around, no header that is a second source, no row twice."""
    texts = [*raw.columns, *(cell for header in raw for cell in raw[header])]
    return "Saldo" not in raw and not raw.duplicated().any() and all(text == text.strip() for text in texts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Schemas, suites and mutated tables."""
    folder = tmp_path_factory.mktemp("tables")
    for number, (kind, content) in enumerate(SCHEMAS.items()):
        path = folder / f"{kind}.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
        suite = command(ROOT, "python", "-m", "churn.expectations", str(path))
        path.with_suffix(".json").write_text(suite, encoding="utf-8")
        schema = read_schema(path)
        for seed in range(number, TABLES, len(SCHEMAS)):
            csv, raw = folder / f"{kind}-{seed:04}.csv", mutated(kind, seed)
            raw.to_csv(csv, index=False)
            load(read_table(csv, {}), schema, csv, {})[0].to_parquet(csv.with_suffix(".parquet"))
            if kind != "plain" or not is_as_loaded(raw):
                csv.unlink()
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Table -> what does not hold, by Great Expectations in one process."""
    words = [str(PYTHON), "-m", "tests.e2e.run_great_expectations", "."]
    lines = command(folder, *words, PYTHONPATH=str(ROOT), timeout=60 + 10 * TABLES)
    found = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
    return {one["table"]: one["failures"] for one in found}


def test_it_finds_the_columns_and_rows_that_validate_finds(folder: Path, told: dict[str, list[dict[str, Any]]]) -> None:
    seen, sound, differing = Counter[str](), 0, {}
    paths = sorted(folder.glob("*.parquet"))
    assert len(paths) == TABLES
    for path in paths:
        schema, texts = read_schema(folder / f"{path.stem.partition('-')[0]}.yaml"), pd.read_parquet(path)
        ours, theirs = by_validate(texts, schema), by_great_expectations(told[path.name], texts, schema)
        assert validate(texts, schema, **KNOBS).is_valid == (not ours), path.name
        if comparable(ours, schema) != comparable(theirs, schema):
            differing[path.name] = ours, theirs
        seen.update(check for check, _ in ours)
        sound += not ours
    assert not differing
    # so that no check passes because no table fails it
    assert set(seen) == {*CHECKS.values(), "levels", "share", "unread"}
    assert sound


def test_it_finds_the_same_columns_and_rows_in_the_csv_file_read_as_the_suite_says(
    folder: Path, told: dict[str, list[dict[str, Any]]]
) -> None:
    paths = sorted(folder.glob("*.csv"))
    assert len(paths) > TABLES / 20
    differing = {}
    for path in paths:
        loaded, raw = (by_column(told[path.with_suffix(suffix).name]) for suffix in (".parquet", ".csv"))
        # pandas reads a column of numbers with a word in it as words: then no range can be asked, and no row named
        named = {column: rows for column, rows in raw.items() if not has_words(told[path.name], column)}
        if set(raw) != set(loaded) or any(rows != loaded[column] for column, rows in named.items()):
            differing[path.name] = raw, loaded
    assert not differing


def by_column(failures: list[dict[str, Any]]) -> dict[str, Rows]:
    """Column -> the rows in which something does not hold of it; none where it is missing."""
    absent = {one["columns"][0] for one in failures if one["type"] == "expect_column_to_exist"}
    found: dict[str, Rows] = {}
    for one in failures:
        for column in one["columns"]:
            found[column] = Rows() if column in absent else found.get(column, Rows()) | Rows(one["rows"])
    return found


def has_words(failures: list[dict[str, Any]], column: str) -> bool:
    return any(
        one["type"] == "expect_column_values_to_be_in_type_list" and column in one["columns"] for one in failures
    )


def run_expectations(folder: Path, *words: str, status: int) -> list[str]:
    return command(
        folder, str(PYTHON), "-m", "review.expectations", *words, status=status, PYTHONPATH=str(ROOT)
    ).splitlines()


@pytest.fixture
def loaded(tmp_path: Path) -> Path:
    """A folder with a loaded table in which two cells are wrong, its schema, and params that name it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(SCHEMAS["plain"]))
    (tmp_path / "params.yaml").write_text("data: {path: my.csv, schema: my.yaml}\n")
    raw = sound("plain", np.random.default_rng(1))
    raw.loc[[3, 5], "Tenure in months"] = "73", "dear"
    texts, _ = load(raw, read_schema(tmp_path / "my.yaml"), tmp_path / "my.csv", {})
    texts.to_parquet(tmp_path / "data/loaded.parquet")
    return tmp_path


def test_the_command_tells_each_failure_and_writes_data_docs(loaded: Path) -> None:
    *failures, last = run_expectations(loaded, status=1)
    assert [line.partition(" rows, ")[2] for line in failures] == ["e.g. 'dear' in row 6", "e.g. 73.0 in row 4"]
    assert last.startswith("expectations: 2 of 30 expectations of my.yaml fail on 80 rows of data/loaded.parquet; ")
    page = loaded / "data_docs/index.html"
    assert last.endswith(f"Data Docs: {page}")
    results = [path.read_text() for path in loaded.glob("data_docs/validations/**/*.html")]
    assert any("Tenure in months" in text and "dear" in text for text in results)
    result = (loaded / "data_docs/result.json").read_text()
    found = json.loads(result)
    assert found["table"]["md5"] == md5((loaded / "data/loaded.parquet").read_bytes()).hexdigest()
    assert [(one["rows"], one["could_be_asked"]) for one in found["failed"]] == [(1, True)] * 2
    assert "dear" not in result
    assert not [path for path in loaded.iterdir() if path.name.startswith(".")]


def test_the_command_runs_another_suite_and_ends_well_where_it_holds(loaded: Path) -> None:
    exists = {"expectation_type": "expect_column_to_exist", "kwargs": {"column": "Churn"}}  # as before 1.0
    (loaded / "other.json").write_text(json.dumps({"name": "other", "expectations": [exists]}))
    (last,) = run_expectations(loaded, "--suite", "other.json", status=0)
    assert last.startswith("expectations: 0 of 1 expectations of other.json fail on 80 rows")


def test_a_suite_that_great_expectations_does_not_know_is_refused_in_one_line(loaded: Path) -> None:
    unknown = {"type": "expect_customers_to_be_happy", "kwargs": {}}
    (loaded / "other.json").write_text(json.dumps({"name": "other", "expectations": [unknown]}))
    (line,) = run_expectations(loaded, "--suite", "other.json", status=2)
    assert line == "expectations: Great Expectations refuses expect_customers_to_be_happy {}"
    assert not (loaded / "data_docs").exists()
