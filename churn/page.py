"""HTML pages: one look for all of them.

A page is a Jinja2 template beside the module that fills it (monitoring/check/page.html beside page.py). It extends
base.html of churn/templates and takes its boxes, tables, bars and charts from parts.html there. Texts are escaped; a
page needs no other file, no network and no script, and equal values give equal bytes.
"""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"


def render(template: Path, **values: Any) -> str:
    """The page; a name of the template without a value is an error."""
    return environment(template.parent).get_template(template.name).render(values)


@cache
def environment(folder: Path) -> Environment:
    """Of the templates in the folder, and of those that all pages share."""
    return Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
