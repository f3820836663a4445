"""Every query of the dashboards finds something, in a real Prometheus that scrapes the real service under traffic."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from churn.params import read_knobs
from churn.profit import Profit
from churn.scorer import Scorer
from demo.processes import until
from demo.world import month
from monitoring.check.knobs import Limits
from monitoring.check.report import report
from serve.log.checks import record
from serve.log.database import connect
from tests.conftest import ROOT
from tests.e2e.servers import Load, Service, Started, prometheus
from tests.factories import opposite_release, other_release
from tests.ops.test_dashboards import DASHBOARDS, panels
from tests.simulated_months import taken

pytestmark = pytest.mark.e2e

STEP = 5  # seconds between the points of a chart
# as Grafana fills them in: All is the variable's allValue
FILLED = {"$instance": ".*", "$__rate_interval": "1m"}


def check_of_a_new_world(service: Service, bundle: Path) -> None:
    """Record what a check finds of customers who drifted and whose outcomes are known."""
    scorer = Scorer.open(bundle)
    limits = replace(read_knobs("monitoring.report", Limits, ROOT / "params.yaml"), resamples=100)
    seen = taken(scorer, month(3, 1_500, drift=0.5))
    made, _ = report(seen, read_knobs("profit", Profit, ROOT / "params.yaml"), limits)
    engine = connect(f"sqlite:///{service.store.where}/log.db")
    with engine.connect() as connection:
        record(connection, datetime.now(UTC), made.as_dict())
    engine.dispose()


def traffic(service: Service) -> None:
    """What comes in a day: single customers and batches, wrong ones, new levels, explanations, outcomes."""
    load = Load(service.port, service.customers(), batch_every=50)
    asyncio.run(load.run(connections=4, requests=400))
    customers = [{**customer, "customer_id": f"t-{i}"} for i, customer in enumerate(service.customers())]
    for i, customer in enumerate(customers[:30]):
        service.post("/predict", customer | {"contract": "Weekly", "total_charges": None})
        service.post("/predict", customer | {"tenure": -1})
        service.post("/explain", customer)
        outcome = {"customer_id": f"t-{i}", "churned": True, "observed_at": datetime.now(UTC).isoformat()}
        service.post("/feedback", {"outcomes": [outcome]})
    service.get("/missing")


@pytest.fixture(scope="module")
def scraped(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Prometheus after half a minute of a service with a split, a shadow and a check."""
    folder, bundle = tmp_path_factory.mktemp("dashboards"), reproduced / "models/release"
    with (
        Service(folder, bundle, workers=2) as service,
        prometheus(ROOT / "ops/prometheus", folder, {"service:8000": service.port}, {r"for: \w+": "for: 1s"}) as server,
    ):
        challenger = service.store.add(opposite_release(bundle, folder / "opposite"), "test")
        shadow = service.store.add(other_release(bundle, folder / "other", threshold=0.4), "test")
        service.store.split(challenger, 0.3, "test")
        service.store.shadow(shadow, "test")
        check_of_a_new_world(service, bundle)
        end = time.monotonic() + 25
        while time.monotonic() < end:
            traffic(service)
        until(lambda: server.query("churn_monitoring_drift_share"))
        until(lambda: server.query('ALERTS{alertstate="firing",alertname="ChurnPredictionDrift"}'))
        yield server


def filled(query: str) -> str:
    for name, value in FILLED.items():
        query = query.replace(name, value)
    return query


def charted(server: Started, query: str) -> list[dict[str, Any]]:
    """The series of the last minute that hold a number."""
    now = time.time()
    asked = {"query": filled(query), "start": str(now - 60), "end": str(now), "step": str(STEP)}
    found = server.get("/api/v1/query_range", **asked)["data"]["result"]
    return [series for series in found if any(value != "NaN" for _, value in series["values"])]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_shows_something(scraped: Started, name: str) -> None:
    empty = []
    for panel in panels(name, "row", "text"):
        for target in panel["targets"]:
            instant = target.get("instant", False)
            found = scraped.query(filled(target["expr"])) if instant else charted(scraped, target["expr"])
            if not [series for series in found if "value" not in series or series["value"][1] != "NaN"]:
                empty.append((panel["title"], target["expr"]))
    assert not empty


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_annotation_has_its_moment(scraped: Started, name: str) -> None:
    for annotation in DASHBOARDS[name]["annotations"]["list"]:
        assert annotation.get("builtIn") or charted(scraped, annotation["expr"]), annotation["name"]


def test_every_variable_has_values(scraped: Started) -> None:
    for board in DASHBOARDS.values():
        for variable in board["templating"]["list"]:
            selector, _, label = variable["query"]["query"].removeprefix("label_values(").rstrip(")").rpartition(", ")
            found = scraped.get(f"/api/v1/label/{label}/values", **{"match[]": selector})["data"]
            assert found, variable["name"]


def test_the_table_and_the_verdict_say_what_was_found(scraped: Started) -> None:
    (verdict,) = (panel for panel in panels("model") if panel["title"] == "Verdict")
    (series,) = scraped.query(verdict["targets"][0]["expr"])
    mapped = verdict["fieldConfig"]["defaults"]["mappings"][0]["options"]
    assert mapped[series["value"][1]]["text"] == "breach"
    (table,) = (panel for panel in panels("model") if panel["title"] == "Alerts")
    rows = [series["metric"] for series in scraped.query(table["targets"][0]["expr"])]
    assert "ChurnPredictionDrift" in (named := {row["alertname"] for row in rows}) and "none" not in named
