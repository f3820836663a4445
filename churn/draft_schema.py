"""Draft a schema from a table: `python -m churn.draft_schema TABLE --target Churn > schemas/my.yaml`.

What a person must decide is marked `decide:`; undecided, the table it was drafted from passes load and validate.
"""

import argparse
import math
import re
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from churn.draft_columns import (
    FEW,
    ID_NAME,
    NO,
    YES,
    draft_column,
    is_row_number,
    looks_like_id,
    names_several_rows,
    one_or_all,
    rises,
)
from churn.formats import newest, number_format
from churn.params import closest
from churn.read_csv import Options
from churn.read_hints import hint
from churn.read_table import READERS, read_table
from churn.schema import AS_OF, ID, TARGET, Target
from churn.script import InputError, run
from churn.table import as_texts, copies_of, typed, with_clean_headers

LEFT = {"churn", "churned", "left", "exited", "lost", "cancelled", "canceled", "closed", "gone", "attrited customer"}
STAYED = {"stayed", "stay", "active", "existing", "existing customer", "retained", "current", "loyal", "renewed"}
LEFT_NAME = re.compile(r"churn|exit|left|leav|attrit|cancel|lost|clos|terminat|default|quit")
STAYED_NAME = re.compile(r"subscri|active|retain|stay|renew|loyal|member|customer_?status")
MISSING = {"na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", ".", "missing", "unknown", "k.a."}


def draft(raw: pd.DataFrame, target: str, notes: Sequence[str] = ()) -> str:
    """The schema file for `raw` (n >= 1 rows); `target` is the header of the column that tells who churned."""
    raw = with_clean_headers(raw)
    if target not in raw:
        near = closest(target, list(raw.columns))
        raise InputError(f"the table has no column '{target}'{near}; it has {list(raw.columns)[:8]}")
    texts = pd.DataFrame({header: as_texts(raw[header], ()) for header in raw}).reset_index(drop=True)
    markers, missing_remark = missing_markers(texts, target)
    texts = pd.DataFrame({header: as_texts(texts[header], markers) for header in texts})
    headers = [str(header) for header in texts]
    names = snake_names(headers, target)

    outcome, left_out, outcome_remark = draft_target(texts[target], names[target])
    churned = typed(texts[target].where(~texts[target].isin(left_out)), Target(**outcome))[0].astype("Float64")
    has_unknown = bool(texts[target].isna().any())
    texts = texts.dropna(how="all")  # a last line of blanks is no customer, also where it has a row number
    numbered = [header for header in headers if is_row_number(texts[header])]
    texts = texts.dropna(how="all", subset=[header for header in headers if header not in numbered])
    churned = churned[texts.index]
    once = texts.drop_duplicates()
    others = [header for header in headers if header != target and header not in numbered]
    ids = [header for header in others if looks_like_id(once[header], names[header])]
    ids = ids or [header for header in others if rises(once[header])][:1]
    ids.sort(key=lambda header: not ID_NAME.search(names[header]))
    repeated = [] if ids else [header for header in others if names_several_rows(once[header], names[header])][:1]
    # a column that is no id after all: the name is the customer's own in requests
    free = next(name for n in range(2, len(headers) + 3) if (name := f"{ID}_{n}") not in {*names.values(), *headers})
    names |= {h: free for h, name in names.items() if name == ID and h not in (*ids[:1], *repeated)}
    lines: dict[str, list[str]] = {"drop": [], "columns": []}
    dates: dict[str, str | None] = {}
    late: set[str] = set()
    for header in headers:
        if header not in (target, *ids, *repeated):
            column = draft_column(texts[header], names[header], churned)
            if column.entry.get("type") == "date":
                dates[header] = column.entry.get("format")
                late |= {header} if column.is_late else set()
            lines["drop" if "why" in column.entry else "columns"].append(
                f"  - {flow(column.entry)}{comment(column.remark)}"
            )
    for header in ids[1:]:
        entry = {"source": header, "why": "distinct in every row, like an id"}
        lines["drop"].append(f"  - {flow(entry)}{comment('decide: is this the id?')}")
    if not lines["columns"]:
        raise InputError(f"none of the columns {headers[:8]} could be a feature; is the table read as it should be?")
    id_lines = [
        f"id: {flow({'name': names[h], 'source': h})}{comment('decide: distinct in every row')}" for h in ids[:1]
    ] + [
        f"id: {flow({'name': names[h], 'source': h, 'repeats': True})}{comment('decide: several rows per customer?')}"
        for h in repeated
    ]
    # the day that a customer left is later than the table's
    day = newest(texts, {header: format for header, format in dates.items() if header not in late} or dates)
    return "\n".join(
        [
            f"# Drafted from a table of {len(raw)} rows and {len(headers)} columns. Go through the marks `decide:`,",
            "# then remove them; docs/own_table.md says what each key means. What an offer costs and brings stands in",
            "# params.yaml under profit, by default for a telecom operator: state your own.",
            *(f"# decide: {note}" for note in (*notes, *copies_note(once.drop(columns=[*ids, *repeated])))),
            *id_lines,
            f"target: {flow(outcome)}{comment(outcome_remark)}",
            *([f'as_of: "{day or "2000-01-01"}"{comment(AS_OF_REMARK)}'] if dates else []),
            f"missing: {flow(['', *markers])}{comment(missing_remark)}",
            *leave_out_lines(target, left_out, has_unknown),
            *(["drop:", *lines["drop"]] if lines["drop"] else []),
            "columns:",
            *lines["columns"],
            "",
        ]
    )


AS_OF_REMARK = "decide: the day that the table describes? this is the newest date in it"


def copies_note(once: pd.DataFrame) -> list[str]:
    copies = int(once.duplicated().sum())
    if not copies or copies_of(once, list(once)) is None:
        return []
    return [
        f"{copies} of {len(once)} rows repeat an earlier one in every column but the id: one customer under two ids?"
    ]


def leave_out_lines(target: str, values: list[str], is_blank: bool) -> list[str]:
    blank = [f"  - {flow({'source': target, 'values': '', 'why': 'no outcome'})}"] * is_blank
    others = [
        f"  - {flow({'source': target, 'values': value, 'why': f'outcome {value}'})}  # decide: neither of both?"
        for value in values
    ]
    return ["leave_out:", *blank, *others] if blank or others else []


def draft_target(cells: pd.Series, name: str) -> tuple[dict[str, Any], list[str], str]:
    """The entry, the values that are neither left nor stayed, and the question with both shares."""
    counts = {str(value): int(count) for value, count in cells.value_counts().items()}
    if not 2 <= len(counts) <= FEW:
        raise InputError(
            f"column '{cells.name}' has {len(counts)} distinct values, e.g. {list(counts)[:3]}; a target needs one for "
            "customers who left and one or a few for those who stayed"
        )
    positive, negative, neither = sides(counts, name, str(cells.name))
    shares = {value: f"{value!r} ({count / len(cells):.1%})" for value, count in counts.items()}
    left, stayed = (" or ".join(shares[value] for value in side) for side in (positive, negative))
    blank = f"; {cells.isna().sum()} rows without outcome are left out" if cells.isna().any() else ""
    entry = {"name": name, "source": cells.name, "positive": one_or_all(positive), "negative": one_or_all(negative)}
    return entry, neither, f"decide: did {left} leave, and {stayed} stay?{blank}"


def sides(counts: dict[str, int], name: str, header: str) -> tuple[list[str], list[str], list[str]]:
    """Who left, who stayed, and neither: by the values' words; yes and no by the header; else the rarest value left."""
    left = sorted(value for value in counts if value.casefold() in LEFT)
    stayed = sorted(value for value in counts if value.casefold() in STAYED)
    if not left and not stayed:
        yes = sorted(value for value in counts if value.casefold() in YES)
        no = sorted(value for value in counts if value.casefold() in NO)
        words = f"{name} {header}".casefold()
        says_stayed = STAYED_NAME.search(words) and not LEFT_NAME.search(header.casefold())
        left, stayed = (no, yes) if says_stayed and yes and no else (yes, no)
    if not left:
        left = [min(set(counts) - set(stayed) or counts, key=lambda value: (counts[value], value))]
    rest = sorted(set(counts) - set(left) - set(stayed))
    if stayed and set(stayed) - set(left):
        return left, sorted(set(stayed) - set(left)), rest
    if not rest:  # all are of one side by their words
        left = [min(counts, key=lambda value: (counts[value], value))]
        rest = sorted(set(counts) - set(left))
    return left, rest, []


def missing_markers(texts: pd.DataFrame, target: str) -> tuple[tuple[str, ...], str]:
    """Texts that must mean missing since all else in their column is numbers, and a remark on others that may."""
    sure: set[str] = set()
    remarks = []
    for header in texts.columns.drop(target):
        values = pd.Series(texts[header].dropna().unique(), dtype="str")
        marks = values.str.casefold().isin(MISSING)
        if marks.any() and not marks.all() and number_format(values[~marks]) is not None:
            sure |= set(values[marks])
        elif marks.any():
            remarks.append(f"{', '.join(map(repr, sorted(values[marks])))} in column {header!r}")
    # a marker holds for every column: of the outcomes one may go missing where words say which others left and stayed
    outcomes = set(texts[target].dropna())
    words = {outcome.casefold() for outcome in outcomes - sure}
    markers = tuple(sorted(sure if words & (LEFT | YES) and words & (STAYED | NO) else sure - outcomes))
    return markers, f"decide: does it mean missing too? {'; '.join(remarks)}" if remarks else ""


def snake_names(headers: list[str], target: str) -> dict[str, str]:
    """Header -> a name that is no other column's name and no other column's header."""
    names: dict[str, str] = {}
    for header in sorted(headers, key=lambda header: header != target):
        wanted, reserved = (TARGET, set()) if header == target else (snake(header), {TARGET, AS_OF})
        taken = reserved | set(names.values()) | (set(headers) - {header})
        numbered = (f"{wanted}_{count}" for count in range(2, len(taken) + 3))
        names[header] = next(name for name in (wanted, *numbered) if name not in taken)
    return names


def snake(header: str) -> str:
    """'customerID' -> customer_id, 'Größe (m)' -> grosse_m, '1st' -> column_1st"""
    plain = unicodedata.normalize("NFKD", header.replace("ß", "ss")).encode("ascii", "ignore").decode()
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain)
    words = re.sub(r"[^a-z0-9]+", "_", apart.lower()).strip("_")
    return words if words[:1].isalpha() else f"column_{words}".rstrip("_")


# words


def comment(remark: str) -> str:
    return f"  # {remark}" if remark else ""


class _Dumper(yaml.SafeDumper):
    """Quotes every text that some reader of YAML takes for something else: "Yes", "1", "null", dates."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = (
        re.fullmatch(r"[A-Za-z][\w ()/-]*", text) and text.casefold() not in YES | NO and yaml.safe_load(text) == text
    )
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def flow(value: dict[str, Any] | list[str]) -> str:
    """`value` as YAML on one line."""
    options: dict[str, Any] = {"default_flow_style": True, "sort_keys": False, "allow_unicode": True, "width": math.inf}
    return str(yaml.dump(value, Dumper=_Dumper, **options)).strip()


def option(text: str) -> tuple[str, Any]:
    """'header=0' -> ("header", 0); 'sep=|' and 'sep=\\t' stay what they look like."""
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not key=value, for instance sep=;")
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError:
        read = None
    if value == "null":
        return key, None
    return key, read if isinstance(read, int | float | list | dict) else value.replace("\\t", "\t")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m churn.draft_schema", description=__doc__)
    parser.add_argument("table", type=Path, help=", ".join(suffix[1:] for suffix in READERS))
    parser.add_argument("--target", required=True, help="the header of the column that tells who churned")
    parser.add_argument(
        "--options",
        type=option,
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="for the pandas reader, as in params.yaml data.options: sep=; encoding=latin-1 header=0",
    )
    given = parser.parse_args()
    options: Options = dict(given.options)
    try:
        raw = read_table(given.table, options)
        if given.target not in (headers := list(with_clean_headers(raw).columns)):
            way_out = closest(given.target, headers) or f"; {hint(given.table, options, headers, [given.target])}"
            raise InputError(f"{given.table} has no column '{given.target}'{way_out}")
    except InputError as error:
        here = "; here by --options KEY=VALUE, for each one" if "data.options" in str(error) else ""
        raise InputError(f"{error}{here}") from None
    text = draft(raw, given.target, sheets_note(given.table, options))
    if options:
        text = f"# params.yaml needs data.options: {flow(options)}\n{text}"
    # not print: the draft is UTF-8 whatever the terminal speaks
    sys.stdout.buffer.write(text.encode())


def sheets_note(path: Path, options: Options) -> list[str]:
    if path.suffix.lower() != ".xlsx" or "sheet_name" in options:
        return []
    from openpyxl import load_workbook  # a fifth of a second

    first, *others = load_workbook(path, read_only=True).sheetnames
    return [f"is {first!r} the sheet? data.options.sheet_name may be one of {others}"] if others else []


if __name__ == "__main__":
    run(main, "draft_schema")
