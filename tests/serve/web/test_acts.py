"""An act on a page is the command's, is decided on by the gate's numbers, and never on a page that is out of date."""

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from churn.script import InputError
from serve.releases.store import Store
from serve.web import streams
from serve.web.releases import acts
from tests.factories import other_release
from tests.serve.web.conftest import ANNA, BEN, READER, post, token_of


@pytest.fixture
def store(console: Any, versions: list[str]) -> Iterator[Store]:
    """The console's, with the first release alone as champion before and after."""
    found: Store = console.app.state.service.store
    yield found
    found.shadow(None, "tidy")
    found.promote(versions[0], "tidy")
    found.split(None, 0, "tidy")


def hidden(page: str, name: str) -> str:
    (value, *_) = re.findall(rf'name="{name}" value="([^"]*)"', page)
    return str(value)


def asked(browser: Any, act: str, version: str) -> str:
    """The page with the gate's report."""
    look = browser.get(f"/console/acts/{act}?version={version}")
    assert look.status_code == 200, look.text
    answer = post(browser, f"/console/acts/{act}/gate", of=look.text, version=version)
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def fields(page: str, **more: str) -> dict[str, str]:
    """Of the form of the second step."""
    names = [name for name in ("version", "position", "gate") if f'name="{name}"' in page]
    return {"form": token_of(page), "reason": "because", **{name: hidden(page, name) for name in names}, **more}


def test_a_promotion_is_decided_on_by_the_gate_s_numbers_and_is_in_the_ledger_with_the_key_s_name(
    visitor: Callable[[str], Any], store: Store, versions: list[str]
) -> None:
    browser = visitor(ANNA)
    page = asked(browser, "promote", versions[1])
    assert f"{versions[1]} passes against {versions[0]}" in page
    assert f"{versions[1]} answers all customers, in place of {versions[0]}, which a rollback brings back." in page
    assert store.state()["champion"] == versions[0]
    answer = browser.post("/console/acts/promote/done", data=fields(page, reason="<b>better</b>"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/releases#history")
    act = store.history()[-1]
    assert (act["who"], act["act"], act["version"], act["reason"]) == ("anna", "promote", versions[1], "<b>better</b>")
    assert (act["gate"]["passed"], act["gate"]["forced"], act["gate"]["champion"]) == (True, False, versions[0])
    history = browser.get("/console/releases").text
    assert "&lt;b&gt;better&lt;/b&gt;" in history
    assert "<b>better" not in history
    rollback = browser.get("/console/acts/rollback").text
    assert f"{versions[1]} passes against {versions[0]}" in rollback  # by which it came
    assert browser.post("/console/acts/rollback/done", data=fields(rollback)).status_code == 303
    act = store.history()[-1]
    assert (act["who"], act["act"], act["version"], act["reason"]) == ("anna", "rollback", versions[0], "because")


def test_splits_and_shadows_begin_and_end(visitor: Callable[[str], Any], store: Store, versions: list[str]) -> None:
    browser = visitor(ANNA)
    page = asked(browser, "split", versions[1])
    assert browser.post("/console/acts/split/done", data=fields(page, share="12.5")).status_code == 303
    assert (store.state()["challenger"], store.state()["share"]) == (versions[1], 0.125)
    page = asked(browser, "shadow", versions[2])
    assert "does not pass" in page  # a shadow answers nobody: it may
    assert browser.post("/console/acts/shadow/done", data=fields(page)).status_code == 303
    assert store.state()["shadow"] == versions[2]
    for name in ("end-split", "end-shadow"):
        page = browser.get(f"/console/acts/{name}").text
        assert browser.post(f"/console/acts/{name}/done", data=fields(page)).status_code == 303
    assert store.state()["challenger"] is store.state()["shadow"] is None
    assert [(act["who"], "gate" in act) for act in store.history()[-4:]] == [
        ("anna", True), ("anna", True), ("anna", False), ("anna", False),
    ]  # fmt: skip


@pytest.mark.parametrize("act", ["promote", "split"])
def test_what_the_gate_refuses_takes_a_tick_of_its_own(
    act: str, visitor: Callable[[str], Any], store: Store, versions: list[str]
) -> None:
    browser = visitor(ANNA)
    page = asked(browser, act, versions[2])
    assert f"{versions[2]} does not pass against {versions[0]}" in page
    assert "Do it although the gate refuses it" in page
    before = store.history()
    answer = browser.post(f"/console/acts/{act}/done", data=fields(page, share="5"))
    assert answer.status_code == 409
    assert "does not pass the gate; that it is done nevertheless was not ticked" in answer.text
    assert store.history() == before
    assert browser.post(f"/console/acts/{act}/done", data=fields(page, share="5", force="yes")).status_code == 303
    assert store.history()[-1]["gate"]["forced"]


def test_a_form_that_is_sent_twice_acts_once(visitor: Callable[[str], Any], store: Store, versions: list[str]) -> None:
    browser = visitor(ANNA)
    content = fields(asked(browser, "shadow", versions[1]))
    before = len(store.history())
    with ThreadPoolExecutor(4) as hands:
        answers = list(hands.map(lambda _: browser.post("/console/acts/shadow/done", data=content), range(4)))
    assert sorted(answer.status_code for answer in answers) == [303, 409, 409, 409]
    assert len(store.history()) == before + 1
    (told,) = {
        text for answer in answers if answer.status_code == 409 for text in re.findall("<strong>(.*?)<", answer.text)
    }
    assert told == f"anna let {versions[1]} score in the shadow since you opened this page; look again"


def test_of_two_people_the_second_is_told_what_the_first_did(
    console: Any, visitor: Callable[[str], Any], store: Store, versions: list[str]
) -> None:
    store.split(versions[1], 0.1, "try")
    browser = visitor(ANNA)
    page = browser.get("/console/acts/end-split").text
    ben = TestClient(console.app, follow_redirects=False)
    assert post(ben, "/console/sign-in", of=ben.get("/console/sign-in").text, key=BEN).status_code == 303
    theirs = ben.get("/console/acts/end-split").text
    assert ben.post("/console/acts/end-split/done", data=fields(theirs)).status_code == 303
    before = store.history()
    assert before[-1]["who"] == "ben"
    answer = browser.post("/console/acts/end-split/done", data=fields(page))
    assert answer.status_code == 409
    assert f"ben ended the split with {versions[1]} since you opened this page; look again" in answer.text
    assert "there is no split to end" in answer.text
    assert store.history() == before


def test_a_page_out_of_date_is_shown_anew_with_what_happened(
    visitor: Callable[[str], Any], store: Store, versions: list[str]
) -> None:
    browser = visitor(ANNA)
    page = asked(browser, "promote", versions[1])
    store.shadow(versions[2], "look", "ben")
    answer = browser.post("/console/acts/promote/done", data=fields(page))
    assert answer.status_code == 409
    assert f"ben let {versions[2]} score in the shadow since you opened this page; look again" in answer.text
    assert "Ask the gate" in answer.text
    assert store.state()["champion"] == versions[0]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"reason": " "}, "the reason is empty or has more than 1000 characters"),
        ({"reason": "x" * 1001}, "the reason is empty or has more than 1000 characters"),
        ({"share": "0"}, "the share is &#39;0&#39;; expected more than 0 and at most 100 percent"),
        ({"share": "nan"}, "the share is &#39;nan&#39;; expected more"),
        ({"share": "101"}, "the share is &#39;101&#39;; expected more"),
        ({"gate": ""}, "the gate was asked more than an hour ago, or not at all; ask it again"),
        ({"position": "00000001.json"}, "the gate was asked about another release or state; ask it again"),
    ],
)
def test_what_a_form_lacks_is_one_sentence(
    more: dict[str, str], told: str, visitor: Callable[[str], Any], store: Store, versions: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("serve.http.admin.passed", lambda *_, **__: report(versions))
    browser, before = visitor(ANNA), store.history()
    page = asked(browser, "split", versions[1])
    answer = browser.post("/console/acts/split/done", data=fields(page, **{"share": "5", **more}))
    assert answer.status_code == 409
    assert told in answer.text
    assert store.history() == before


def report(versions: list[str]) -> dict[str, Any]:
    return {"passed": True, "champion": versions[0], "candidate": versions[1], "reasons": [], "forced": False}


def test_a_session_that_ended_is_told_and_acts_no_more(
    console: Any, visitor: Callable[[str], Any], store: Store, versions: list[str]
) -> None:
    browser, before = visitor(ANNA), store.history()
    content = fields(browser.get("/console/releases").text, version=versions[1], position=store.position())
    console.cookies.clear()
    for path in ("/console/acts/shadow/done", "/console/acts/shadow/gate", "/console/compare/gate"):
        answer = browser.post(path, data=content)
        assert answer.status_code == 403
        assert "the form is not of this session, which may have ended; open the page again" in answer.text
    assert store.history() == before


def test_a_report_is_for_its_release_and_for_an_hour(
    visitor: Callable[[str], Any], store: Store, versions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.http.admin.passed", lambda *_, **__: report(versions))
    browser = visitor(ANNA)
    content = fields(asked(browser, "promote", versions[1]))
    answer = browser.post("/console/acts/promote/done", data=content | {"version": versions[2]})
    assert "the gate was asked about another release or state; ask it again" in answer.text
    monkeypatch.setattr(acts, "SEEN_SECONDS", -1)
    answer = browser.post("/console/acts/promote/done", data=content)
    assert "the gate was asked more than an hour ago" in answer.text
    assert store.state()["champion"] == versions[0]


def test_a_visitor_who_may_only_read_sees_why_there_are_no_buttons(
    visitor: Callable[[str], Any], store: Store, versions: list[str]
) -> None:
    browser, before = visitor(READER), store.history()
    addresses = [
        "/console/releases",
        f"/console/releases/{versions[1]}",
        f"/console/acts/promote?version={versions[1]}",
    ]
    for address in addresses:
        page = browser.get(address).text
        assert "Your key is for reading; sign out and in again with an admin key to act." in page
        assert not re.findall(r"<button[^>]*>(?!Sign out)", page)
        assert "Promote …" not in page
    for path in ("/console/acts/shadow/done", "/console/acts/shadow/gate"):
        answer = browser.post(path, data={"form": token_of(page), "version": versions[1], "reason": "r"})
        assert answer.status_code == 403
        assert "this key is for reading" in answer.text
    assert store.history() == before


def test_a_sign_in_leads_back_to_the_act_with_its_release(
    released: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where pages are open and acts need a key."""
    from serve.app import create_app

    store = Store(tmp_path / "releases")
    store.promote(store.add(released, "test"), "test")
    other = store.add(other_release(released, tmp_path / "other"), "test")
    monkeypatch.setenv("CHURN_RELEASES", str(store.where))
    monkeypatch.setenv("CHURN_ADMIN_KEY", ANNA)
    for name in ("CHURN_API_KEYS", "CHURN_ADMIN_KEYS"):  # of another console
        monkeypatch.delenv(name, raising=False)
    address = f"/console/acts/promote?version={other}"
    with TestClient(create_app(), follow_redirects=False) as browser:
        page = browser.get(address).text
        assert "Sign in</a> with an admin key to act." in page
        assert "Ask the gate" not in page
        compared = browser.get("/console/compare").text
        assert f"python -m serve.releases gate {other} --against {store.state()['champion']}" in compared
        assert "Ask the gate" not in compared
        (target,) = set(re.findall(r'href="(/console/sign-in[^"]*)"', page))
        asked = browser.get(target).text
        answer = post(browser, "/console/sign-in", of=asked, key=ANNA, to=hidden(asked, "to"))
        assert answer.headers["location"] == address
        assert "Ask the gate" in browser.get(address).text


def test_without_admin_keys_acts_are_off_in_words(client: Any) -> None:
    for address in ("/console/releases", f"/console/releases/{client.app.state.service.live.champion.version}"):
        assert "Acts are off: the service has neither <code>CHURN_ADMIN_KEY</code>" in client.get(address).text


def test_a_form_from_elsewhere_or_of_another_session_does_not_act(
    visitor: Callable[[str], Any], store: Store, versions: list[str]
) -> None:
    browser, before = visitor(ANNA), store.history()
    content = fields(browser.get("/console/releases").text, version=versions[1], position=store.position())
    for headers, more in (({"sec-fetch-site": "cross-site"}, {}), ({}, {"form": "x" * 22})):
        for path in ("/console/acts/shadow/done", "/console/acts/shadow/gate"):
            assert browser.post(path, data=content | more, headers=headers).status_code == 403
    assert store.history() == before


@pytest.mark.parametrize(
    ("address", "status", "told"),
    [
        ("promote?version={0}", 409, "{0} is the champion already"),
        ("promote", 409, "the address names no release: add ?version="),
        ("promote?version=000000000000", 404, "the store has no release 000000000000"),
        ("promote?version=..", 422, "version: String should match pattern"),
        ("end-split", 409, "there is no split to end"),
        ("end-shadow", 409, "there is no shadow to end"),
        ("erase", 422, "act: Input should be"),
    ],
)
def test_an_act_that_can_not_be_is_a_sentence_on_its_page_and_its_twin(
    address: str, status: int, told: str, visitor: Callable[[str], Any], store: Store, versions: list[str]
) -> None:
    browser = visitor(ANNA)
    page = browser.get(f"/console/acts/{address.format(*versions)}")
    assert page.status_code == status
    assert told.format(*versions) in page.text
    name, _, query = address.format(*versions).partition("?")
    twin = browser.get(f"/console/acts/{name}.json?{query}")
    assert twin.status_code == status


def test_while_the_gate_compares_the_page_shows_the_seconds_and_another_waits_its_turn(
    visitor: Callable[[str], Any], store: Store, versions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> dict[str, Any]:
        begun.set()
        assert may_end.wait(20)
        return report(versions)

    monkeypatch.setattr("serve.http.admin.passed", slow)
    monkeypatch.setattr(streams, "TICK_SECONDS", 0.002)
    browser = visitor(ANNA)
    with ThreadPoolExecutor(1) as first:
        waiting = first.submit(asked, browser, "shadow", versions[1])
        assert begun.wait(20)
        assert "another comparison runs already; try again when it has ended" in asked(browser, "shadow", versions[2])
        may_end.set()
        page = waiting.result()
    assert "0 s … " in page
    assert f"{versions[1]} passes against {versions[0]}" in page


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InputError("the log can&#39;t be read"), "the log can"),
        (KeyError("secret"), "An error of the service; its log has"),
    ],
)
def test_a_comparison_that_fails_is_told_on_the_page_and_nothing_can_be_done_by_it(
    error: Exception, told: str, visitor: Callable[[str], Any], store: Store, versions: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("serve.http.admin.passed", fail)
    page = asked(visitor(ANNA), "promote", versions[1])
    assert told in page
    assert "secret" not in page
    assert 'name="reason"' not in page
