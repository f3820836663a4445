"""Tables, lists and values in text for people."""

from collections.abc import Iterable, Sequence

MAX_LISTED = 12  # entries of a list in a sentence


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines, each column as wide as its widest cell, two spaces between them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def listed(values: Iterable[object]) -> str:
    """'a', 'b' or 1 more"""
    words = [quoted(value) for value in values]
    return ", ".join(words[:MAX_LISTED]) + (f" and {len(words) - MAX_LISTED} more" if len(words) > MAX_LISTED else "")
