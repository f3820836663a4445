"""Pages that commands write (data, check, A/B, campaign) in a real browser: read by axe, walked through by keyboard."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from campaigns.result import page as campaign_page
from monitoring.ab import page as ab_page
from monitoring.ab.report import report as ab_report
from monitoring.check import page as check_page
from monitoring.check.findings import Report
from monitoring.check.verdict import reasons_of
from stages.validate import as_page
from tests.campaigns.result.test_report import made
from tests.e2e.browser import MARKS, WIDTHS, chromium, faults
from tests.e2e.hands import Keyboard
from tests.monitoring.ab.test_report import DESIGN, EXPERIMENT, PROFIT, frame
from tests.monitoring.check.test_verdict import LIMITS, WORST
from tests.stages.test_validate import SCHEMA, checked, of_a_release, table, with_cell

pytestmark = MARKS


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


def data(folder: Path) -> str:
    """Of a table with a mistake, far from the last release, and with a level as long as a paragraph."""
    texts = with_cell(with_cell(table(), 3, "tenure", "5000"), 4, "contract", "level" * 60)
    return as_page(checked(texts, reference=of_a_release(folder)), SCHEMA, "schemas/my.yaml")


def check(_: Path) -> str:
    return check_page.as_html(Report(verdict="breach", reasons=reasons_of(WORST, LIMITS), findings=WORST), "drift.html")


def split(_: Path) -> str:
    return ab_page.as_html(ab_report(frame((1000, 1000), (500, 400)), EXPERIMENT, PROFIT, DESIGN))


def campaign(_: Path) -> str:
    return campaign_page.as_html(made(1))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Address of each page, by name."""
    folder: Path = tmp_path_factory.mktemp("pages")
    for page in (data, check, split, campaign):
        (folder / page.__name__).with_suffix(".html").write_text(page(folder))
    return {file.stem: file.as_uri() for file in folder.glob("*.html")}


@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_on_any_page_with_all_of_it_open(width: str, browser: Any, pages: dict[str, str]) -> None:
    """At 200 %, as a browser zooms: half as many pixels of CSS for the same screen, but not below a phone's."""
    wide, high = WIDTHS[width]
    view = {"width": max(360, wide // 2), "height": high // 2}
    page = browser.new_page(viewport=view, device_scale_factor=2)
    found = {}
    for name, address in pages.items():
        page.goto(address)
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        found[name] = faults(page)
    assert not {name: rules for name, rules in found.items() if rules}


def test_a_mistake_leads_to_its_rows_by_keyboard_and_without_scripts(browser: Any, pages: dict[str, str]) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(pages["data"])
    for key in ("Tab", "Enter"):
        page.keyboard.press(key)
    assert page.url.endswith("#main")
    for key in ("Tab", "Enter"):
        page.keyboard.press(key)
    assert page.locator(":target", has_text="row 3: 5000").is_visible()


def test_a_column_is_reached_and_its_table_opened_by_keyboard(browser: Any, pages: dict[str, str]) -> None:
    page = browser.new_page()
    page.goto(pages["data"])
    hand = Keyboard(page)
    hand.unfold("All 7 columns")
    hand.go_to("charges")
    hand.act(page.locator(":target summary"))
    assert page.locator(":target details[open] table").is_visible()
