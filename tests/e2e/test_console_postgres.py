"""Pages that read the log, on PostgreSQL with many rows: by an index each, quickly, and small.

CHURN_LOG_ROWS=10000000 pytest tests/e2e/test_console_postgres.py asks for so many answers and contacts.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from serve.log.database import connect
from serve.log.migrate import migrate
from serve.web.campaigns.view import COUNTED, list_campaigns, stop_at_limits
from serve.web.console import Console
from serve.web.customers.past import past
from serve.web.pages import MENU
from serve.web.production.inputs import SCANNED, input_page
from serve.web.production.view import production
from tests.e2e.servers import Postgres
from tests.serve.web.history import keep, report

pytestmark = pytest.mark.e2e
ROWS, CAMPAIGNS, CHECKS = int(os.environ.get("CHURN_LOG_ROWS", "150000")), 30, 300
NOW = datetime.now(UTC)

ANSWERS = """
INSERT INTO predictions SELECT
    lpad(to_hex((extract(epoch from now()) * 1e6)::bigint - n * 1000000::bigint), 14, '0') || lpad(n::text, 18, '0'),
    'r-' || n, now() - n * interval '1 second', 'c-' || n, CAST(:features AS json),
    0.5, 'churn', 0.3, :version, 'champion', 1.0
FROM generate_series(1, :rows) AS n
"""
CONTACTS = """
INSERT INTO contacts (customer_id, campaign, at, offered, share, received_at)
SELECT 'c-' || n, 'campaign-' || ((n - 1) * :campaigns / :rows), now(), n % 10 < 9, 0.9, now()
FROM generate_series(1, :rows) AS n
"""


@pytest.fixture(scope="module")
def large(database: Postgres, client: Any) -> Iterator[Engine]:
    """A log of many answers, contacts and checks."""
    engine, release = connect(database.url), client.app.state.service.live.champion.release
    migrate(engine)
    features = json.dumps(release.golden()[0]["customer"] | {"contract": "Five years"})
    with engine.begin() as connection:
        connection.execute(text(ANSWERS), {"features": features, "version": release.version, "rows": ROWS})
        connection.execute(text(CONTACTS), {"campaigns": CAMPAIGNS, "rows": ROWS})
        names = "SELECT 'campaign-' || n, now() - n * interval '1 day' FROM generate_series(0, :n - 1) AS n"
        connection.execute(text(f"INSERT INTO campaigns (name, received_at) {names}"), {"n": CAMPAIGNS})
    moments = [NOW - timedelta(hours=4 * n) for n in range(CHECKS)]
    keep(database.url, *((at, report(at, reasons=(("unseen", "breach"),))) for at in moments))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    yield engine
    engine.dispose()


@pytest.fixture
def console(large: Engine, client: Any) -> Console:
    console: Console = client.app.state.console
    return replace(console, engine=large)


def customer(name: str) -> Callable[[Console], Any]:
    def look_up(console: Console) -> Any:
        with console.engine.connect() as connection:
            return past(connection, name)

    return look_up


@pytest.mark.parametrize(
    ("view", "rows"),
    [
        (production, CHECKS),
        (lambda console: input_page(console, "contract", flaw="unseen"), SCANNED),
        (list_campaigns, COUNTED + 1),
        (customer("c-77"), 20),
        (customer("nobody"), 20),
    ],
    ids=["production", "input", "campaigns", "customer", "nobody"],
)
def test_a_page_reads_by_an_index_however_large_the_log_is(
    view: Callable[[Console], Any], rows: int, console: Console
) -> None:
    asked: list[tuple[str, Any]] = []
    view(console)  # connects
    event.listen(console.engine, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
    begin = time.perf_counter()
    view(console)
    took = time.perf_counter() - begin
    queries = [(query, values) for query, values in asked if query.startswith("SELECT")]
    assert queries
    for query, values in queries:
        with console.engine.connect() as connection:
            if "FROM contacts" in query:
                stop_at_limits(connection)
            lines = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, TIMING OFF) {query}", values).scalars().all()
            plan = "\n".join(lines)
            assert not re.search("Seq Scan on (predictions|contacts)", plan), plan
            assert max(map(int, re.findall(r"actual rows=(\d+)", plan))) <= rows, plan
    assert took < 1, took  # of a machine that is busy; alone it is a tenth


def test_every_page_is_small(console: Console, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(client.app.state._state, "console", console)
    version = console.service.live.champion.version
    below = [
        "production/input?name=contract&flaw=unseen", "campaigns/campaign-7", f"releases/{version}",
        f"compare?a={version}&b={version}", "plans", "runbook",
    ]  # fmt: skip
    pages = {address: client.get(address) for address in [*dict(MENU), *(f"/console/{page}" for page in below)]}
    pages["a customer"] = client.post("/console/customers/look-up", data={"customer_id": "c-77"})
    assert {page.status_code for page in pages.values()} == {200}
    assert "In the log" in pages["a customer"].text
    assert not {address: len(page.content) for address, page in pages.items() if len(page.content) > 100_000}


def test_parts_of_a_check_are_the_same_in_both_databases(console: Console) -> None:
    content = production(console)
    assert content.scores[0].estimated[-1].value == 0.8
    assert content.alerts[0].id == "unseen" and content.inputs[0].name == "tenure"
    assert input_page(console, "tenure").states[-1].distance == 0.4
