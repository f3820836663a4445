"""HTML pages: one look for all of them, and one way to put a chart of matplotlib into a page.

A page is a Jinja2 template beside the module that fills it (monitoring/check/page.html beside page.py). It extends
base.html of churn/templates and takes its boxes, tables, bars and charts from parts.html there. Texts are escaped; a
page needs no other file, no network and no script, and equal values give equal bytes.
"""

import re
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"


def render(template: Path, **values: Any) -> str:
    """The page; a name of the template without a value is an error."""
    environment = Environment(
        loader=FileSystemLoader([template.parent, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template.name).render(values)


def svg(figure: "Figure", label: str) -> Markup:
    """The figure as an <svg> that `label` describes to screen readers.

    Text stays text. Black and white of the figure become the page's ink and paper, so that the chart can be read in
    dark mode, too; draw grids in black with an alpha, and the rest in colours that stand out on both.
    """
    from matplotlib import rc_context

    drawn = StringIO()
    # names of clip paths and markers come from their content and a fixed salt: the same figure is the same text
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "page"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    text = drawn.getvalue()
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'<g id="[a-z]+_?\w*">', "<g>", text)  # figure_1, axes_1: the same in each chart of a page
    text = text.replace("#000000", "currentColor").replace("#ffffff", "var(--paper)")
    text = text.replace("<svg ", Markup('<svg role="img" aria-label="{}" ').format(label), 1)
    return Markup(text)  # nosec B704: matplotlib escapes what it draws
