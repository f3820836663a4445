"""Tables, lists and values in text for people."""

from collections.abc import Iterable, Mapping, Sequence

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


def listed_counts(counts: Mapping[object, int]) -> str:
    """'a' (3), 'b' (1) and 1 more; the most frequent first."""
    words = [f"{quoted(value)} ({n})" for value, n in sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))]
    return ", ".join(words[:MAX_LISTED]) + (f" and {len(words) - MAX_LISTED} more" if len(words) > MAX_LISTED else "")
