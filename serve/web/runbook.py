"""docs/runbook.md as a page, so that what wants attention leads to what to do."""

import re
from functools import cache
from itertools import pairwise
from pathlib import Path

from fastapi import APIRouter, Request
from markupsafe import Markup
from starlette.responses import Response

from churn.script import InputError
from serve.web.console import Reader
from serve.web.pages import PageRoute, shown

RUNBOOK = Path("docs/runbook.md")

pages = APIRouter(prefix="/console", route_class=PageRoute, include_in_schema=False)


@pages.get("/runbook")
def runbook(request: Request, visitor: Reader) -> Response:
    if not RUNBOOK.is_file():
        raise InputError(f"{RUNBOOK} is not in the folder that the service started in")
    return shown(request, "runbook.html", text=as_html(RUNBOOK))


@cache
def as_html(path: Path) -> Markup:
    """Headings get the names that links to sections have at code hosts."""
    from markdown_it import MarkdownIt  # no start waits for it

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(path.read_text(encoding="utf-8"))
    for heading, text in pairwise(tokens):
        if heading.type == "heading_open":
            heading.attrSet("id", re.sub(r"[^\w -]", "", text.content.lower()).replace(" ", "-"))
    return Markup(markdown.renderer.render(tokens, markdown.options, {}))  # nosec B704: HTML of the source is escaped
