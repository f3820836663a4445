"""GET /model is JSON for programs and a page for browsers, whose policy allows its own style alone."""

import base64
import hashlib
import re
from typing import Any

import pytest

from churn.release import Release
from serve.http.model_card import policy, prefers_html

CHROME = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)
FIREFOX = SAFARI = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("accept", [CHROME, FIREFOX, "text/html", "text/*", "TEXT/HTML", "text/html;level=1;q=0.4"])
def test_a_browser_prefers_html(accept: str) -> None:
    assert prefers_html(accept)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/json",
        "application/json, text/plain, */*",
        "application/json, text/html",
        "text/html;q=0.5, application/json",
        "text/html;q=0",
        "text/html;q=0, */*",
        "text/html;q=high",
        "image/png",
        ";;,,=",
    ],
)
def test_programs_get_json(accept: str) -> None:
    assert not prefers_html(accept)


def test_a_more_specific_range_counts_before_a_wider_one() -> None:
    assert prefers_html("text/html;q=0.2, application/json;q=0.1, */*;q=0.9")
    assert not prefers_html("text/*;q=0.9, text/html;q=0.1, application/*;q=0.2")


def test_the_same_address_has_both(client: Any) -> None:
    release = client.app.state.service.live.champion.release
    page = client.get("/model", headers={"Accept": CHROME})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text == release.page
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        answer = client.get("/model", headers=headers)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == release.card
    assert page.headers["vary"] == answer.headers["vary"] == "Accept"


def test_the_page_s_policy_allows_its_style_and_nothing_else(client: Any) -> None:
    page = client.get("/model", headers={"Accept": CHROME})
    (style,) = re.findall("<style>(.*?)</style>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert page.headers["content-security-policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert "style-src 'none'" in policy("<p>no style</p>")


def test_a_bundle_without_a_page_answers_browsers_by_json(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    release: Release = client.app.state.service.live.champion.release
    monkeypatch.setitem(vars(release), "page", None)
    answer = client.get("/model", headers={"Accept": CHROME})
    assert answer.json() == release.card
