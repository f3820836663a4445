"""From a check to a message: the log, the service's /metrics, Prometheus' rules, Alertmanager, and who hears of it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from demo.processes import until
from serve.log.checks import record
from serve.log.database import connect
from tests.conftest import ROOT
from tests.e2e.servers import Service, Started, alertmanager, prometheus, webhook
from tests.factories import other_release

pytestmark = pytest.mark.e2e

SOON = {r"for: \w+": "for: 1s"}
SEEN = 40  # seconds: 10 until the service looks, then a scrape, a rule and a group


class World(NamedTuple):
    service: Service
    prometheus: Started
    received: list[dict[str, Any]]

    def check(self, version: str, *reasons: tuple[str, str]) -> None:
        """Have a check recorded that found these reasons, (id, level)."""
        verdict = "breach" if reasons else "healthy"
        found = {
            "verdict": verdict,
            "reasons": [{"id": id_, "level": level, "words": ""} for id_, level in reasons],
            "window": {"model_version": version},
            "customers": 900,
            "drift": {"share": 0.25, "prediction": 0.2, "features": {}},
            "quality": {"more_missing": 0.3, "unseen": 0.0, "outside": 0.0},
        }
        engine = connect(f"sqlite:///{self.service.store.where}/log.db")
        with engine.connect() as connection:
            record(connection, datetime.now(UTC), found)
        engine.dispose()

    def heard(self, receiver: str, status: str, name: str) -> dict[str, Any] | None:
        """The last alert of that name and status that came to the receiver."""
        alerts = [alert for content in self.received if content["receiver"] == receiver for alert in content["alerts"]]
        said = [a for a in alerts if (a["labels"]["alertname"], a["status"]) == (name, status)]
        return said[-1] if said else None


@pytest.fixture(scope="module")
def world(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    with (
        webhook() as (port, received),
        Service(folder, reproduced / "models/release", workers=2) as service,
        alertmanager(ROOT / "ops/alertmanager", folder, {"monitor:9099": port}) as alerts,
        prometheus(
            ROOT / "ops/prometheus", folder, {"service:8000": service.port, "alertmanager:9093": alerts.port}, SOON
        ) as server,
    ):
        yield World(service, server, received)


def test_a_breach_reaches_the_retraining_and_people_and_a_healthy_check_ends_it(world: World) -> None:
    version = world.service.store.state()["champion"]
    assert version
    world.check(version, ("input_drift", "breach"))
    alert = until(lambda: world.heard("retrain", "firing", "ChurnInputDrift"), SEEN)
    assert (alert["labels"]["retrain"], alert["labels"]["model_version"]) == ("true", version)
    assert alert["annotations"]["description"] == f"25% of the inputs drifted away from the training of {version}."
    assert {content["version"] for content in world.received} == {"4"}
    until(lambda: world.heard("people", "firing", "ChurnInputDrift"), SEEN)
    world.check(version)
    for receiver in ("retrain", "people"):
        until(lambda receiver=receiver: world.heard(receiver, "resolved", "ChurnInputDrift"), SEEN)


def test_a_feed_without_its_values_is_not_learned_from(world: World) -> None:
    version = world.service.store.state()["champion"]
    assert version
    before = len(world.received)
    world.check(version, ("more_missing", "breach"), ("prediction_drift", "breach"))
    fires = 'ALERTS{alertname="ChurnPredictionDrift",alertstate="firing"}'
    until(lambda: world.prometheus.query(fires), SEEN)
    until(lambda: world.heard("people", "firing", "ChurnDataQuality"), SEEN)
    assert "ChurnPredictionDrift" not in str(world.received[before:])
    world.check(version)
    until(lambda: not world.prometheus.query(fires), SEEN)


def test_a_promotion_ends_what_is_said_of_the_model_before(world: World, reproduced: Path, tmp_path: Path) -> None:
    store = world.service.store
    version = store.state()["champion"]
    assert version
    world.check(version, ("concept_drift", "breach"), ("prediction_drift", "breach"))
    fires = 'ALERTS{alertname="ChurnPredictionDrift",alertstate="firing"}'
    until(lambda: world.prometheus.query(fires), SEEN)
    other = store.add(other_release(reproduced / "models/release", tmp_path / "other"), "test")
    store.promote(other, "test")
    until(lambda: not world.prometheus.query(fires), SEEN)
    assert world.prometheus.query("churn_monitoring_verdict == 1")[0]["metric"]["model_version"] == version


def test_a_service_that_is_gone_is_a_page(world: World) -> None:
    world.service.kill()
    page = until(lambda: world.heard("people", "firing", "ChurnServiceDown"), SEEN)
    assert page["labels"]["severity"] == "page"
