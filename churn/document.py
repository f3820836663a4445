"""A document of sections, shown as a page and as Markdown."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from churn.page import render

Row = Sequence[str]


@dataclass(frozen=True)
class Table:
    caption: str
    head: Row
    rows: Sequence[Row]
    text: Sequence[int] = ()  # columns of words, from 0


@dataclass(frozen=True)
class Section:
    title: str
    lines: Sequence[str] = ()
    items: Sequence[str] = ()
    files: Sequence[tuple[str, str]] = ()  # beside the document: name, and what it holds
    tables: Sequence[Table] = ()
    chart: Markup | None = None  # of the page alone
    caption: str = ""  # of the chart


def page(title: str, sections: Sequence[Section]) -> str:
    return render(Path(__file__).with_suffix(".html"), title=title, sections=sections)


def markdown(title: str, sections: Sequence[Section], metadata: Mapping[str, Any] | None = None) -> str:
    """The document behind its metadata in YAML, if it has any."""
    front = yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True, width=1000) if metadata else ""
    lines = ["---", front.rstrip("\n"), "---", ""] if front else []
    lines += [f"# {title}", ""]
    for section in sections:
        listed = [f"- [{escaped(name)}]({name}): {escaped(what)}" for name, what in section.files]
        listed += [f"- {escaped(item)}" for item in section.items]
        lines += [f"## {section.title}", ""]
        lines += [text for line in section.lines for text in (escaped(line), "")]
        lines += [*listed, ""] if listed else []
        lines += [text for table in section.tables for text in (*markdown_table(table), "")]
    return "\n".join(lines)


def markdown_table(table: Table) -> Iterator[str]:
    yield f"{escaped(table.caption)}:"
    yield ""
    yield f"| {' | '.join(map(escaped, table.head))} |"
    yield f"|{'|'.join(' --- ' if i == 0 or i in table.text else ' ---: ' for i in range(len(table.head)))}|"
    yield from (f"| {' | '.join(map(escaped, row))} |" for row in table.rows)


def escaped(text: str) -> str:
    """The text on one line, without a meaning in Markdown or HTML."""
    return re.sub(r"([\\`*\[\]<>|~])", r"\\\1", " ".join(text.split())).replace("&", "&amp;")
