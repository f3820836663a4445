"""The console in a real browser: by keyboard alone, on a phone and a desk, light and dark, also without scripts."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serve.web.pages import MENU
from tests.e2e.browser import MARKS, SCHEMES, WIDTHS, chromium, violations
from tests.e2e.servers import Service

pytestmark = MARKS
READER, ANNA = "readers-key", "annas-key"


@pytest.fixture(scope="module")
def service(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    keys = {"CHURN_API_KEYS": READER, "CHURN_ADMIN_KEYS": f"anna={ANNA}"}
    with Service(tmp_path_factory.mktemp("console"), reproduced / "models/release", **keys) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def visit(browser: Any, service: Service) -> Iterator[Callable[..., Any]]:
    """Open a page of the service in a context of its own; what the policy forbids is an error."""
    contexts, complaints = [], []

    def go(address: str, key: str = "", **options: Any) -> Any:
        headers = {"X-API-Key": key} if key else {}
        context = browser.new_context(extra_http_headers=headers, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(f"http://127.0.0.1:{service.port}{address}")
        return page

    yield go
    for context in contexts:
        context.close()
    assert not [text for text in complaints if "Content Security Policy" in text]


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def focus_on(page: Any, name: str, at_most: int = 60) -> None:
    """Press Tab until the element of that name (its text, label or id) has the focus."""
    script = """() => { const e = document.activeElement, label = e.labels && e.labels[0];
        return [e.id, e.name, e.textContent, label && label.textContent].map(text => (text || '').trim()) }"""
    for _ in range(at_most):
        page.keyboard.press("Tab")
        if name in page.evaluate(script):
            return
    raise AssertionError(f"Tab does not lead to {name!r}")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_on_any_page(width: str, scheme: str, visit: Callable[..., Any], service: Service) -> None:
    """At 200 %, as a browser zooms: half as many pixels of CSS for the same screen, but not below a phone's."""
    wide, high = WIDTHS[width]
    options = {"color_scheme": scheme, "bypass_csp": True, "device_scale_factor": 2}
    page = visit("/", ANNA, viewport={"width": max(360, wide // 2), "height": high // 2}, **options)
    found = {}
    for address in [*(address for address, _ in MENU), "/console/sign-in", "/console/runbook"]:
        page.goto(f"http://127.0.0.1:{service.port}{address}")
        found[address] = violations(page)
        too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert too_wide <= 0, f"{address} scrolls sideways by {too_wide} pixels"
    assert not {address: rules for address, rules in found.items() if rules}


def test_a_person_signs_in_and_out_by_keyboard_alone(visit: Callable[..., Any]) -> None:
    page = visit("/")
    focus_on(page, "API key")
    page.keyboard.type("no key")
    press(page, "Enter")
    page.wait_for_selector("text=This is none of the keys.")
    focus_on(page, "API key")
    page.keyboard.type(ANNA)
    press(page, "Enter")
    page.wait_for_selector("h1:text('Overview')")
    assert page.locator("text=anna").count() == 1
    focus_on(page, "Sign out")
    press(page, "Enter")
    page.wait_for_selector("h1:text('Sign in')")


def test_what_wants_attention_leads_to_what_to_do_by_keyboard(visit: Callable[..., Any]) -> None:
    page = visit("/", READER)
    focus_on(page, "What to do: Production was not checked yet: python -m monitoring.check")
    press(page, "Enter")
    page.wait_for_url("**/console/runbook#churnmonitoringstale")
    assert page.locator("#churnmonitoringstale").is_visible()


@pytest.mark.parametrize("address", [address for address, _ in MENU])
def test_a_page_can_be_read_without_scripts(address: str, visit: Callable[..., Any]) -> None:
    page = visit(address, READER, java_script_enabled=False)
    assert page.locator("h1").count() == 1
    assert page.locator("main").inner_text().strip()


def test_times_are_in_the_reader_s_zone(visit: Callable[..., Any]) -> None:
    def shown(zone: str) -> str:
        page = visit("/", READER, timezone_id=zone, locale="en-GB")
        return str(page.locator("table time").first.inner_text())

    assert shown("Asia/Tokyo") != shown("America/New_York")


def test_a_what_if_follows_the_form_by_keyboard_alone(visit: Callable[..., Any]) -> None:
    page = visit("/console/customers", READER)
    before = page.locator(".figure").first.inner_text()
    focus_on(page, "Tenure")
    press(page, "Control+a")
    page.keyboard.type("1")
    page.wait_for_selector("h3:text('Changed: Tenure')")
    assert page.locator(".figure").first.inner_text() == before
    press(page, "Control+a")
    page.keyboard.type("-1")
    page.wait_for_selector("text=No answer: values are not as the schema has them.")
    assert page.locator("#f-tenure").get_attribute("aria-invalid") == "true"
    press(page, "ArrowUp")
    page.wait_for_selector("h3:text('Changed: Tenure')")


def test_a_what_if_needs_no_script(visit: Callable[..., Any]) -> None:
    page = visit("/console/customers", READER, java_script_enabled=False)
    page.fill("#f-tenure", "1")
    page.click("text=What if?")
    assert page.locator("h3", has_text="Changed: Tenure").count() == 1


def test_a_customer_is_found_by_id_and_the_id_stays_out_of_addresses(
    visit: Callable[..., Any], service: Service
) -> None:
    golden = service.store.bundle(service.store.versions[0]) / "golden.jsonl"
    customer = json.loads(golden.read_text().splitlines()[0])["customer"] | {"customer_id": "personal-1"}
    assert service.post("/predict", customer, {"X-API-Key": READER})[0] == 200
    page = visit("/console/customers", READER)
    focus_on(page, "Customer id")
    page.keyboard.type("personal-1")
    press(page, "Enter")
    page.wait_for_selector("h2:text('In the log')")
    assert "personal" not in page.url
    assert "personal" not in service.errors.read_text()


@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_and_a_what_if_are_reached_by_mouse(width: str, visit: Callable[..., Any]) -> None:
    wide, high = WIDTHS[width]
    page = visit("/", viewport={"width": wide, "height": high})
    page.fill("#key", ANNA)
    page.click("button:text('Sign in')")
    for address, name in MENU:
        page.click(f"nav >> text={name}")
        page.wait_for_url(f"**{address}")
        assert page.locator("nav [aria-current=page]").inner_text() == name
    page.click("nav >> text=Customers")
    page.select_option("#f-contract", index=1)
    page.wait_for_selector("h3:text('Changed: Contract')")
    page.click("text=Sign out")
    page.wait_for_selector("h1:text('Sign in')")
