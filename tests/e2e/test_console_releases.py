"""Acts on releases in real browsers: without scripts, by two people at once, sent twice."""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener

import pytest

from tests.e2e.browser import MARKS, WIDTHS, chromium, faults
from tests.e2e.servers import Service
from tests.factories import opposite_release, other_release

pytestmark = MARKS
KEYS = {"anna": "annas-key", "ben": "bens-key"}


@pytest.fixture(scope="module")
def service(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two workers, and two people who may act."""
    keys = {"CHURN_ADMIN_KEYS": ",".join(f"{name}={key}" for name, key in KEYS.items())}
    with Service(tmp_path_factory.mktemp("releases"), reproduced / "models/release", workers=2, **keys) as started:
        yield started


@pytest.fixture(scope="module")
def versions(service: Service, reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The champion, a twin of it with another threshold, and one of the opposite opinion."""
    bundle, folder = reproduced / "models/release", tmp_path_factory.mktemp("bundles")
    twin = other_release(bundle, folder / "twin", 0.326)
    others = [service.store.add(each, "test") for each in (twin, opposite_release(bundle, folder / "opposite"))]
    return [str(service.store.state()["champion"]), *others]


@pytest.fixture(autouse=True)
def _tidy(service: Service, versions: list[str]) -> Iterator[None]:
    yield
    service.store.shadow(None, "tidy")
    service.store.promote(versions[0], "tidy")
    service.store.split(None, 0, "tidy")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def person(browser: Any, service: Service) -> Iterator[Callable[..., Any]]:
    """A page of a context of its own, signed in."""
    contexts = []

    def sign_in(name: str, **options: Any) -> Any:
        context = browser.new_context(base_url=f"http://127.0.0.1:{service.port}", **options)
        contexts.append(context)
        page = context.new_page()
        page.goto("/console/sign-in")
        page.fill("#key", KEYS[name])
        page.click("button:text('Sign in')")
        page.wait_for_selector("h1:text('Overview')")
        return page

    yield sign_in
    for context in contexts:
        context.close()


def ask_gate(page: Any, act: str, version: str) -> None:
    page.goto(f"/console/acts/{act}?version={version}")
    page.click("button:text('Ask the gate')")
    page.wait_for_selector("[name=reason]")


@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_on_pages_of_acts(
    width: str, person: Callable[..., Any], service: Service, versions: list[str]
) -> None:
    """At 200 %, as in the console's own test."""
    service.store.split(versions[1], 0.1, "try")
    wide, high = WIDTHS[width]
    viewport = {"width": max(360, wide // 2), "height": high // 2}
    page = person("anna", bypass_csp=True, device_scale_factor=2, viewport=viewport)
    found = {}
    for address in ("/console/releases", "/console/acts/end-split", ""):
        if address:
            page.goto(address)
        else:
            ask_gate(page, "promote", versions[2])
        found[address] = faults(page)
    assert not {name: rules for name, rules in found.items() if rules}


def test_a_visitor_without_scripts_acts_too(person: Callable[..., Any], service: Service, versions: list[str]) -> None:
    page = person("ben", java_script_enabled=False)
    ask_gate(page, "split", versions[1])
    page.fill("[name=share]", "7.5")
    page.fill("[name=reason]", "try it")
    page.click("button:text('answer a share')")
    page.wait_for_selector("h2:text('History')")
    assert (service.store.state()["challenger"], service.store.state()["share"]) == (versions[1], 0.075)


def test_of_two_people_with_the_same_page_open_the_second_is_told(
    person: Callable[..., Any], service: Service, versions: list[str]
) -> None:
    anna, ben = person("anna"), person("ben")
    for page in (anna, ben):
        ask_gate(page, "promote", versions[1])
        page.fill("[name=reason]", "better")
    anna.click("button:text('Promote')")
    anna.wait_for_selector("h2:text('History')")
    before = service.store.history()
    ben.click("button:text('Promote')")
    ben.wait_for_selector(f"text=anna promoted {versions[1]} since you opened this page; look again")
    assert service.store.history() == before


class Stay(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def test_a_form_sent_many_times_at_once_to_several_workers_acts_once(
    person: Callable[..., Any], service: Service, versions: list[str]
) -> None:
    page = person("anna")
    ask_gate(page, "shadow", versions[2])
    names = ("form", "version", "position", "gate")
    form = {name: page.locator(f"main form [name={name}]").last.input_value() for name in names}
    (cookie,) = [f"{one['name']}={one['value']}" for one in page.context.cookies() if one["name"] == "churn_session"]
    body = urlencode(form | {"reason": "look"}).encode()
    before = len(service.store.history())

    def send(_: int) -> tuple[int, str]:
        address = f"http://127.0.0.1:{service.port}/console/acts/shadow/done"
        try:
            build_opener(Stay).open(Request(address, body, {"Cookie": cookie}), timeout=30)
        except HTTPError as answer:
            return answer.code, answer.read().decode()
        raise AssertionError("neither done nor refused")

    with ThreadPoolExecutor(8) as hands:
        answers = list(hands.map(send, range(8)))
    assert sorted(status for status, _ in answers) == [303] + [409] * 7
    told = f"anna let {versions[2]} score in the shadow since you opened this page; look again"
    assert sum(told in text for _, text in answers) == 7
    assert len(service.store.history()) == before + 1


def test_the_service_answers_while_the_gate_compares_and_the_page_grows(
    person: Callable[..., Any], service: Service, versions: list[str]
) -> None:
    page = person("ben")
    page.goto(f"/console/acts/promote?version={versions[1]}")
    page.evaluate("document.querySelector('main form').submit()")
    waits = []
    for _ in range(100):
        begun = time.perf_counter()
        assert service.get("/health")[0] == 200
        waits.append(time.perf_counter() - begun)
        time.sleep(0.01)
    page.wait_for_selector("[name=reason]")
    assert sorted(waits)[len(waits) // 2] < 0.1
    assert max(waits) < 1
    assert not re.search("Traceback", service.errors.read_text())
