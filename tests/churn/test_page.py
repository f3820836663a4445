"""Pages: texts are escaped, charts follow the page's colours, equal values give equal bytes and nothing is fetched."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from matplotlib.figure import Figure

from churn.charts import svg
from churn.page import render

TEMPLATE = """{% extends "base.html" %}
{% from "parts.html" import verdict_box, table, bar, chart %}
{% block title %}{{ title }}{% endblock %}
{% block main %}
<h1>{{ title }}</h1>
{{ verdict_box("bad", "one limit is crossed", [reason]) }}
{{ table("Inputs", ["input", "distance", "what it is"], rows, text=[2]) }}
{% call table("Bars", ["input", "share"]) %}<tr><th scope="row">tenure</th><td>{{ bar(1.5) }}</td></tr>{% endcall %}
{{ chart(drawing, "The distance by day.") }}
{% endblock %}
"""
EMPTY = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}


def drawing() -> str:
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    axes.plot([1, 2], [3, 4], label="a < b")
    axes.legend()
    return svg(figure, 'distance "by" day')


def page(folder: Path) -> str:
    template = folder / "page.html"
    template.write_text(TEMPLATE)
    rows = [["<b>tenure</b>", "0.3", "months & more"]]
    return render(template, title="A <title>", reason="x < 1", rows=rows, drawing=drawing())


class Balance(HTMLParser):
    """Opens and closes elements; `faults` are the end tags that close another one."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.ids += [str(value) for name, value in attributes if name == "id"]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)


def test_texts_are_escaped_and_elements_closed(tmp_path: Path) -> None:
    text = page(tmp_path)
    for escaped in ("A &lt;title&gt;", "&lt;b&gt;tenure&lt;/b&gt;", "months &amp; more", "x &lt; 1"):
        assert escaped in text
    balance = Balance()
    balance.feed(text)
    assert (balance.open, balance.faults) == ([], [])
    assert len(balance.ids) == len(set(balance.ids))


def test_equal_values_give_equal_bytes(tmp_path: Path) -> None:
    assert page(tmp_path) == page(tmp_path)


def test_a_page_fetches_nothing_and_runs_nothing(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert set(re.findall(r'(?:src|href)="(#?)', text)) == {"#"}
    assert not re.findall(r"<script|<link|@import|url\((?!#)", text)


def test_a_table_has_a_caption_and_names_its_columns_and_rows(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert "<caption>Inputs</caption>" in text
    assert len(re.findall('<th scope="col"', text)) == 5 and len(re.findall('<th scope="row"', text)) == 2
    assert 'aria-label="150 % of the limit"' in text


def test_a_chart_follows_the_page_s_colours_and_keeps_its_text() -> None:
    text = drawing()
    assert text.startswith('<svg role="img" aria-label="distance &#34;by&#34; day" ')
    assert "currentColor" in text and "#000000" not in text and "#ffffff" not in text
    assert ">a &lt; b</text>" in text and "<metadata" not in text


def test_a_name_without_a_value_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("{{ titel }}")
    with pytest.raises(UndefinedError, match="titel"):
        render(tmp_path / "page.html", title="A title")
