"""Reading pages of the console in a real browser: by axe on a phone and a desk, light and dark; without scripts."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.processes import until
from serve.web.pages import MENU
from tests.e2e.browser import MARKS, WIDTHS, chromium, faults
from tests.e2e.console_house import READER, House, opened
from tests.e2e.servers import environment

pytestmark = MARKS
KEY = {"X-API-Key": READER}


@pytest.fixture(scope="module")
def house(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("console")
    with opened(folder, reproduced / "models/release", reproduced / "data/raw/customers.csv") as house:
        yield house


@pytest.fixture(scope="module")
def addresses(house: House) -> list[str]:
    """Of every page that can be read."""
    service, plan = house.service, house.scores / "plans/summer"
    words = ["plan", str(house.scores / "june"), str(plan), "--campaign", "summer", "--budget", "9000"]
    subprocess.run([sys.executable, "-m", "campaigns", *words], check=True, env=environment(**service.variables))
    status, _, file = service.post("/console/upload.json", house.table.read_bytes(), KEY | {"X-File-Name": "july.csv"})
    assert status == 201, file
    until(lambda: service.get(f"/console/files/{file['id']}/file.json", KEY)[2]["state"] == "scored", 120)
    return [
        *(address for address, _ in MENU),
        "/console/sign-in",
        "/console/runbook",
        f"/console/files/{file['id']}",
        "/console/production/input?name=contract&flaw=unseen",
        "/console/production/input?name=tenure",
        "/console/campaigns/spring",
        "/console/plans?scores=june&campaign=summer&control=",
        "/console/plans/summer",
        f"/console/releases/{house.other}",
        f"/console/compare?a={house.champion}&b={house.other}",
        f"/console/acts/promote?version={house.other}",
    ]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def visit(browser: Any, house: House) -> Iterator[Callable[..., Any]]:
    """A page at an address of the service, in a context of its own; what the policy forbids is an error."""
    contexts, complaints = [], []

    def go(address: str, **options: Any) -> Any:
        base = f"http://127.0.0.1:{house.service.port}"
        context = browser.new_context(base_url=base, extra_http_headers=KEY, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(address)
        return page

    yield go
    for context in contexts:
        context.close()
    assert not [text for text in complaints if "Content Security Policy" in text]


@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_on_any_page(width: str, visit: Callable[..., Any], addresses: list[str]) -> None:
    """At 200 %, as a browser zooms: half as many pixels of CSS for the same screen, but not below a phone's."""
    wide, high = WIDTHS[width]
    view = {"width": max(360, wide // 2), "height": high // 2}
    page = visit("/", viewport=view, bypass_csp=True, device_scale_factor=2)
    found = {}
    for address in addresses:
        page.goto(address, timeout=120_000)  # commands run one after the other
        found[address] = faults(page)
    assert not {address: rules for address, rules in found.items() if rules}


def test_every_page_can_be_read_without_scripts(visit: Callable[..., Any], addresses: list[str]) -> None:
    page = visit("/", java_script_enabled=False)
    for address in addresses:
        page.goto(address, timeout=120_000)
        assert page.locator("h1").count() == 1, address
        for summary in page.locator("summary").all():
            if summary.is_visible():
                summary.click()
        assert all(table.is_visible() for table in page.locator("table").all()), address
        assert len(page.locator("main").inner_text()) > 50, address
        assert not page.locator("#slider").is_visible()


def test_a_what_if_needs_no_script(visit: Callable[..., Any]) -> None:
    page = visit("/console/customers", java_script_enabled=False)
    page.fill("#f-tenure", "1")
    page.click("text=What if?")
    assert page.locator("h3", has_text="Changed: Tenure").count() == 1


def test_the_wheel_scrolls_the_page_and_leaves_a_number_as_it_was_typed(visit: Callable[..., Any]) -> None:
    page = visit("/console/customers")
    page.fill("#f-tenure", "60")
    page.hover("#f-tenure")
    before = page.evaluate("scrollY")
    page.mouse.wheel(0, 200)
    page.wait_for_function(f"scrollY !== {before}")
    assert page.input_value("#f-tenure") == "60"


def test_times_are_in_the_reader_s_zone(visit: Callable[..., Any]) -> None:
    def shown(zone: str) -> str:
        page = visit("/", timezone_id=zone, locale="en-GB")
        return str(page.locator("table time").first.inner_text())

    assert shown("Asia/Tokyo") != shown("America/New_York")
