"""The page of one input: drift and flaws over time, both distributions, and the newest answers with a flaw."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from serve.settings import read_settings
from serve.web.production.inputs import LISTED
from tests.serve.web.conftest import READER
from tests.serve.web.history import keep, report

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def watched(console: Any) -> Any:
    """A console with two checks and thirty answers, most of which have a flaw."""
    keep(read_settings().log, *((NOW - timedelta(days=days), report(NOW - timedelta(days=days))) for days in (9, 1)))
    golden = console.app.state.service.live.champion.release.golden()[0]["customer"] | {"contract": "One year"}
    customers = [golden | {"customer_id": f"<{n}>", "contract": "<i>Three & years"} for n in range(LISTED + 3)]
    customers += [golden | {"customer_id": "far", "tenure": 500}, golden | {"customer_id": "near", "tenure": 72}]
    sent = console.post("/predict/batch", json={"customers": customers}, headers={"X-API-Key": READER})
    assert sent.status_code == 200, sent.text
    return console


@pytest.fixture
def page(watched: Any, visitor: Callable[[str], Any]) -> Callable[..., Any]:
    browser = visitor(READER)
    return lambda query, twin=False: browser.get(f"/console/production/input{'.json' if twin else ''}?{query}")


def test_a_number_shows_its_distance_and_both_distributions(page: Callable[..., Any]) -> None:
    content = page("name=tenure", twin=True).json()
    assert [state["distance"] for state in content["states"]] == [0.4, 0.4]
    assert content["possible"] == ["missing", "outside"]
    assert content["distribution"]["current"] == [0.8, 0.2] and content["behind"] is None
    text = page("name=tenure").text
    assert "tenure in training and in production" in text and "threshold 0.100" in text


def test_levels_are_escaped(page: Callable[..., Any]) -> None:
    text = page("name=contract&flaw=unseen").text
    assert "&lt;b&gt;other&lt;/b&gt;" in text and "&lt;i&gt;Three &amp; years" in text and "<i>" not in text


def test_the_newest_answers_with_an_unseen_level_are_listed_as_far_as_they_fit(page: Callable[..., Any]) -> None:
    behind = page("name=contract&flaw=unseen", twin=True).json()["behind"]
    assert (behind["flawed"], len(behind["answers"])) == (LISTED + 3, LISTED)
    assert behind["answers"][0]["value"] == "<i>Three & years"
    assert behind["answers"][0]["customer_id"] == f"<{LISTED + 2}>"


def test_values_are_held_against_the_training_s_range(page: Callable[..., Any]) -> None:
    (far,) = page("name=tenure&flaw=outside", twin=True).json()["behind"]["answers"]
    assert (far["customer_id"], far["value"]) == ("far", 500.0)
    assert page("name=monthly_charges&flaw=outside", twin=True).json()["behind"]["answers"] == []
    assert "The training's range is not known" in page("name=monthly_charges&flaw=outside").text


def test_missing_values_of_what_the_model_makes_are_found_too(page: Callable[..., Any]) -> None:
    behind = page("name=tenure_group&flaw=missing", twin=True).json()["behind"]
    assert (behind["scanned"], behind["flawed"]) == (LISTED + 5, 0)


@pytest.mark.parametrize(("query", "status"), [("name=nobody", 404), ("", 422), ("name=tenure&flaw=odd", 422)])
def test_an_input_or_a_flaw_that_is_none_is_refused(query: str, status: int, page: Callable[..., Any]) -> None:
    assert page(query).status_code == page(query, twin=True).status_code == status


def test_every_input_of_the_last_check_leads_to_its_page(watched: Any, visitor: Callable[[str], Any]) -> None:
    text = visitor(READER).get("/console/production").text
    assert "name=contract&amp;from=" in text and "&amp;flaw=unseen#behind" in text
