"""Which format the texts of a column have: numbers and dates as people write them, levels in several spellings."""

import re
from collections import Counter
from datetime import date
from typing import Any

import pandas as pd

from churn.schema import Column
from churn.table import moments, typed

MAX_AFFIXES = 4  # texts around the numbers of one column; more are words, not units
ODD = 0.1  # share of a column's values that may be something else than its numbers
AROUND = re.compile(r"[+-]?(?P<before>\D*?)\s*(?P<number>[+-]?\d[\d.,' \u00a0\u202f]*|[+-]?[.,]\d+)\s*(?P<after>\D*)")
CODE = r"[+-]?0\d"  # leading zeros would be lost in a number
DATE = re.compile(
    r"\d{1,4}[-/. ]\d{1,2}[-/. ]\d{1,4}(?: \d\d:\d\d(?::\d\d)?)?|"
    r"(?:19|20)\d\d[01]\d[0-3]\d|"
    r"(?:\d{1,2}[- ])?[A-Za-z]{3}[- ]\d{2,4}"
)
DAYS = ("%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y",
        "%d.%m.%y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%b-%y", "%b-%Y",
        "%b %Y")  # fmt: skip
TIMES = ("", " %H:%M", " %H:%M:%S")
UNITS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# what may differ between spellings of one level; signs of a number or a grade may not: -1 and 1, 1.5 and 15, A+ and A
SPELLING = re.compile(r"[()'\"]|(?<!\d)[\s_]+|[\s_]+(?!\d)|[-.,:;/](?=\s*[^\W\d_])|[.,:;]$")
# before a number; another word is a name with a number
CURRENCY = re.compile(r"[$€£¥₹₽₩₺]|[A-Z]{1,2}\$|Rs\.?|kr\.?|USD|EUR|GBP|CHF|INR|JPY|CNY|BRL|AUD|CAD|SEK|NOK|DKK")
UNIT = re.compile(r"[%+°$€£¥₹]|[^\W\d_][^\W\d_ ./]{0,14}\.?")  # after a number


def is_number(texts: pd.Series, **format: Any) -> bool:
    return not texts.str.match(CODE).any() and not typed(texts, Column(name="any", type="number", **format))[1].any()


def number_format(texts: pd.Series) -> dict[str, Any] | None:
    """The keys of a number column (decimal, thousands, strip, merge) with which all texts are numbers.

    A few words among them may be numbers in words; `merge` then says which. None where the texts are no numbers.
    """
    values = pd.Series(texts.dropna().unique(), dtype="str")
    if values.empty or values.str.match(CODE).any():
        return None
    words = {text: number_in_words(text) for text in values}
    spelt = {text: str(n) for text, n in words.items() if n is not None}
    merge: dict[str, list[str]] = {}
    for text, number in sorted(spelt.items()):
        merge.setdefault(number, []).append(text)
    found = [AROUND.fullmatch(text) for text in values if text not in spelt]
    if not found or not all(found) or len(spelt) > ODD * len(values) + 3:
        return None
    parts = [match.groupdict() for match in found if match]
    affixes = sorted({part[side].strip() for part in parts for side in ("before", "after")} - {"", "+", "-"})
    affixes += ["+"] if any(part["after"].strip() == "+" for part in parts) else []
    sides = (("before", CURRENCY), ("after", UNIT))
    is_known = all(like.fullmatch(part[side].strip()) for part in parts for side, like in sides if part[side].strip())
    if len(affixes) > MAX_AFFIXES or not is_known:
        return None
    for marks in separators([part["number"].strip() for part in parts]):
        format = {**marks, **({"strip": affixes} if affixes else {}), **({"merge": merge} if merge else {})}
        if is_number(values, **format):
            return format
    return None


def separators(numbers: list[str]) -> list[dict[str, str]]:
    """What decimal and thousands may be, the likeliest first."""
    seen = {
        mark
        for mark in ".,' "
        if any(mark in number.replace("\u00a0", " ").replace("\u202f", " ") for number in numbers)
    }
    if "," in seen:
        grouped = all(re.fullmatch(r"[+-]?(0|[1-9]\d{0,2}(,\d{3})*)(\.\d+)?", number) for number in numbers)
        last = max(numbers, key=lambda number: number.rfind(","))
        german = {"decimal": ",", "thousands": "."} if "." in seen else {"decimal": ","}
        if grouped and last.rfind(".") > last.find(","):
            return [{"thousands": ","}]
        return [{"thousands": ","}, german] if grouped else [german, {"decimal": ",", "thousands": " "}]
    for mark in "' ":
        if mark in seen:
            return [{"thousands": mark}, {"thousands": mark, "decimal": ","}]
    if "." in seen and any(number.count(".") > 1 for number in numbers):
        return [{"thousands": ".", "decimal": ","}]
    return [{}]


def is_ambiguous(texts: pd.Series, format: dict[str, Any]) -> bool:
    """Whether 1,234 may as well be 1.234: every comma stands before three digits, and no number has a point."""
    plain = texts.dropna()
    return format.get("thousands") == "," and not plain.str.contains(".", regex=False).any()


def number_in_words(text: str) -> int | None:
    """'forty six' and 'Twenty-nine' as 46 and 29; None for what is no number below 100 in English."""
    match re.split(r"[\s-]+", text.casefold().strip()):
        case [word] if word in UNITS:
            return UNITS.index(word)
        case [word] if word in TENS:
            return 10 * (TENS.index(word) + 2)
        case [tens, unit] if tens in TENS and unit in UNITS[1:10]:
            return 10 * (TENS.index(tens) + 2) + UNITS.index(unit)
    return None


def date_formats(texts: pd.Series) -> list[str | None]:
    """The formats of strptime in which every text is a date, None for ISO 8601; two where day and month may change."""
    values = pd.Series(texts.dropna().unique(), dtype="str")
    if values.empty:
        return []
    if values.str.match(r"\d{4}-\d\d-\d\d").all() and moments(values).notna().all():
        return [None]
    if not values.map(lambda text: bool(DATE.fullmatch(text))).all():
        return []
    return [day + time for day in DAYS for time in TIMES if plausible(moments(values, day + time))]


def plausible(days: pd.Series) -> bool:
    """%Y reads 20 as the year 20, %y never reads 2020."""
    return bool(days.notna().all()) and bool(days.dt.year.between(1900, 2199).all())


def newest(texts: pd.DataFrame, formats: dict[str, str | None]) -> date | None:
    """The newest date of all columns that is not in the future."""
    days = [moments(texts[header].dropna(), format).dt.date for header, format in formats.items()]
    past = [day for column in days for day in column if day <= date.today()]
    return max(past, default=None)


def spellings(texts: pd.Series) -> dict[str, list[str]]:
    """The most frequent spelling of each level -> its others: in case, spaces and punctuation alone they differ."""
    counts = Counter(texts.dropna())
    alike: dict[str, list[str]] = {}
    for level in sorted(counts):
        alike.setdefault(SPELLING.sub("", level).casefold() or level, []).append(level)
    found = {}
    for levels in alike.values():
        if len(levels) > 1:
            first = max(levels, key=lambda level: (counts[level], level))
            found[first] = [level for level in levels if level != first]
    return found
