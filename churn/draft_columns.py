"""What a column of a table may be, and what a person must decide of it: the entries of a drafted schema."""

import math
import re
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression
from scipy.stats import chi2

from churn.doubts import MISSING_AUC
from churn.formats import CODE, date_formats, is_ambiguous, is_number, number_format, spellings
from churn.leakage import auc_alone
from churn.schema import LARGEST, MAX_TEXT, Column, as_text
from churn.table import moments, typed

YES = {"yes", "y", "true", "t", "1", "1.0", "on", "ja", "oui", "si", "sí", "sim"}
NO = {"no", "n", "false", "f", "0", "0.0", "off", "nein", "non", "não"}
ID_NAME = re.compile(
    r"(^|_)(ids?|uuid|guid|key|phone|email|msisdn|iban|clientnum)(_|$)|^account$|"
    r"(account|customer|client|user|kunden)_?(no|nr|num|number|nummer)$"
)
# a number of each, or how many there are
OR_COUNT = re.compile(r"(member|employee|subscriber|contract|policy)_?(no|nr|num|number)$")
CODE_NAME = re.compile(
    r"(^|_)(zip|zip_?code|post_?code|postal|pin_?code|branch|area_code|state_code|region_code|code|store)(_|$)"
)
LATE_NAME = re.compile(
    r"(^|_)(reason|churn|cancel|cancellation|exit|left|leaving|terminated|termination|closed|clv|cltv|retention)(_|$)|"
    r"^end_date|date_end|(churn|risk|propensity)_score|cancel|date_(closed|left)"
)
WHOLE = r"\d+(\.0)?"  # beside a missing one pandas writes 7 as 7.0
NO_HEADER = re.compile(r"Unnamed: \d+|index|")  # how pandas writes its own numbers of rows
FEW = 10  # whole numbers with no more distinct values may be categories
LEVELS = 30  # more are not listed but learned
NEAR_UNIQUE = 0.5  # distinct values per row above which texts name customers rather than group them
LEAK_AUC = 0.88  # the strongest honest columns stay below
MARKED = 0.01  # share of the rows with a number that may mean missing
OFF, BY_CHANCE = 0.005, 0.001  # share of the outcome's variance, and its p-value
UNLIKELY = 5  # expected pairs of equal numbers, where there are none
ENOUGH = 50  # rows of which all being distinct means something


class Draft:
    """An entry under columns, or under drop where it has a `why`, and the remark behind it."""

    def __init__(self, source: str, name: str):
        self.entry: dict[str, Any] = {"name": name, "source": source}
        self.told, self.doubts = "", list[str]()
        self.is_late = False  # perhaps known only after the customer left

    def dropped(self, why: str, doubt: str = "") -> "Draft":
        self.entry = {"source": self.entry["source"], "why": why}
        self.told, self.doubts = "", [doubt] if doubt else []
        return self

    @property
    def remark(self) -> str:
        return "; ".join([self.told] * bool(self.told) + [f"decide: {doubt}" for doubt in self.doubts])


def draft_column(cells: pd.Series, name: str, churned: pd.Series) -> Draft:
    present, draft = cells.dropna(), Draft(str(cells.name), name)
    values = sorted(present.unique())
    folded = {value.casefold() for value in values}
    if not values:
        return draft.dropped("all values are missing")
    if is_row_number(cells):
        return draft.dropped("row numbers", "is it the id?" if ID_NAME.search(name) else "")
    if folded <= YES | NO and folded & YES and folded & NO:
        positive = [value for value in values if value.casefold() in YES]
        negative = [value for value in values if value.casefold() in NO]
        draft.entry |= {"type": "boolean", "positive": one_or_all(positive), "negative": one_or_all(negative)}
        readable = cells
    elif formats := date_formats(present):
        of_dates(draft, formats, is_complete=len(present) == len(cells))
        readable = moments(cells, formats[0])
    elif (format := {} if is_number(present) else number_format(present)) is not None:
        readable = typed(cells, Column(name=name, type="number", **format))[0]
        if readable.abs().max() > LARGEST:
            why = f"numbers beyond ±{LARGEST:.0e}: {as_text(readable.min())} to {as_text(readable.max())}"
            return draft.dropped(why, "an id, or a time to be stated in days?")
        of_numbers(draft, cells, readable, churned, format)
    elif len(values) > max(LEVELS, NEAR_UNIQUE * len(present)):
        why = f"near-unique text: {len(values)} distinct values in {len(present)} rows"
        return draft.dropped(why, almost_numbers(present) or f"any use? e.g. {shown(values)}")
    elif max(map(len, values)) > MAX_TEXT:
        return draft.dropped(f"texts of more than {MAX_TEXT} characters", f"any use? e.g. {shown(values)}")
    else:
        of_levels(draft, present, values)
        readable = cells
    if cells.isna().any():
        draft.entry["nullable"] = True
    elif len(values) == 1:
        draft.doubts.append("constant, tells nothing; drop it?")
    late = too_telling(cells, readable, name, churned)
    draft.doubts, draft.is_late = draft.doubts + late, bool(late)
    return draft


def of_dates(draft: Draft, formats: list[str | None], is_complete: bool) -> None:
    draft.entry |= {"type": "date"} | ({"format": formats[0]} if formats[0] else {})
    if len(formats) > 1:
        draft.doubts.append(f"format {formats[0]} or {formats[1]}? all days are below 13")
    if is_complete:
        draft.doubts.append("is it the day of the row? then name it under time:")


def of_numbers(draft: Draft, cells: pd.Series, numbers: pd.Series, churned: pd.Series, format: dict[str, Any]) -> None:
    name, n_distinct = draft.entry["name"], numbers.nunique()
    draft.told = f"{as_text(numbers.min())} to {as_text(numbers.max())}"
    draft.entry |= {"type": "number"} | ({"min": 0} if numbers.min() >= 0 else {}) | format
    is_whole = bool((numbers.dropna() % 1 == 0).all())
    if format:
        draft.doubts.append(f"numbers as {cells.dropna().iloc[0]!r}; read as they are meant?")
    if is_ambiguous(cells, format):
        draft.doubts.append("is the comma one of thousands, or a decimal one?")
    if "merge" in format:
        draft.doubts.append("words merged into numbers, all right?")
    if CODE_NAME.search(name):
        draft.doubts.append("by its name a code, so a category?")
    elif n_distinct <= FEW and is_whole and is_unordered(numbers, churned):
        draft.doubts.append(
            f"only {n_distinct} distinct values, and churn does not rise or fall with them: a category?"
        )
    if marker := missing_number(cells, numbers):
        draft.doubts.append(f"does {marker} mean missing? then list it under missing:")
    if looks_like_id(cells, name):
        draft.doubts.append("distinct in every row and whole, an id?")
    elif ID_NAME.search(name):
        draft.doubts.append("by its name an id or a code, no number")


def of_levels(draft: Draft, present: pd.Series, values: list[str]) -> None:
    merge = spellings(present)
    kept = sorted(set(values) - {other for others in merge.values() for other in others})
    draft.entry |= {"type": "category"} | ({"levels": kept} if len(kept) <= LEVELS else {})
    if merge:
        draft.entry["merge"] = merge
        draft.doubts.append(f"spellings of one level are merged, e.g. {shown(next(iter(merge.values())))}; all right?")
    if len(kept) > LEVELS:
        draft.told = f"{len(kept)} levels, learned; rare ones count as one"
    if present.str.fullmatch(CODE + r"[\d.,]*").any():
        draft.doubts.append("leading zeros, so codes and no numbers?")
    if almost := almost_numbers(present):
        draft.doubts.append(almost)
    if present.str.match(r"[\[{]").mean() > 0.5:
        draft.doubts.append("lists inside cells; make columns of them?")


def too_telling(cells: pd.Series, readable: pd.Series, name: str, churned: pd.Series) -> list[str]:
    """Doubts whether the column is known before the customer leaves."""
    doubts = []
    auc = auc_alone(readable, churned)
    gaps = auc_alone(cells.isna().astype("str"), churned) if cells.isna().any() else 0.5
    if gaps >= MISSING_AUC:
        doubts.append(f"whether it is missing tells the outcome, ROC AUC {gaps:.3f}; filled in later? else drop it")
    elif auc >= LEAK_AUC:
        doubts.append(f"alone it tells the outcome, ROC AUC {auc:.3f}; known before? else drop it")
    if not doubts and LATE_NAME.search(name):
        doubts.append("by its name known only after the customer left? then drop it")
    return doubts


def is_unordered(numbers: pd.Series, churned: pd.Series) -> bool:
    """Whether the churn rates of a few numbers neither rise nor fall with them, clearly and by more than a trifle.

    The chi-square of what isotonic regression leaves of the rates, in the direction that leaves less.
    """
    y = churned.to_numpy("float64", na_value=math.nan)
    known = ~np.isnan(y) & numbers.notna().to_numpy()
    levels, place = np.unique(numbers.to_numpy("float64")[known], return_inverse=True)
    y, sizes = y[known], np.bincount(place)
    if len(levels) < 3 or y.std() == 0:
        return False
    rates = np.bincount(place, y) / sizes
    fits = [isotonic_regression(rates, weights=sizes, increasing=is_up).x for is_up in (True, False)]
    off = min(((rates - fit) ** 2 @ sizes) / y.var() for fit in fits)
    return bool(off > OFF * len(y) and chi2.sf(off, len(levels) - 2) < BY_CHANCE)


def missing_number(cells: pd.Series, numbers: pd.Series) -> str:
    """A frequent -1 or -999 below numbers from 0 on, or 999 far above all others, as it is written."""
    counts = numbers.value_counts()
    ends = counts[counts >= MARKED * len(numbers)].index.intersection([numbers.min(), numbers.max()])
    for number in ends if len(counts) > 3 else ():  # -1, 0 and 1 are a scale
        others = counts.index[counts.index != number]
        is_below = others.min() >= 0 and bool(re.fullmatch(r"-(1|9+)", as_text(number)))
        is_above = others.max() < number / 3 and bool(re.fullmatch(r"99+", as_text(number)))
        if is_below or is_above:
            return str(cells[numbers == number].iloc[0])
    return ""


def is_row_number(cells: pd.Series) -> bool:
    """0, 1, 2, ... or 1, 2, 3, ... from the first row to the last; all different without a header, as of rows drawn."""
    if len(cells) < FEW or cells.isna().any() or not cells.str.fullmatch(WHOLE).all():
        return False
    if NO_HEADER.fullmatch(str(cells.name)) and not cells.duplicated().any():
        return True
    numbers = cells.astype("float64")
    return numbers.iloc[0] in (0, 1) and bool((numbers.diff().iloc[1:] == 1).all())


def looks_like_id(cells: pd.Series, name: str) -> bool:
    """Complete and distinct in every row: whole numbers of the same length, texts in a table long enough to tell, or
    called like an id."""
    if cells.isna().any() or cells.duplicated().any():
        return False
    is_called = bool(ID_NAME.search(name) or OR_COUNT.search(name))
    if not is_called and date_formats(cells):
        return False
    if is_number(cells):
        if not cells.str.fullmatch(WHOLE).all():
            return False
        lengths, numbers = cells.str.removesuffix(".0").str.len(), cells.astype("float64")
        # incomes of some hundred people may all differ; by chance so many of one range would not
        twice = len(cells) ** 2 / (2 * (numbers.max() - numbers.min() + 1))
        alike = lengths.min() == lengths.max() and (lengths.max() >= 8 or twice >= UNLIKELY)
        return is_called or (len(cells) >= ENOUGH and bool(alike))
    return is_called or (len(cells) > LEVELS and number_format(cells) is None and not almost_numbers(cells))


def rises(cells: pd.Series) -> bool:
    """Whole numbers that rise from row to row: an id, unless the table is sorted by them."""
    whole = len(cells) >= ENOUGH and not cells.isna().any() and bool(cells.str.fullmatch(WHOLE).all())
    return whole and bool((cells.astype("float64").diff().iloc[1:] > 0).all()) and not date_formats(cells)


def names_several_rows(cells: pd.Series, name: str) -> bool:
    """Called like an id, complete, of many values, most of them in several rows or nearly all in one."""
    counts = cells.value_counts()
    repeats = (counts > 1).mean() > 0.5 or len(counts) > NEAR_UNIQUE * len(cells)
    return bool(ID_NAME.search(name)) and cells.notna().all() and len(counts) > LEVELS / 2 and repeats


def almost_numbers(texts: pd.Series) -> str:
    """What keeps a column of texts from being numbers, where little does."""
    odd = typed(texts, Column(name="any", type="number"))[1]
    if not 0 < odd.mean() < 0.1:
        return ""
    return f"numbers but for {odd.sum()} of {len(texts)} values, e.g. {shown(sorted(texts[odd].unique()))}"


def one_or_all(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values


def shown(values: list[str]) -> str:
    return ", ".join(repr(value[:40]) for value in values[:3])
