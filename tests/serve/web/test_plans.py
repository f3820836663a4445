"""Plans made from a page: what budgets would bring, the plan, its list, and no way out of the folder of scores."""

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from demo.processes import until
from serve.releases.store import Store
from serve.web.campaigns import plans
from tests.serve.web.conftest import ANNA, READER, post

pytestmark = pytest.mark.slow  # commands import Arrow
ASKED = "scores=june&campaign=spring"


@pytest.fixture(scope="module")
def planning(released: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A console with a folder of scored files, and the folder's path as `root`."""
    from serve.app import create_app
    from serve.score.__main__ import main as score

    folder = tmp_path_factory.mktemp("planning")
    store = Store(folder / "releases")
    store.promote(store.add(released, "test"), "test")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CHURN_")]:
            patch.delenv(name)
        patch.setenv("CHURN_RELEASES", str(store.where))
        patch.setenv("CHURN_API_KEYS", READER)
        patch.setenv("CHURN_ADMIN_KEYS", f"anna={ANNA}")
        patch.setenv("CHURN_SCORES", str(folder / "scores"))
        assert score([str(project / "data/raw/customers.csv"), str(folder / "scores/june"), "--processes", "1"]) == 0
        (folder / "secret").mkdir()
        (folder / "secret/MANIFEST.json").write_text("{}")
        (folder / "scores/link").symlink_to(folder / "secret")
        with TestClient(create_app(), raise_server_exceptions=False, follow_redirects=False) as opened:
            opened.root = folder / "scores"
            yield opened


@pytest.fixture
def browser(planning: Any) -> Iterator[Callable[[str], Any]]:
    def sign_in(key: str) -> Any:
        planning.cookies.clear()
        post(planning, "/console/sign-in", of=planning.get("/console/sign-in").text, key=key)
        return planning

    yield sign_in
    planning.cookies.clear()


def until_known(browser: Any, address: str) -> Any:
    def known() -> Any:
        content = browser.get(address).json()
        return content if content["state"] != "running" else None

    return until(known, 120)


def plan(browser: Any, **fields: str) -> Any:
    page = browser.get("/console/plans").text
    return post(
        browser, "/console/plans", of=page, **{"scores": "june", "campaign": "spring", "budget": "800"} | fields
    )


def test_budgets_are_shown_with_what_they_would_bring(browser: Callable[[str], Any]) -> None:
    content = until_known(browser(READER), f"/console/plans.json?{ASKED}&control=0.2")
    assert [one["name"] for one in content["folders"]] == ["june"]
    curve = content["curve"]
    assert (curve["control"], curve["scored"]) == (0.2, 600) and len(curve["points"]) > 5
    page = browser(READER).get(f"/console/plans?{ASKED}&control=0.2").text
    assert "Expected profit by budget" in page and "budget.js" in page
    assert "It takes an admin key to make a plan" in page


def test_a_plan_is_what_the_command_makes_and_its_list_is_there_to_download(
    browser: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = browser(ANNA)
    budget = until_known(anna, f"/console/plans.json?{ASKED}")["curve"]["points"][3]["budget"]
    made = plan(anna, budget=str(budget))
    assert (made.status_code, made.headers["location"]) == (303, "/console/plans/spring"), made.text
    content = until_known(anna, "/console/plans/spring/plan.json")["content"]
    assert content == json.loads((anna.root / "plans/spring/plan.json").read_text())
    assert content["expected"]["cost"] == budget
    listed = browser(READER).get("/console/plans/spring/list.csv")
    assert listed.headers["content-disposition"] == 'attachment; filename="spring.csv"'
    rows = list(csv.DictReader(io.StringIO(listed.text)))
    assert len(rows) == content["selected"] > 0
    page = anna.get("/console/plans/spring").text
    assert "Download the list" in page and f"{budget:,.2f}" in page
    assert [one["name"] for one in anna.get("/console/plans.json").json()["made"]] == ["spring"]
    monkeypatch.setattr(plans, "PATIENCE_SECONDS", 120)
    other = plan(browser(ANNA), budget="1")
    assert other.status_code == 409 and "plans/spring holds another plan" in other.text
    assert str(anna.root) not in other.text


@pytest.mark.parametrize("is_made", [False, True])
def test_the_page_of_a_plan_tells_what_became_of_the_command(
    is_made: bool, browser: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = browser(ANNA)
    folder = anna.root / "plans" / f"autumn-{is_made:d}"
    if is_made:
        shutil.copytree(anna.root / "plans/spring", folder)
    processes, address = type(anna.app.state.console.processes), f"/console/plans/{folder.name}"
    failed, none, running = ("failed", f"{folder} holds another plan"), ("none", ""), ("running", "")
    for states in ([failed], [none], [running, failed], [running, running, none]):
        told = iter(states)
        monkeypatch.setattr(processes, "state_of", lambda *_, told=told: next(told))
        page = anna.get(address)
        is_waited_for, is_there = states[0] == running, is_made or states[-1] == failed
        assert ("The plan is being made" in page.text) == is_waited_for
        assert (f"plans/{folder.name} holds another plan" in page.text) == (states[-1] == failed)
        assert ("Download the list" in page.text) == is_made
        assert ("there is no plan of that name" in page.text) != is_there
        assert page.status_code == (200 if is_waited_for or is_there else 404)
        assert next(told, None) is None


def test_a_key_for_reading_makes_no_plan(browser: Callable[[str], Any]) -> None:
    assert plan(browser(READER), campaign="summer").status_code == 403
    assert not (browser(READER).root / "plans/summer").exists()


def test_a_list_is_for_readers_alone(planning: Any) -> None:
    assert planning.get("/console/plans/spring/list.csv").status_code == 303
    assert planning.get("/console/plans/spring/plan.json").status_code == 401


@pytest.mark.parametrize(
    "fields",
    [
        {"scores": "../secret"},
        {"scores": "/etc"},
        {"scores": ".."},
        {"scores": "link"},
        {"scores": "plans"},
        {"scores": ""},
        {"scores": "nothing"},
        {"campaign": "../summer"},
        {"campaign": "--json"},
        {"campaign": "Summer"},
        {"budget": "nan"},
        {"budget": "-1"},
        {"budget": "1e13"},
        {"budget": ""},
        {"control": "1"},
    ],
    ids=str,
)
def test_what_the_form_does_not_offer_is_refused(fields: dict[str, str], browser: Callable[[str], Any]) -> None:
    refused = plan(browser(ANNA), **{"campaign": "summer"} | fields)
    assert refused.status_code in (404, 422), refused.text
    assert not (browser(ANNA).root / "plans/summer").exists()


@pytest.mark.parametrize("name", ["..%2Fsecret", "%2Fetc", "..", "link", "plans", "nothing", "a%00b"])
def test_no_address_leads_out_of_the_folder(name: str, browser: Callable[[str], Any]) -> None:
    reader = browser(READER)
    for address in (
        f"/console/plans.json?scores={name}&campaign=spring",
        f"/console/plans/{name}/list.csv",
        f"/console/plans/{name}/plan.json",
    ):
        assert reader.get(address).status_code in (404, 422), address


def test_a_link_among_the_plans_leads_nowhere(browser: Callable[[str], Any]) -> None:
    reader = browser(READER)
    (reader.root / "plans").mkdir(exist_ok=True)
    (reader.root / "plans/away").symlink_to(reader.root.parent / "secret")
    (reader.root.parent / "secret/list.csv").write_text("secret")
    assert reader.get("/console/plans/away/list.csv").status_code == 404


def test_a_command_that_fails_says_why_on_the_page(browser: Callable[[str], Any]) -> None:
    reader = browser(READER)
    (reader.root / "broken").mkdir(exist_ok=True)
    (reader.root / "broken/MANIFEST.json").write_text("{}")
    content = until_known(reader, "/console/plans.json?scores=broken&campaign=spring")
    assert content["state"] == "failed" and "no manifest of scores" in content["failure"]


def test_without_a_folder_or_its_packages_the_page_says_so(
    client: Any, browser: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "CHURN_SCORES is not set" in client.get("/console/plans").text
    assert client.get("/console/plans/spring").status_code == 404
    monkeypatch.setattr(plans, "is_there", lambda name: False)
    assert "This image has no campaigns/" in browser(READER).get("/console/plans").text
