"""Draft a schema from a table: `python -m churn.draft_schema TABLE --target Churn > schemas/my.yaml`.

What a person must decide is marked `decide:`; undecided, the table it was drafted from passes load and validate.
"""

import argparse
import math
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from churn.leakage import auc_alone
from churn.params import closest
from churn.read_hints import hint
from churn.read_table import READERS, Options, read_table
from churn.schema import LARGEST, MAX_TEXT, TARGET, Column, Target, as_text
from churn.script import InputError, run
from churn.table import as_texts, moments, typed, with_clean_headers

YES = {"yes", "y", "true", "t", "1", "1.0", "on"}
NO = {"no", "n", "false", "f", "0", "0.0", "off"}
LEFT = YES | {"churn", "churned", "left", "exited", "lost", "cancelled", "canceled", "closed", "attrited customer"}
MISSING = {"na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", ".", "missing", "unknown"}
ID_NAME = re.compile(r"(^|_)(id|ids|uuid|guid|key|code|phone|email|account|msisdn|iban)(_|$)|_(number|num|no|nr)$")
LATE_NAME = re.compile(r"(^|_)(reason|score|churn|cancel|exit|left|leaving|terminat|end|closed|clv|cltv|retention)")
FEW = 10  # whole numbers with no more distinct values may be categories
LEVELS = 30  # more are not listed but learned
NEAR_UNIQUE = 0.5  # distinct values per row above which texts name customers rather than group them
LEAK_AUC = 0.95
CODE = r"[+-]?0\d"  # leading zeros would be lost in a number


def draft(raw: pd.DataFrame, target: str) -> str:
    """The schema file for `raw` (n >= 1 rows); `target` is the header of the column that tells who churned."""
    raw = with_clean_headers(raw)
    if target not in raw:
        near = closest(target, list(raw.columns))
        raise InputError(f"the table has no column '{target}'{near}; it has {list(raw.columns)[:8]}")
    texts = pd.DataFrame({header: as_texts(raw[header], ()) for header in raw})
    markers, missing_remark = missing_markers(texts, target)
    texts = pd.DataFrame({header: as_texts(texts[header], markers) for header in texts})
    headers = [str(header) for header in texts]
    names = snake_names(headers, target)

    outcome, outcome_remark = draft_target(texts[target], names[target])
    churned = typed(texts[target], Target(**outcome))[0].astype("Float64")
    once = texts.drop_duplicates()
    ids = [header for header in headers if header != target and is_id(once[header], names[header])]
    lines: dict[str, list[str]] = {"drop": [], "columns": []}
    for header in headers:
        if header not in (target, *ids):
            entry, remark = draft_column(texts[header], names[header], churned)
            lines["drop" if "why" in entry else "columns"].append(f"  - {flow(entry)}{comment(remark)}")
    for header in ids[1:]:
        entry = {"source": header, "why": "distinct in every row, like an id"}
        lines["drop"].append(f"  - {flow(entry)}{comment('decide: is this the id?')}")
    if not lines["columns"]:
        raise InputError(f"none of the columns {headers[:8]} could be a feature; is the table read as it should be?")
    id_lines = [
        f"id: {flow({'name': names[h], 'source': h})}{comment('decide: distinct in every row')}" for h in ids[:1]
    ]
    return "\n".join(
        [
            f"# Drafted from a table of {len(texts)} rows and {len(headers)} columns. Go through the marks `decide:`,",
            "# then remove them. docs/own_table.md says what each key means.",
            *id_lines,
            f"target: {flow(outcome)}{comment(outcome_remark)}",
            f"missing: {flow(['', *markers])}{comment(missing_remark)}",
            *(["drop:", *lines["drop"]] if lines["drop"] else []),
            "columns:",
            *lines["columns"],
            "",
        ]
    )


def missing_markers(texts: pd.DataFrame, target: str) -> tuple[tuple[str, ...], str]:
    """Texts that must mean missing since all else in their column is numbers, and a remark on others that may."""
    sure: set[str] = set()
    remarks = []
    for header in texts.columns.drop(target):
        values = pd.Series(texts[header].dropna().unique(), dtype="str")
        marks = values.str.casefold().isin(MISSING)
        if marks.any() and not marks.all() and is_number(values[~marks]):
            sure |= set(values[marks])
        elif marks.any():
            remarks.append(f"{', '.join(map(repr, sorted(values[marks])))} in column {header!r}")
    # a marker holds for every column, and an outcome must not go missing
    markers = tuple(sorted(sure - set(texts[target].dropna())))
    return markers, f"decide: does it mean missing too? {'; '.join(remarks)}" if remarks else ""


def snake_names(headers: list[str], target: str) -> dict[str, str]:
    """Header -> a name that is no other column's name and no other column's header."""
    names: dict[str, str] = {}
    for header in sorted(headers, key=lambda header: header != target):
        wanted, reserved = (TARGET, set()) if header == target else (snake(header), {TARGET})
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


def draft_target(cells: pd.Series, name: str) -> tuple[dict[str, Any], str]:
    counts = {str(value): int(count) for value, count in cells.value_counts().items()}
    if not 2 <= len(counts) <= FEW:
        raise InputError(
            f"column '{cells.name}' has {len(counts)} distinct values, e.g. {list(counts)[:3]}; a target needs one for "
            "customers who left and one or a few for those who stayed"
        )
    positive = sorted(value for value in counts if value.casefold() in LEFT)
    if len(positive) in (0, len(counts)):
        positive = [min(counts, key=lambda value: (counts[value], value))]
    negative = sorted(set(counts) - set(positive))
    share = sum(counts[value] for value in positive) / len(cells)
    blank = f"; {cells.isna().sum()} rows without outcome must go" if cells.isna().any() else ""
    entry = {"name": name, "source": cells.name, "positive": one_or_all(positive), "negative": one_or_all(negative)}
    return entry, f"decide: is positive who left? {share:.1%} of the rows{blank}"


def draft_column(cells: pd.Series, name: str, churned: pd.Series) -> tuple[dict[str, Any], str]:
    """The entry under columns, or under drop where it has a `why`; and the remark behind it."""
    present, source = cells.dropna(), str(cells.name)
    values = sorted(present.unique())
    folded = {value.casefold() for value in values}
    told, doubts, readable = "", [], cells
    entry: dict[str, Any] = {"name": name, "source": source}
    if not values:
        return {"source": source, "why": "all values are missing"}, ""
    if is_date(present):
        return {"source": source, "why": "a date"}, "decide: is it the day of the row? then name it under time:"
    if folded <= YES | NO and folded & YES and folded & NO:
        positive = [value for value in values if value.casefold() in YES]
        negative = [value for value in values if value.casefold() in NO]
        entry |= {"type": "boolean", "positive": one_or_all(positive), "negative": one_or_all(negative)}
    elif is_number(present):
        readable = typed(cells, Column(name=name, type="number"))[0]
        told = f"{as_text(readable.min())} to {as_text(readable.max())}"
        if readable.abs().max() > LARGEST:
            why = f"numbers beyond ±{LARGEST:.0e}: {told}"
            return {"source": source, "why": why}, "decide: an id, or a time to be stated in days?"
        entry |= {"type": "number"} | ({"min": 0} if readable.min() >= 0 else {})
        if len(values) <= FEW and (readable.dropna() % 1 == 0).all():
            doubts.append(f"only {len(values)} distinct values, a category?")
        if ID_NAME.search(name):
            doubts.append("by its name an id or a code, no number")
    elif len(values) > max(LEVELS, NEAR_UNIQUE * len(cells)):
        why = f"near-unique text: {len(values)} distinct values in {len(cells)} rows"
        return {"source": source, "why": why}, f"decide: {almost_numbers(present) or f'any use? e.g. {shown(values)}'}"
    elif max(map(len, values)) > MAX_TEXT:
        why = f"texts of more than {MAX_TEXT} characters"
        return {"source": source, "why": why}, f"decide: any use? e.g. {shown(values)}"
    else:
        entry |= {"type": "category"} | ({"levels": values} if len(values) <= LEVELS else {})
        if len(values) > LEVELS:
            told = f"{len(values)} levels, learned"
        if len(folded) < len(values):
            doubts.append("some levels differ in case only")
        if present.str.match(CODE).any():
            doubts.append("leading zeros, so codes and no numbers?")
        if almost := almost_numbers(present):
            doubts.append(almost)
    if cells.isna().any():
        entry["nullable"] = True
    elif len(values) == 1:
        doubts.append("constant, tells nothing; drop it?")
    if (auc := auc_alone(readable, churned)) >= LEAK_AUC:
        doubts.append(f"alone it tells the outcome, ROC AUC {auc:.3f}; known before? else drop it")
    elif LATE_NAME.search(name):
        doubts.append("by its name known only after the customer left? then drop it")
    return entry, "; ".join([told] * bool(told) + [f"decide: {doubt}" for doubt in doubts])


def is_id(cells: pd.Series, name: str) -> bool:
    """Complete and distinct in every row, and called like an id, or texts in a table long enough to tell."""
    if cells.isna().any() or cells.duplicated().any() or is_date(cells):
        return False
    if is_number(cells):
        return bool(ID_NAME.search(name)) and not cells.str.contains(".", regex=False).any()
    return bool(ID_NAME.search(name)) or (len(cells) > LEVELS and not almost_numbers(cells))


def is_number(texts: pd.Series) -> bool:
    return not texts.str.match(CODE).any() and not typed(texts, Column(name="any", type="number"))[1].any()


def almost_numbers(texts: pd.Series) -> str:
    """What keeps a column of texts from being numbers, where little does."""
    odd = typed(texts, Column(name="any", type="number"))[1]
    if not 0 < odd.mean() < 0.1:
        return ""
    return f"numbers but for {odd.sum()} of {len(texts)} values, e.g. {shown(sorted(texts[odd].unique()))}"


def is_date(texts: pd.Series) -> bool:
    return bool(texts.str.match(r"\d{4}-\d\d-\d\d").all() and moments(texts).notna().all())


# words


def one_or_all(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values


def shown(values: list[str]) -> str:
    return ", ".join(repr(value[:40]) for value in values[:3])


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
    raw = read_table(given.table, options)
    if given.target not in (headers := list(with_clean_headers(raw).columns)):
        way_out = closest(given.target, headers) or f"; {hint(given.table, options, headers, [given.target])}"
        raise InputError(f"{given.table} has no column '{given.target}'{way_out}")
    text = draft(raw, given.target)
    if options:
        text = f"# params.yaml needs data.options: {flow(options)}\n{text}"
    # not print: the draft is UTF-8 whatever the terminal speaks
    sys.stdout.buffer.write(text.encode())


if __name__ == "__main__":
    run(main, "draft_schema")
