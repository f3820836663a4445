"""The parts of ops/compose.yaml do together what each does alone, with the same configuration files and wiring."""

import json
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from demo.processes import until
from serve.log.checks import record
from serve.log.database import connect
from tests.e2e.compose_stack import Stack, stack
from tests.e2e.servers import logged

pytestmark = pytest.mark.e2e

SOON = {
    r"(scrape|evaluation|refresh)_interval: \w+": r"\1_interval: 1s",
    r"for: \w+": "for: 1s",
    r"group_(wait|interval): \w+": r"group_\1: 1s",
}
SEEN = (
    60  # seconds: 10 until the service looks, then a scrape, a rule, a group; the machine may have other things to do
)
CONNECTIONS = 4  # that ask at once
# Of a replica that ends, a client may lose the request that is being answered and, asking again at once, one that waits
# to be accepted: the connection is reset, and nginx can't know that nobody saw it.
LOST = 2 * CONNECTIONS
RECORD = """
import mlflow
mlflow.set_experiment("together")
with mlflow.start_run(run_name="from the monitor"):
    mlflow.log_metric("roc_auc", 0.84)
    mlflow.log_text("kept", "note.txt")
"""


@pytest.fixture(scope="module")
def together(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(reproduced, tmp_path_factory.mktemp("together"), SOON) as running:
        yield running


@pytest.fixture(scope="module")
def customer(reproduced: Path) -> dict[str, Any]:
    lines = (reproduced / "models/release/golden.jsonl").read_text().splitlines()
    found: dict[str, Any] = json.loads(lines[0])["customer"]
    return found


def asked(address: str, path: str, content: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and body."""
    body = content if isinstance(content, bytes | None) else json.dumps(content).encode()
    request = Request(f"http://{address}{path}", body, {"Content-Type": "application/json", **headers})
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except HTTPError as error:
        return error.code, json.loads(error.read())


def predicted(together: Stack, customer: dict[str, Any], n: int) -> list[str]:
    """The ids of n predictions, one after the other, all of them answered."""
    answers = [asked(together.published(8000), "/predict", customer) for _ in range(n)]
    assert {status for status, _ in answers} == {200}, answers
    return [answer["request_id"] for _, answer in answers]


def replicas(request_ids: list[str]) -> set[str]:
    """Each process has a word of its own, between the time and its count."""
    return {request_id[14:24] for request_id in request_ids}


@contextmanager
def requests(together: Stack, customer: dict[str, Any]) -> Iterator[list[tuple[int, float]]]:
    """As many as come through while the block lasts: status and seconds of each."""
    answers: list[tuple[int, float]] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            begun = time.monotonic()
            status, _ = asked(together.published(8000), "/predict", customer)
            answers.append((status, time.monotonic() - begun))

    threads = [threading.Thread(target=ask) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def series(together: Stack, promql: str) -> list[dict[str, Any]]:
    _, answer = asked(together.published(9090), f"/api/v1/query?{urlencode({'query': promql})}")
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def rows(together: Stack) -> Counter[str]:
    """Request id -> rows in the log."""
    engine = connect(together.database("churn_log_url"))
    try:
        return logged(engine)
    finally:
        engine.dispose()


def test_predictions_through_the_one_port_come_from_both_replicas_and_are_in_postgresql(
    together: Stack, customer: dict[str, Any]
) -> None:
    ids = predicted(together, customer, 30)
    assert len(replicas(ids)) == 2
    found = rows(together)
    assert {found[request_id] for request_id in ids} == {1}


def test_the_proxy_shows_no_replica_s_metrics_and_refuses_large_bodies_as_the_service_does(together: Stack) -> None:
    address = together.published(8000)
    assert asked(address, "/metrics")[0] == 404
    limit = int(together.services["service"]["environment"]["CHURN_MAX_BODY"])
    # the first by the service, the second by nginx
    for size in (limit + 1, 2 * limit):
        status, answer = asked(address, "/predict", b" " * size)
        assert status == 413 and answer["detail"]


def test_the_admin_key_is_a_secret_that_opens(together: Stack) -> None:
    act = {"version": "none", "reason": "to see whether the key opens"}
    address = together.published(8000)
    assert asked(address, "/admin/promote", act)[0] == 401
    assert asked(address, "/admin/promote", act, **{"X-API-Key": together.secret("churn_admin_key")})[0] not in (
        401,
        404,
    )


def test_prometheus_has_every_replica_and_everybody_else(together: Stack) -> None:
    expected = {f"{container.address}:8000" for container in together.of("service")}
    assert len(expected) == 2
    until(lambda: {s["metric"]["instance"] for s in series(together, 'up{job="churn"} == 1')} == expected, SEEN)
    until(lambda: {s["metric"]["job"] for s in series(together, "up == 1")} == {
        "churn", "monitor", "prometheus", "alertmanager"
    }, SEEN)  # fmt: skip
    counted = series(together, 'sum by (instance) (churn_requests_total{route="/predict",status="200"})')
    assert {s["metric"]["instance"] for s in counted} == expected


def test_a_breach_reaches_the_retraining_which_sees_no_need_and_people(together: Stack) -> None:
    monitor = together.of("monitor")[0]
    # the watch begins with a check of its own, which finds too few customers
    until(lambda: series(together, 'churn_watch_exit_status{command="monitoring.check"} == 2'), SEEN)
    version = asked(together.published(8000), "/model")[1]["model_version"]
    found = {
        "verdict": "breach",
        "reasons": [{"id": "input_drift", "level": "breach", "words": ""}],
        "window": {"model_version": version},
        "customers": 900,
        "drift": {"share": 0.25, "prediction": 0.0, "features": {}},
        "quality": {"more_missing": 0.0, "unseen": 0.0, "outside": 0.0},
    }
    engine = connect(together.database("churn_log_url"))
    with engine.connect() as connection:
        record(connection, datetime.now(UTC), found)
    engine.dispose()
    until(lambda: "ChurnInputDrift: looking whether a retraining is needed" in monitor.log.read_text(), SEEN)
    until(lambda: f"monitoring.retrain: no retraining of {version}" in monitor.log.read_text(), SEEN)
    until(lambda: series(together, 'churn_watch_exit_status{command="monitoring.retrain"} == 0'), SEEN)
    line = (
        r"monitoring.watch: firing, ticket: ChurnInputDrift: .*: 25% of the inputs drifted .* "
        r"\(docs/runbook.md#churninputdrift\)"
    )
    until(lambda: re.search(line, monitor.log.read_text()), SEEN)


def test_a_run_is_recorded_by_mlflow_in_its_own_database_and_its_file_in_a_volume(together: Stack) -> None:
    done = together.of("monitor")[0].run("python", "-c", RECORD)
    assert done.returncode == 0, done.stderr
    engine = connect(together.database("mlflow_backend_store_uri").replace("+psycopg", ""))
    with engine.connect() as connection:
        query = "SELECT name, key, value FROM runs JOIN metrics USING (run_uuid)"
        assert [tuple(row) for row in connection.execute(text(query))] == [("from the monitor", "roc_auc", 0.84)]
    engine.dispose()
    (note,) = (together.folder / "volumes/mlflow").rglob("note.txt")
    assert note.read_text() == "kept"


def test_a_page_of_somebody_else_can_not_ask_mlflow(together: Stack) -> None:
    address, path = together.published(5000), "/api/2.0/mlflow/experiments/search"
    statuses = {}
    for host in ("127.0.0.1:5000", "mlflow:5000", "evil.example"):
        request = Request(
            f"http://{address}{path}", b'{"max_results": 1}', {"Host": host, "Content-Type": "application/json"}
        )
        try:
            with urlopen(request, timeout=30) as answer:
                statuses[host] = answer.status
        except HTTPError as error:
            statuses[host] = error.code
    assert statuses == {"127.0.0.1:5000": 200, "mlflow:5000": 200, "evil.example": 403}


def test_a_role_has_its_own_database_alone_and_nobody_comes_in_without_a_password(together: Stack) -> None:
    own = together.database("churn_log_url")
    for url in (own.replace("/churn", "/mlflow"), re.sub(r"//churn:\w+@", "//churn:postgres@", own)):
        engine = connect(url)
        with pytest.raises(OperationalError, match=r"permission denied|authentication failed"):
            engine.connect()
        engine.dispose()


def test_no_secret_is_on_a_command_line(together: Stack) -> None:
    words = [together.secret(name) for name in together.compose["secrets"]]
    secrets = {re.sub(r".*://\w+:(\w+)@.*", r"\1", word) for word in words if word}
    assert len(secrets) == 5
    lines = [
        path.read_bytes().decode(errors="replace") for path in Path("/proc").glob("[0-9]*/cmdline") if readable(path)
    ]
    assert any("mlflow" in line for line in lines)
    assert not [line for line in lines for secret in secrets if secret in line]


def readable(path: Path) -> bool:
    try:
        return bool(path.read_bytes())
    except OSError:  # it ended
        return False


@pytest.mark.parametrize("service", ["mlflow", "service", "proxy", "monitor", "alertmanager", "prometheus"])
def test_what_faces_others_is_nobody_in_particular_and_changes_nothing_of_itself(service: str, together: Stack) -> None:
    container = together.of(service)[0]
    status = Path(f"/proc/{container.pid}/status").read_text()
    assert re.search(r"Uid:\t(\d+)", status)[1] != "0"  # type: ignore[index]
    assert re.findall(r"(?:CapBnd|CapEff):\t(\w+)", status) == ["0" * 16] * 2
    assert "NoNewPrivs:\t1" in status
    for place in ("/etc", "/usr/bin"):
        assert container.run("touch", f"{place}/x").returncode != 0


def test_while_the_database_is_away_both_replicas_answer_and_their_rows_come_once(
    together: Stack, customer: dict[str, Any]
) -> None:
    (database,) = together.of("postgres")
    database.stop()
    ids = predicted(together, customer, 30)
    assert len(replicas(ids)) == 2
    database.start()
    until(database.is_healthy, SEEN)
    until(lambda: {*ids} <= rows(together).keys(), SEEN)
    assert {rows(together)[request_id] for request_id in ids} == {1}


def test_a_replica_that_is_killed_costs_what_it_was_answering_and_its_successor_takes_part(
    together: Stack, customer: dict[str, Any]
) -> None:
    killed = together.of("service")[0]
    with requests(together, customer) as answers:
        time.sleep(1)
        killed.stop(signal.SIGKILL)
        before = len(answers)
        time.sleep(7)  # the proxy knows its address for five more seconds
    killed.start()
    until(killed.is_healthy, SEEN)
    assert len(answers) > before + 20
    assert Counter(status for status, _ in answers)[502] <= LOST
    assert {status for status, _ in answers} <= {200, 502}
    assert max(seconds for _, seconds in answers) < 5
    until(lambda: len(replicas(predicted(together, customer, 10))) == 2, SEEN)


def test_a_replica_that_is_stopped_answers_what_it_has_accepted(together: Stack, customer: dict[str, Any]) -> None:
    stopped = together.of("service")[1]
    with requests(together, customer) as answers:
        time.sleep(1)
        assert stopped.stop() == 0
        time.sleep(2)
    assert Counter(status for status, _ in answers)[502] <= CONNECTIONS  # what waited to be accepted
    assert {status for status, _ in answers} <= {200, 502}
