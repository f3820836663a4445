"""Small tables that real ones taught: each is drafted, loaded and validated, or ends in one line that helps."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from churn.draft_schema import draft, sheets_note
from churn.read_csv import Options
from churn.read_hints import hint
from churn.read_table import read_table
from churn.schema import Schema
from churn.script import InputError
from churn.table import customers, with_clean_headers
from stages.load import load
from stages.validate import validate

CASES = Path("../shared/cases")
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is missing")
LIMITS: dict[str, Any] = {"max_null_share": 1, "min_class_share": 0, "max_outlier_share": 1, "leak_auc": 1}

# options with which it is read, and what a column of the draft must say
READ: dict[str, tuple[Options, dict[str, dict[str, Any]]]] = {
    "comma_decimal.csv": (
        {"sep": ";"},
        {"Spend": {"decimal": ",", "thousands": "."}, "Rate": {"type": "number", "decimal": ","}},
    ),
    "thousands.csv": ({}, {"total_charges": {"type": "number", "thousands": ","}}),
    "money_text.csv": (
        {},
        {"Spend": {"strip": ["$"]}, "Discount": {"strip": ["%"]}, "Tenure": {"type": "number", "strip": ["months"]}},
    ),
    "number_words.csv": ({}, {"Age": {"type": "number"}, "Calls": {"type": "number", "strip": ["+"]}}),
    "dates.csv": (
        {},
        {
            "Joined": {"format": "%d/%m/%Y"}, "LastLogin": {"format": "%m/%d/%Y"}, "Renewal": {"format": "%d-%m-%y"},
            "IsoDay": {"type": "date"},
        },
    ),
    "several_rows_per_customer.csv": ({}, {"CustomerId": {"repeats": True}, "Month": {"type": "date"}}),
    "unlabelled_rows.csv": ({}, {}),
    "third_outcome.csv": ({}, {"Churn": {"positive": "1", "negative": "0"}}),
    "copies_but_for_id.csv": ({}, {}),
    "number_id.csv": ({}, {"CLIENTNUM": {"name": "clientnum"}}),
    "unnamed_index.csv": ({}, {"Unnamed: 0": {"why": "row numbers"}}),
    "yes_means_stayed.csv": ({}, {"Subscriber": {"positive": "NO", "negative": "YES"}}),
    "id_in_index.parquet": ({}, {"customer_id": {"name": "customer_id"}}),
    "warehouse.parquet": ({}, {"senior_citizen": {"type": "boolean", "positive": "1", "negative": "0"}}),
    "sep_line.csv": ({"sep": ";", "header": 1}, {}),
    "utf16.csv": ({"encoding": "utf-16"}, {}),
    "epoch_ns.csv": ({}, {"signup_ns": {"source": "signup_ns"}}),
    "dictionary_sheet.xlsx": ({"sheet_name": "Data"}, {}),
    "no_header.csv": ({"header": None}, {"4": {"positive": "Yes"}}),
    "nested.jsonl": ({}, {"bill.spend": {"type": "number"}, "profile.plan": {"type": "category"}}),
    "records.json": ({}, {}),
    "tabs.tsv": ({}, {}),
    "plain.txt": ({}, {}),
    "separable.csv": ({}, {}),
}  # fmt: skip
REFUSED = {
    "duplicate_header.csv": "the table has the header 'tenure' twice; drop one",
    "formulas.xlsx": "column 'total_charges' holds formulas without values, e.g. =F2*S2 in T2; open the file in a",
    "comma_decimal.csv": "its only header is 'CustomerId;Age;Plan;Spend;Churn;Rate'; set data.options.sep to ';'",
    "utf16.csv": "is not utf-8 but utf-16: set data.options.encoding to utf-16",
}
HINTS = {
    "sep_line.csv": "set data.options to {sep: ';', header: 1}, which finds 1 of them",
    "dictionary_sheet.xlsx": "set data.options to {sheet_name: 'Data'}, which finds 1 of them",
    "no_header.csv": "looks like values: set data.options.header to null",
}


def target_of(headers: list[str]) -> str:
    return next(header for header in ("Churn", "churned", "Subscriber", "4") if header in headers)


def test_every_case_is_tried() -> None:
    files = {path.name for path in CASES.iterdir()} - {"README.md", "telco_epoch.yaml"}
    assert files == {*READ, *REFUSED}


@pytest.mark.parametrize("name", READ)
def test_a_case_is_drafted_as_it_is_meant_and_passes_undecided(name: str) -> None:
    options, says = READ[name]
    raw = read_table(CASES / name, options)
    text = draft(raw, target_of(list(with_clean_headers(raw).columns)), sheets_note(CASES / name, options))
    content = yaml.safe_load(text)
    parts = [content.get("id", {}), content["target"], *content["columns"], *content.get("drop", [])]
    entries = {part.get("source"): part for part in parts}
    for header, keys in says.items():
        assert keys.items() <= entries[header].items(), entries[header]
    schema = Schema.model_validate(content)
    loaded, left_out = load(raw, schema, CASES / name, options)
    validation = validate(loaded, schema, **LIMITS)
    assert validation.errors == []
    typed = customers(loaded, schema)
    assert len(typed) + sum(left_out.values()) == len(raw)
    assert all(typed[column.name].notna().mean() > 0.5 for column in schema.columns)


def test_what_must_be_decided_is_asked() -> None:
    def text(name: str) -> str:
        return draft(read_table(CASES / name, {}), "Churn")

    assert "300 of 360 rows repeat an earlier one in every column but the id" in text("copies_but_for_id.csv")
    assert "rows without outcome are left out" in text("unlabelled_rows.csv")
    assert "decide: neither of both?" in text("third_outcome.csv")


@pytest.mark.parametrize("name", REFUSED)
def test_a_case_that_cannot_be_read_says_why(name: str) -> None:
    with pytest.raises(InputError) as error:
        with_clean_headers(read_table(CASES / name, {}))
    (line,) = str(error.value).splitlines()
    assert REFUSED[name] in line


@pytest.mark.parametrize("name", HINTS)
def test_a_case_read_otherwise_than_meant_gets_a_hint_that_helps(name: str) -> None:
    found = hint(CASES / name, {}, list(read_table(CASES / name, {}).columns), ["Churn", "churned"])
    assert HINTS[name] in found
