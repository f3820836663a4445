"""The store as pages: releases with their scores, the ledger page by page, two releases side by side."""

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve.releases.store import LEDGER, Store, act_name
from serve.web.releases.view import ACTS, flat
from tests.serve.web.conftest import ANNA, READER, post


def store_of(console: Any) -> Store:
    store: Store = console.app.state.service.store
    return store


def test_the_store_is_a_table_with_roles_scores_and_reasons(
    console: Any, visitor: Callable[[str], Any], versions: list[str]
) -> None:
    browser = visitor(READER)
    content = browser.get("/console/releases.json").json()
    assert content["state"] == store_of(console).state()
    rows = {row["version"]: row for row in content["releases"]}
    assert set(rows) == set(versions)
    card = store_of(console).card(versions[0])
    champion = rows[versions[0]]
    assert (champion["role"], champion["model"], champion["reason"]) == ("champion", card["model"], "test")
    auc, test = champion["roc_auc"], card["test"]
    assert [auc["value"], auc["low"], auc["high"]] == [test[f"roc_auc{end}"] for end in ("", "_low", "_high")]
    assert champion["threshold"] == card["threshold"]["value"]
    page = browser.get("/console/releases").text
    assert all(f'href="/console/releases/{version}"' in page for version in versions)
    assert f"{card['test']['roc_auc']:.4f}" in page
    assert "root promoted" in page
    assert "&lt;b&gt;first&lt;/b&gt; &amp; only" in page


def test_the_history_comes_page_by_page_the_newest_first(
    released: Path, console: Any, visitor: Callable[[str], Any], versions: list[str]
) -> None:
    store = store_of(console)
    for i in range(ACTS):
        store.shadow(versions[1 + i % 2], f"<i>{i}</i>")
    store.shadow(None, "tidy")
    browser, numbers, address = visitor(READER), [], "/console/releases.json"
    while True:
        content = browser.get(address).json()
        assert len(content["acts"]) <= ACTS
        numbers += [act["number"] for act in content["acts"]]
        if not content["older"]:
            break
        address = f"/console/releases.json?before={content['older']}"
    assert numbers == list(range(len(store.history()), 0, -1))
    first = browser.get("/console/releases").text
    (older,) = re.findall(r'href="(/console/releases\?before=\d+#history)"', first)
    assert "<i>" not in first
    assert "root added" in browser.get(older.partition("#")[0]).text
    for before in ("0", "x"):
        assert browser.get(f"/console/releases?before={before}").status_code == 422
    assert browser.get("/console/releases?before=99999").status_code == 200


def test_a_release_has_a_page_with_its_card_and_the_acts_on_it(
    console: Any, visitor: Callable[[str], Any], versions: list[str]
) -> None:
    browser = visitor(ANNA)
    page = browser.get(f"/console/releases/{versions[1]}")
    card = store_of(console).card(versions[1])
    assert page.status_code == 200
    for text in (card["intended_use"], *card["limits"], card["data"]["sha256"], *card["libraries"].values()):
        assert text.replace("'", "&#39;") in page.text
    assert f'href="/console/acts/promote?version={versions[1]}"' in page.text
    assert f'href="/console/compare?a={versions[0]}&amp;b={versions[1]}"' in page.text
    twin = browser.get(f"/console/releases/{versions[1]}.json").json()
    assert twin["card"] == card
    assert twin["possible"] == ["promote", "split", "shadow"]
    assert {act["version"] for act in twin["acts"]} == {versions[1]}
    champion = browser.get(f"/console/releases/{versions[0]}.json").json()
    assert (champion["role"], champion["possible"]) == ("champion", [])


def test_the_model_card_of_the_bundle_is_a_page_with_a_policy_of_its_own(
    visitor: Callable[[str], Any], versions: list[str]
) -> None:
    browser = visitor(READER)
    twin = browser.get(f"/console/releases/{versions[0]}.json").json()
    page = browser.get(f"/console/releases/{versions[0]}/card")
    assert twin["has_page"] == (page.status_code == 200)
    assert page.status_code == 200
    assert versions[0] in page.text
    assert "default-src 'none'; style-src 'sha256-" in page.headers["content-security-policy"]
    bare = browser.get(f"/console/releases/{versions[2]}/card")
    assert bare.status_code == (200 if browser.get(f"/console/releases/{versions[2]}.json").json()["has_page"] else 404)


@pytest.mark.parametrize(
    ("path", "status"),
    [("000000000000", 404), ("000000000000/card", 404), ("x", 422), ("..%2f..%2fstate", 404), ("LEDGER", 422)],
)
def test_an_unknown_release_is_a_page_that_says_so(path: str, status: int, visitor: Callable[[str], Any]) -> None:
    browser = visitor(READER)
    assert browser.get(f"/console/releases/{path}").status_code == status
    if "/" not in path and "%" not in path:
        assert browser.get(f"/console/releases/{path}.json").status_code == status


def test_a_card_that_can_not_be_read_is_told_and_the_rest_is_shown(
    console: Any, visitor: Callable[[str], Any], versions: list[str]
) -> None:
    store, damaged = store_of(console), "0123456789ab"
    folder = Path(store.where) / damaged
    shutil.copytree(Path(store.where) / versions[1], folder)
    (folder / "card.json").write_text("{")
    try:
        browser = visitor(READER)
        for address in ("releases", f"releases/{damaged}", f"compare?a={versions[0]}&b={damaged}"):
            page = browser.get(f"/console/{address}")
            assert page.status_code == 200
        assert "card.json can&#39;t be read" in browser.get(f"/console/releases/{damaged}").text
    finally:
        shutil.rmtree(folder)


def test_two_releases_stand_side_by_side(console: Any, visitor: Callable[[str], Any], versions: list[str]) -> None:
    browser = visitor(READER)
    twin = browser.get(f"/console/compare.json?a={versions[0]}&b={versions[1]}").json()
    ours, theirs = (store_of(console).card(version) for version in versions[:2])
    assert [row["name"] for row in twin["differing"]] == ["threshold.value"]
    assert twin["same_table"]
    for pair in twin["scores"]:
        assert pair["difference"] == pytest.approx(theirs["test"][pair["name"]] - ours["test"][pair["name"]])
    page = browser.get(f"/console/compare?a={versions[0]}&b={versions[1]}").text
    assert "threshold.value" in page
    default = browser.get("/console/compare.json").json()
    assert default["a"]["version"] == versions[0]
    assert default["b"]["version"] in versions[1:]
    assert browser.get("/console/compare?a=000000000000").status_code == 404
    assert browser.get("/console/compare?a=x").status_code == 422


def test_the_gate_and_the_replay_compare_any_two_without_an_act(
    console: Any, visitor: Callable[[str], Any], versions: list[str]
) -> None:
    browser, before = visitor(READER), store_of(console).history()
    pair = {"a": versions[1], "b": versions[2]}
    page = browser.get("/console/compare", params=pair).text
    gate = post(browser, "/console/compare/gate", of=page, **pair)
    assert f"{versions[2]} does not pass against {versions[1]}" in gate.text
    assert "ROC AUC by slice" in gate.text
    assert "the log has no answer of the last 30 days" in post(browser, "/console/compare/replay", of=page, **pair).text
    customers = [line["customer"] for line in console.app.state.service.live.champion.release.golden()[:20]]
    answer = browser.post("/predict/batch", json={"customers": customers}, headers={"X-API-Key": READER})
    assert answer.status_code == 200
    replay = post(browser, "/console/compare/replay", of=page, **pair).text
    assert "20 requests since" in replay
    assert "Probabilities of both" in replay
    wrong = post(browser, "/console/compare/gate", of=page, a=versions[1], b="--help")
    assert wrong.status_code == 404
    assert store_of(console).history() == before


def test_without_a_sign_in_the_page_names_the_commands(client: Any) -> None:
    page = client.get("/console/compare").text
    assert "It takes two releases to compare; the store holds 1." in page


def test_nested_values_have_dotted_names() -> None:
    assert flat({"a": {"b": 1.5, "c": ["x", 2]}, "d": None}) == {"a.b": "1.5", "a.c": "x, 2", "d": "None"}


def test_pages_are_small_and_fast_with_many_releases_and_acts(
    visitor: Callable[[str], Any], console: Any, versions: list[str]
) -> None:
    store, browser = store_of(console), visitor(READER)
    root, acts = Path(store.where), store.history()
    extra = [f"{i:012x}" for i in range(1, 51)]
    for number, version in enumerate([*extra] * 40, len(acts) + 1):
        act = {**acts[-1], "act": "add" if number - len(acts) <= 50 else "shadow", "version": version}
        (root / LEDGER / act_name(number)).write_text(json.dumps(act))
    for version in extra:
        shutil.copytree(root / versions[0], root / version, copy_function=lambda a, b: Path(b).symlink_to(a))
    try:
        browser.get("/console/releases")
        begun = time.perf_counter()
        page = browser.get("/console/releases")
        assert time.perf_counter() - begun < 0.5  # 0.03 s on a quiet machine
        assert len(page.content) < 100_000
    finally:
        for version in extra:
            shutil.rmtree(root / version)
        for number in range(len(acts) + 1, len(acts) + 2001):
            (root / LEDGER / act_name(number)).unlink()
        store._acts.clear()
