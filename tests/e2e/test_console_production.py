"""The pages of production and campaigns in a real browser: read, walked through by keyboard, and without scripts."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.browser import MARKS, SCHEMES, WIDTHS, violations
from tests.e2e.servers import Service, environment
from tests.e2e.test_console import ANNA, READER, browser, focus_on, press, visit  # noqa: F401
from tests.serve.web.history import keep, report
from tests.serve.web.test_campaigns import contact

pytestmark = MARKS
NOW = datetime.now(UTC)
PLANNING = "/console/plans?scores=june&campaign=summer&control="
PAGES = [
    "/console/production",
    "/console/production/input?name=contract&flaw=unseen",
    "/console/production/input?name=tenure",
    "/console/campaigns",
    "/console/campaigns/spring",
    PLANNING,
]


@pytest.fixture(scope="module")
def service(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a month of checks, a campaign with outcomes, customers with a flaw, and scored files."""
    folder = tmp_path_factory.mktemp("console")
    keys = {"CHURN_API_KEYS": READER, "CHURN_ADMIN_KEYS": f"anna={ANNA}", "CHURN_SCORES": str(folder / "scores")}
    with Service(folder, reproduced / "models/release", **keys) as started:
        url = f"sqlite:///{started.store.where}/log.db"
        days = [NOW - timedelta(days=n) for n in range(30)]
        keep(url, *((at, report(at, reasons=(("unseen", "breach"),) if at > days[9] else ())) for at in days))
        contact(url, "spring", 300, {"offered": 150, "profit": 1_000.0})
        customers = [
            one | {"customer_id": f"c-{n}", "contract": "Five years"} for n, one in enumerate(started.customers())
        ]
        assert started.post("/predict/batch", {"customers": customers}, {"X-API-Key": READER})[0] == 200
        table = reproduced / "data/raw/customers.csv"
        words = [sys.executable, "-m", "serve.score", str(table), str(folder / "scores/june"), "--processes", "1"]
        subprocess.run(words, check=True, env=environment(**started.variables), capture_output=True)
        yield started


def settled(page: Any) -> Any:
    """Once no command runs any more."""
    page.wait_for_function("!document.querySelector('meta[http-equiv=refresh]')", timeout=120_000)
    return page


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing(width: str, scheme: str, visit: Callable[..., Any], service: Service) -> None:  # noqa: F811
    wide, high = WIDTHS[width]
    for address in PAGES:
        size = {"width": wide, "height": high}
        page = settled(visit(address, READER, viewport=size, color_scheme=scheme, bypass_csp=True))
        assert not violations(page), address
        assert page.evaluate("document.documentElement.scrollWidth") <= wide, address


def test_a_breach_leads_to_the_customers_behind_it_by_keyboard(visit: Callable[..., Any]) -> None:  # noqa: F811
    page = visit("/console/production", READER)
    focus_on(page, "10.0 % of contract unseen", at_most=200)
    press(page, "Enter")
    page.wait_for_selector("h1:text('Input contract')")
    assert page.locator("text=Five years").count() > 5
    focus_on(page, "Customer c-99", at_most=200)
    press(page, "Enter")
    page.wait_for_url("**/console/customers/look-up")
    assert "c-99" not in page.url and page.locator("input#customer_id").input_value() == "c-99"


def test_a_plan_is_made_by_keyboard_alone_and_its_list_downloaded(
    visit: Callable[..., Any],  # noqa: F811
    service: Service,
    tmp_path: Path,
) -> None:
    page = visit(f"/console/sign-in?to={PLANNING.replace('?', '%3F').replace('&', '%26')}")
    focus_on(page, "API key")
    page.keyboard.type(ANNA)
    press(page, "Enter")
    settled(page).wait_for_selector("h2:text('What each budget would bring')")
    focus_on(page, "along", at_most=100)
    before = page.locator("#budget").input_value()
    press(page, "Home", "ArrowRight", "ArrowRight")
    budget = page.locator("#budget").input_value()
    assert 0 < float(budget) < float(before)
    shown = page.locator("[data-fact='0']").inner_text()
    assert float(shown.replace(",", "")) == float(budget)
    focus_on(page, "Make the plan of summer", at_most=100)
    press(page, "Enter")
    page.wait_for_selector("text=Download the list (CSV)", timeout=120_000)
    with page.expect_download() as download:
        focus_on(page, "Download the list (CSV)")
        press(page, "Enter")
    plan = json.loads((service.folder / "scores/plans/summer/plan.json").read_text())
    assert plan["expected"]["cost"] == float(budget)
    assert Path(download.value.path()).read_text().count("\n") == plan["selected"] + 1


@pytest.mark.parametrize("address", PAGES)
def test_a_page_can_be_read_without_scripts(address: str, visit: Callable[..., Any], service: Service) -> None:  # noqa: F811
    settled(visit(address, READER))
    page = visit(address, READER, java_script_enabled=False)
    assert page.locator("h1").count() == 1
    for summary in page.locator("summary").all():
        summary.click()
    assert all(table.is_visible() for table in page.locator("table").all())
    assert not page.locator("#slider").is_visible()
