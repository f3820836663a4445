"""The loop closes: drifted customers, a check, a rule, an alert, a webhook, a retraining, a challenger that answers."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from churn.release import open_release
from demo.world import month, sent
from monitoring.retrain.policy import WHO
from review.verify import environment, git
from tests.conftest import ROOT
from tests.e2e.conftest import command, commit, set_knobs
from tests.e2e.servers import Service, alertmanager, free_port, prometheus, until

pytestmark = pytest.mark.e2e

CUSTOMERS, SHARE = 3_000, 0.5
MODULE = (sys.executable, "-m")


@pytest.fixture
def repository(clone: Path) -> Path:
    """One in which a window is the last day, and outcomes come at once."""
    set_knobs(
        clone, monitoring__snapshot__days=1, monitoring__snapshot__delay=0, monitoring__retrain__checks=1,
        monitoring__retrain__role="challenger", monitoring__retrain__share=SHARE,
    )  # fmt: skip
    commit(clone, "a faster world")
    return clone


@pytest.fixture
def service(repository: Path, tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path, repository / "models/release", workers=2) as service:
        yield service


def live(service: Service, seed: int) -> list[dict[str, Any]]:
    """Customers of another world are asked about, and what became of them is told; the answers."""
    customers = month(seed, CUSTOMERS, drift=0.5, concept=1.0)
    rows = sent(open_release(service.store.champion()).schema, customers)
    named = [row | {"customer_id": f"{seed}-{i}"} for i, row in enumerate(rows)]
    status, _, answers = service.post("/predict/batch", {"customers": named})
    assert status == 200
    now = datetime.now(UTC).isoformat()
    outcomes = [
        {"customer_id": row["customer_id"], "churned": churned == "Yes", "observed_at": now}
        for row, churned in zip(named, customers["churned"], strict=True)
    ]
    status, _, told = service.post("/feedback", {"outcomes": outcomes})
    assert (status, told.get("matched")) == (200, CUSTOMERS), told
    found: list[dict[str, Any]] = answers["predictions"]
    return found


def test_drifted_traffic_ends_in_a_challenger_that_answers(repository: Path, service: Service, tmp_path: Path) -> None:
    store, port = service.store, free_port()
    champion = store.state()["champion"]
    variables = {"CHURN_RELEASES": str(store.where), "CHURN_LOG_URL": "", "MLFLOW_TRACKING_URI": ""}
    log = (tmp_path / "watch.log").open("w")
    words = [*MODULE, "monitoring.watch", "--every", "0", "--port", str(port)]  # no schedule: an alert or nothing
    watch = subprocess.Popen(words, cwd=repository, env=environment(**variables), stdout=log, stderr=log)
    try:
        with (
            alertmanager(ROOT / "ops/alertmanager", tmp_path, {"monitor:9099": port}) as alerts,
            prometheus(
                ROOT / "ops/prometheus", tmp_path,
                {"service:8000": service.port, "alertmanager:9093": alerts.port, "monitor:9099": port},
                {r"for: \w+": "for: 1s"},
            ),
        ):  # fmt: skip
            assert {answer["model_version"] for answer in live(service, 1)} == {champion}
            assert "verdict: breach" in command(repository, *MODULE, "monitoring.check", status=1, **variables)
            version = until(lambda: store.state()["challenger"], seconds=240)
    finally:
        watch.terminate()
        watch.wait(60)
        log.close()
    added, split = store.history()[-2:]
    assert [(act["act"], act["version"], act["who"]) for act in (added, split)] == [
        ("add", version, WHO), ("split", version, WHO),
    ]  # fmt: skip
    assert split["gate"]["passed"] and split["state"]["share"] == SHARE
    assert {"concept_drift", "input_drift"} <= {*added["lineage"]["reasons"]}

    until(lambda: version in {answer["model_version"] for answer in live(service, 2)})
    answers = live(service, 3)
    by_challenger = [answer for answer in answers if answer["arm"] == "challenger"]
    assert 0.4 < len(by_challenger) / CUSTOMERS < 0.6
    told = command(
        repository, *MODULE, "serve.releases", "trace", by_challenger[0]["request_id"], "--json", **variables
    )
    branch = git(repository, "rev-parse", f"retrain/{version}").decode().strip()
    made = {release["version"]: release["lineage"] for release in json.loads(told)["releases"]}
    assert made[version]["commit"] == branch
