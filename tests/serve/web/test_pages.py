"""Pages: who may see them and act on them, what they forbid the browser, and that their errors are pages."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from serve.web import overview, pages
from serve.web.sign_in import own_page
from tests.serve.web.conftest import ANNA, READER, post, token_of

ADDRESSES = [address for address, _ in pages.MENU]


@pytest.mark.parametrize("address", [*ADDRESSES, "/console/runbook"])
def test_a_visitor_without_a_key_is_sent_to_sign_in_and_then_back(address: str, console: Any) -> None:
    answer = console.get(address)
    assert answer.status_code == 303
    target = answer.headers["location"]
    assert target.startswith("/console/sign-in?to=")
    done = post(console, "/console/sign-in", of=(page := console.get(target).text), key=READER, to=to_of(page))
    assert (done.status_code, done.headers["location"]) == (303, address)
    assert console.get(address).status_code == 200
    console.cookies.clear()


def to_of(page: str) -> str:
    (to,) = re.findall(r'name="to" value="([^"]*)"', page)
    return str(to)


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_page_is_open_where_there_are_no_keys(address: str, client: Any) -> None:
    page = client.get(address)
    assert page.status_code == 200
    assert "No keys are set: open to all for reading, acts are off" in page.text


def test_a_twin_wants_the_key_that_every_route_wants(console: Any, visitor: Callable[[str], Any]) -> None:
    assert console.get("/console/overview.json").status_code == 401
    assert console.get("/console/overview.json", headers={"X-API-Key": READER}).status_code == 200
    assert visitor(READER).get("/console/overview.json").status_code == 200


def test_a_wrong_key_is_refused_on_the_page(console: Any) -> None:
    for key in ("", "wrong", ANNA[:-1]):
        answer = post(console, "/console/sign-in", of=console.get("/console/sign-in").text, key=key)
        assert answer.status_code == 401
        assert "This is none of the keys." in answer.text
        assert not key or key not in answer.text
    assert console.get("/").status_code == 303
    console.cookies.clear()


def test_a_session_of_before_the_sign_in_is_worth_nothing_after_it(console: Any, visitor: Callable[[str], Any]) -> None:
    console.get("/console/sign-in")
    planted = dict(console.cookies)
    visitor(ANNA)
    signed_in = dict(console.cookies)
    assert planted != signed_in
    console.cookies.clear()
    console.cookies.update(planted)
    assert console.get("/").status_code == 303


def test_signing_out_ends_the_session(visitor: Callable[[str], Any]) -> None:
    browser = visitor(ANNA)
    page = browser.get("/").text
    assert post(browser, "/console/sign-out", of=page).status_code == 303
    assert browser.get("/").status_code == 303


@pytest.mark.parametrize(
    ("headers", "token", "status"),
    [
        ({}, "", 403),
        ({}, "x" * 22, 403),
        ({"sec-fetch-site": "cross-site"}, None, 403),
        ({"sec-fetch-site": "same-site"}, None, 403),
        ({"content-type": "text/plain"}, None, 415),
        ({"sec-fetch-site": "same-origin"}, None, 303),
    ],
)
def test_a_form_counts_only_from_a_page_of_the_session(
    headers: dict[str, str], token: str | None, status: int, visitor: Callable[[str], Any]
) -> None:
    browser = visitor(ANNA)
    own = token_of(browser.get("/").text)
    form = {"content-type": "application/x-www-form-urlencoded"}
    content = f"form={own if token is None else token}"
    answer = browser.post("/console/sign-out", content=content, headers=form | headers)
    assert answer.status_code == status, answer.text


def test_the_cookie_is_for_this_service_alone(console: Any) -> None:
    cookie = console.get("/console/sign-in").headers["set-cookie"]
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(re.split(r"; ?", cookie))
    secure = console.get("https://testserver/console/sign-in").headers["set-cookie"]
    assert "Secure" in secure
    console.cookies.clear()


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("/console/releases?a=1", "/console/releases?a=1"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/x\r\nset-cookie: a=b", "/"),
    ],
)
def test_a_sign_in_leads_to_pages_of_this_service(address: str, page: str) -> None:
    assert own_page(address) == page


@pytest.mark.parametrize("address", [*ADDRESSES, "/console/sign-in"])
def test_a_page_allows_no_script_or_style_but_its_files(address: str, client: Any) -> None:
    page = client.get(address)
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert not re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|https?://|javascript:", page.text)
    for file in re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page.text):
        assert client.get(file).status_code == 200


def test_texts_of_people_are_escaped(visitor: Callable[[str], Any]) -> None:
    page = visitor(READER).get("/").text
    assert "&lt;b&gt;first&lt;/b&gt; &amp; only" in page
    assert "<b>first" not in page


def test_what_goes_wrong_is_a_page(
    client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for error, status in ((OperationalError("SELECT secret", {}, Exception("down")), 503), (KeyError("secret"), 500)):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(pages, "shown", fail_once(pages.shown, fail))
        page = client.get("/")
        assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert "secret" not in page.text
        assert "Traceback" not in page.text
        monkeypatch.undo()


def fail_once(shown: Callable[..., Any], fail: Callable[..., None]) -> Callable[..., Any]:
    """A page's template fails, the failure's does not."""

    def either(request: Any, template: str, *arguments: Any, **values: Any) -> Any:
        if template != "failure.html":
            fail()
        return shown(request, template, *arguments, **values)

    return either


def test_the_overview_stays_while_the_database_is_down(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: object) -> None:
        raise OperationalError("", {}, Exception("down"))

    monkeypatch.setattr(overview, "recent_answers", down)
    log = client.app.state.service.log
    # not its problem, which a thread of its own takes back at once
    monkeypatch.setattr(log, "state", lambda: ("degraded", "the log's database is down; rows go to the spool"))
    page = client.get("/").text
    assert "the log&#39;s database is down; rows go to the spool" in page
    assert client.get("/console/overview.json").json()["traffic"] is None


def test_the_overview_tells_how_fast_answers_come(client: Any, customer: dict[str, Any]) -> None:
    for _ in range(3):
        assert client.post("/predict", json=customer).status_code == 200
    content = client.get("/console/overview.json").json()
    assert content["traffic"]["answers"] >= 3
    assert content["traffic"]["per_minute"] == pytest.approx(content["traffic"]["answers"] / 10)
    assert 0 < content["traffic"]["median_ms"] <= content["traffic"]["p99_ms"]
    (champion,) = content["answering"]
    assert (champion["role"], champion["share"], champion["reason"]) == ("champion", 1.0, "test")
    assert content["attention"][0]["section"] == "churnmonitoringstale"


def test_every_reason_of_a_check_leads_to_a_section_of_the_runbook(client: Any) -> None:
    from churn.reasons import REASONS

    assert set(overview.RUNBOOK) == set(REASONS)
    page = client.get("/console/runbook").text
    sections = set(re.findall(r'<h2 id="([a-z]+)"', page))
    assert {*overview.RUNBOOK.values(), "churnlogdown", "churnreleaserefused", "churncheckfails"} <= sections


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/", "Overview"),
        ("/console/customers", "Customers"),
        ("/console/production/input?name=tenure", "Production"),
        ("/console/compare", "Releases"),
        ("/console/acts/rollback", "Releases"),
        ("/console/plans", "Campaigns"),
        ("/console/runbook", None),
    ],
)
def test_the_menu_marks_where_a_page_belongs(address: str, name: str | None, client: Any) -> None:
    marked = re.findall(r'aria-current="page">(.*?)<', client.get(address, headers={"accept": "text/html"}).text)
    assert marked == ([name] if name else [])
