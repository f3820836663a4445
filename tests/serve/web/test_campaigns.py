"""Pages of campaigns: a list that stays quick, what a plan expects, and what the command says it brought."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy.exc import OperationalError

from serve.log.database import connect, write_lock
from serve.log.reported import keep_contacts
from serve.log.tables import outcomes
from serve.settings import read_settings
from serve.web import streams
from serve.web.campaigns import view as campaigns
from serve.web.campaigns.view import COUNTED, LISTED
from tests.serve.web.conftest import READER

NOW = datetime.now(UTC)
EXPECTED = {"offered": 500, "cost": 1000.0, "churn_avoided": 60.5, "profit": 12_345.6, "upper_bound": 12_350.0}


def contact(url: str, name: str, n: int, expected: dict[str, Any] | None = None, share: float = 0.5) -> None:
    """n customers, every other one made an offer; more of the others leave, as is known within five days."""
    engine, at = connect(url), NOW - timedelta(days=60)
    rows = [
        {"customer_id": f"{name}-{i}", "campaign": name, "offered": i % 2 == 0, "share": share, "at": at}
        for i in range(n)
    ]
    with engine.connect() as connection:
        keep_contacts(connection, write_lock(engine), rows, expected)
        leaves = np.random.default_rng(1).random(n) < np.where(np.arange(n) % 2, 0.6, 0.2)
        told = [
            {"request_id": "", "customer_id": row["customer_id"], "churned": bool(gone), "received_at": NOW}
            | {"observed_at": at + timedelta(days=20 + i % 5)}
            for i, (row, gone) in enumerate(zip(rows, leaves, strict=True))
        ]
        connection.execute(outcomes.insert(), told)
        connection.commit()
    engine.dispose()


@pytest.fixture(scope="module")
def busy(console: Any) -> Any:
    """A console whose log has a large campaign with a plan, and more campaigns than a page lists."""
    url = read_settings().log
    for n in range(LISTED + 1):
        contact(url, f"small-{n}", 2)
    contact(url, "spring.json", COUNTED + 2, EXPECTED)
    return console


@pytest.fixture
def browser(busy: Any, visitor: Callable[[str], Any]) -> Any:
    return visitor(READER)


def test_the_newest_come_first_and_the_others_behind_a_link(browser: Any) -> None:
    first = browser.get("/console/campaigns.json").json()
    assert [one["name"] for one in first["campaigns"]][:2] == ["spring.json", f"small-{LISTED}"]
    assert len(first["campaigns"]) == LISTED
    second = browser.get("/console/campaigns.json", params={"after": first["after"]}).json()
    assert [one["name"] for one in second["campaigns"]] == ["small-1", "small-0"] and second["after"] is None
    assert browser.get("/console/campaigns.json?after=nobody").status_code == 404
    assert "Older campaigns" in browser.get("/console/campaigns").text


def test_what_is_not_counted_to_its_end_says_so(browser: Any) -> None:
    large, small = browser.get("/console/campaigns.json").json()["campaigns"][:2]
    assert (large["contacts"]["is_all"], large["contacts"]["offered"] + large["contacts"]["control"]) == (
        False,
        COUNTED,
    )
    assert small["contacts"] == {"offered": 1, "control": 1, "share": 0.5, "is_all": True}
    assert "more than " in browser.get("/console/campaigns").text


@pytest.mark.slow
def test_a_result_is_what_the_command_says(browser: Any) -> None:
    command = [sys.executable, "-m", "campaigns", "result", "spring.json", "--json"]
    report = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    page = browser.get("/console/campaigns/spring.json").text
    assert "The result is being worked out" in page
    assert page.count('class="done"') == 1 and page.rstrip().endswith("</html>")
    assert "12,345.60" in page and report["verdict"] in page
    content = browser.get("/console/campaigns/spring.json/result.json").json()
    assert content["expected"] == EXPECTED
    result = content["result"]
    assert (result["verdict"], result["text"]) == (report["verdict"], report["words"])
    assert [one["customers"] for one in result["sides"]] == [report[key]["customers"] for key in ("offered", "control")]
    profit = next(one for one in result["measures"] if one["name"] == "Incremental profit in all")
    assert [profit[key] for key in ("value", "low", "high")] == [
        report["profit"],
        report["profit_low"],
        report["profit_high"],
    ]
    again = browser.get("/console/campaigns/spring.json").text
    assert "being worked out" not in again and again.count('class="done"') == 1 and report["verdict"] in again


def test_a_twin_does_not_wait_for_the_command(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(browser.app.state.console.processes), "json_of", lambda *_: None)
    content = browser.get("/console/campaigns/small-1/result.json").json()
    assert (content["state"], content["result"]) == ("running", None)


def test_where_a_reader_leaves_nobody_looks_for_the_result(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[object] = []
    monkeypatch.setattr(type(browser.app.state.console.processes), "json_of", lambda *_: looks.append(None))
    monkeypatch.setattr(streams, "LOOK_SECONDS", 0.01)
    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "scheme": "http"}
    scope |= {"method": "GET", "path": "/console/campaigns/small-1", "query_string": b"", "root_path": ""}
    scope |= {"headers": [(b"x-api-key", READER.encode())], "client": ("reader", 1), "server": ("testserver", 80)}

    async def leave() -> list[int]:
        pieces: list[Any] = []
        has_seen_some = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await has_seen_some.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            pieces.append(message)
            if message.get("body"):
                has_seen_some.set()

        await browser.app(scope, receive, send)
        assert b"being worked out" in pieces[-1]["body"]
        counts = []
        for _ in range(2):
            await asyncio.sleep(0.2)
            counts.append(len(looks))
        return counts

    first, second = browser.portal.call(leave)
    assert first == second > 0


def test_a_database_that_fails_meanwhile_is_named_on_the_page(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("no"))

    monkeypatch.setattr(type(browser.app.state.console.processes), "json_of", lambda *_: None)
    monkeypatch.setattr(streams, "run_in_threadpool", fails)
    page = browser.get("/console/campaigns/small-1").text
    assert "The log&#39;s database can&#39;t be asked now" in page and "</html>" in page


def test_an_image_without_campaigns_says_the_command(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns, "is_there", lambda name: name != "pyarrow")
    page = browser.get("/console/campaigns/small-1")
    assert page.status_code == 200 and "python -m campaigns result small-1" in page.text


@pytest.mark.parametrize(("name", "status"), [("nobody", 404), ("A%20b", 422), ("x" * 65, 422), ("..%2fetc", 404)])
def test_a_campaign_that_is_none_is_refused(name: str, status: int, browser: Any) -> None:
    assert browser.get(f"/console/campaigns/{name}").status_code == status
    assert browser.get(f"/console/campaigns/{name}/result.json").status_code == status
