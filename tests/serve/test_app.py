"""Each route does what its description says, and what it answers is in the log."""

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from serve.log.database import connect
from serve.log.tables import campaigns, contacts, predictions
from serve.payloads import BATCH
from tests.factories import refuse, refuse_outcomes

Customer = dict[str, Any]


def logged(client: Any, request_id: str) -> list[Any]:
    with client.app.state.service.log.engine.connect() as connection:
        return list(connection.execute(select(predictions).where(predictions.c.request_id == request_id)))


def counted(client: Any, name: str) -> float:
    """The value of one line of /metrics, 0 where there is none."""
    found = re.findall(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[0]) if found else 0.0


def test_a_prediction_says_all_of_the_contract_and_is_in_the_log(client: Any, customer: Customer) -> None:
    answer = client.post("/predict", json=customer | {"customer_id": "c-1"}, headers={"X-Request-ID": "one"}).json()
    release = client.app.state.service.live.champion.release
    p, threshold = answer["churn_probability"], release.card["threshold"]["value"]
    assert answer == {
        "customer_id": "c-1",
        "churn_probability": p,
        "prediction": "churn" if p >= threshold else "no_churn",
        "confidence": p if p >= threshold else 1 - p,
        "threshold": threshold,
        "model_version": release.version,
        "arm": "champion",
        "request_id": "one",
        "warnings": [],
    }
    assert p == pytest.approx(release.golden()[0]["churn_probability"], abs=1e-6)
    (row,) = logged(client, "one")
    assert row.features == customer
    same = ("customer_id", "churn_probability", "prediction", "threshold", "model_version", "arm")
    assert {name: getattr(row, name) for name in same} == {name: answer[name] for name in same}
    assert row.latency_ms > 0


def test_the_id_of_a_customer_may_be_left_out(client: Any, customer: Customer) -> None:
    answer = client.post("/predict", json=customer).json()
    assert answer["customer_id"] is None
    assert len(logged(client, answer["request_id"])) == 1


def test_a_customer_whose_row_the_database_refuses_is_told_so_and_set_aside(client: Any, customer: Customer) -> None:
    log = client.app.state.service.log
    refuse(log.engine, "nobody")
    before = counted(client, "churn_log_refused_rows_total")
    words = "the prediction log's database takes no row of this customer (request id {})"
    alone = client.post("/predict", json=customer | {"customer_id": "nobody"}, headers={"X-Request-ID": "alone"})
    batch = {"customers": [customer, customer | {"customer_id": "nobody"}]}
    within = client.post("/predict/batch", json=batch, headers={"X-Request-ID": "batch"})
    for answer, name in ((alone, "alone"), (within, "batch-1")):
        assert answer.status_code == 422
        assert answer.json() == {"detail": [{"type": "not_logged", "loc": ["body"], "msg": words.format(name)}]}
    assert counted(client, "churn_log_refused_rows_total") == before + 2
    assert log.spool.refused_path.read_text().count('"customer_id":"nobody"') == 2
    assert client.get("/ready").json()["status"] == "ready"
    assert client.post("/predict", json=customer).status_code == 200


def test_an_outcome_that_the_database_refuses_is_named(client: Any) -> None:
    refuse_outcomes(client.app.state.service.log.engine, "outsider")
    sent = [{"customer_id": name, "churned": True, "observed_at": "2026-11-01"} for name in ("x", "outsider")]
    answer = client.post("/feedback", json={"outcomes": sent})
    words = "the prediction log's database takes no such outcome; the others are kept"
    assert answer.status_code == 422
    assert answer.json() == {"detail": [{"type": "not_logged", "loc": ["body", "outcomes", 1], "msg": words}]}


def test_a_batch_is_answered_in_order_and_its_requests_are_numbered(client: Any) -> None:
    golden = client.app.state.service.live.champion.release.golden()
    customers = [line["customer"] | {"customer_id": f"c{i}"} for i, line in enumerate(golden)]
    said = client.post("/predict/batch", json={"customers": customers}, headers={"X-Request-ID": "many"}).json()
    found = said["predictions"]
    assert [answer["customer_id"] for answer in found] == [f"c{i}" for i in range(len(golden))]
    assert [answer["request_id"] for answer in found] == [f"many-{i}" for i in range(len(golden))]
    for answer, line in zip(found, golden, strict=True):
        assert answer["churn_probability"] == pytest.approx(line["churn_probability"], abs=1e-6)
        assert len(logged(client, answer["request_id"])) == 1


def test_an_empty_batch_is_refused(client: Any) -> None:
    refused = client.post("/predict/batch", json={"customers": []})
    assert refused.status_code == 422
    assert [mistake["loc"] for mistake in refused.json()["detail"]] == [["body", "customers"]]


def test_the_first_wrong_customer_of_a_batch_is_named_with_all_that_is_wrong(client: Any, customer: Customer) -> None:
    customers = [customer, customer | {"tenure": -1, "contract": 7}, customer | {"tenure": -1}]
    refused = client.post("/predict/batch", json={"customers": customers})
    assert refused.status_code == 422
    places = [mistake["loc"] for mistake in refused.json()["detail"]]
    assert sorted(places) == [["body", "customers", 1, "contract"], ["body", "customers", 1, "tenure"]]


def test_a_level_never_seen_is_answered_with_a_warning_and_counted(client: Any, customer: Customer) -> None:
    name = 'churn_unseen_levels_total{column="contract"}'
    before = counted(client, name)
    answer = client.post("/predict", json=customer | {"contract": "Ten years"}).json()
    assert len(answer["warnings"]) == 1
    assert answer["warnings"][0].startswith("contract: ")
    assert "Ten years" not in answer["warnings"][0]
    assert counted(client, name) == before + 1


def test_a_missing_value_is_null_or_left_out(client: Any, customer: Customer) -> None:
    name = 'churn_missing_values_total{column="total_charges"}'
    before = counted(client, name)
    without = {key: value for key, value in customer.items() if key != "total_charges"}
    one = client.post("/predict", json=without).json()
    other = client.post("/predict", json=without | {"total_charges": None}).json()
    assert one["churn_probability"] == other["churn_probability"]
    assert counted(client, name) == before + 2


def test_an_explanation_adds_up_to_the_prediction_it_explains(client: Any, customer: Customer) -> None:
    answer = client.post("/explain", json=customer).json()
    total = math.fsum(part["contribution"] for part in answer["contributions"])
    assert total == pytest.approx(answer["churn_probability"] - answer["base_probability"], abs=1e-6)
    assert {part["feature"]: part["value"] for part in answer["contributions"]} == customer
    assert len(answer["reasons"]) == 3
    again = client.post("/explain", json=customer).json()
    assert again["contributions"] == answer["contributions"]
    assert len(logged(client, answer["request_id"])) == 1


def test_feedback_finds_predictions_and_sent_twice_changes_nothing(client: Any, customer: Customer) -> None:
    answer = client.post("/predict", json=customer | {"customer_id": "left"}).json()
    at = {"observed_at": datetime.now(UTC).isoformat()}
    outcomes = [
        {"customer_id": "left", "churned": True, **at},
        {"request_id": answer["request_id"], "churned": True, **at},
        {"customer_id": "nobody", "churned": False, **at},
        {"customer_id": "left", "churned": False, "observed_at": "2026-01-01T00:00:00Z"},  # before the answer
    ]
    for _ in range(2):
        receipt = client.post("/feedback", json={"outcomes": outcomes}).json()
        assert receipt == {"accepted": 4, "matched": 2, "unmatched": 2}


def test_the_longest_id_of_a_batch_s_last_customer_is_one_for_feedback(client: Any, customer: Customer) -> None:
    longest = {"X-Request-ID": "x" * 128}
    said = client.post("/predict/batch", json={"customers": [customer]}, headers=longest).json()
    last = said["predictions"][0]["request_id"].removesuffix("0") + str(BATCH - 1)
    outcome = {"request_id": last, "churned": True, "observed_at": "2026-11-01T00:00:00Z"}
    assert client.post("/feedback", json={"outcomes": [outcome]}).json()["accepted"] == 1


def test_the_documented_examples_work_as_they_stand(client: Any) -> None:
    document = client.get("/openapi.json").json()
    parts = document["components"]["schemas"]
    customer, outcome, contact = (parts[name]["examples"][0] for name in ("Customer", "Outcome", "Contact"))
    for path, content in (
        ("/predict", customer),
        ("/explain", customer),
        ("/predict/batch", {"customers": [customer]}),
        ("/feedback", {"outcomes": [outcome]}),
        ("/contacts", {"contacts": [contact]}),
    ):
        assert client.post(path, json=content).status_code == 200


def test_outcomes_that_cannot_be_kept_are_to_be_sent_again(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = client.app.state.service.log
    monkeypatch.setattr(log, "engine", connect(f"sqlite:///{tmp_path / 'missing/log.db'}"))
    outcome = {"customer_id": "a", "churned": False, "observed_at": "2026-11-01T00:00:00Z"}
    refused = client.post("/feedback", json={"outcomes": [outcome]})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")


CONTACT = {"customer_id": "a", "campaign": "spring", "offered": True, "share": 0.9, "at": "2026-11-01T00:00:00Z"}


def test_contacts_sent_twice_are_kept_once_and_a_correction_counts(client: Any) -> None:
    control = {**CONTACT, "customer_id": "b", "offered": False}
    mistaken = {**control, "offered": True}
    for sent in ([CONTACT, mistaken], [control, CONTACT], [CONTACT, control, control]):
        assert client.post("/contacts", json={"contacts": sent}).json() == {"accepted": len(sent)}
    with client.app.state.service.log.engine.connect() as connection:
        ours = select(contacts).where(contacts.c.campaign == "spring").order_by(contacts.c.customer_id)
        rows = connection.execute(ours).all()
        names = connection.scalars(select(campaigns.c.name).where(campaigns.c.name == "spring")).all()
    assert [(row.customer_id, row.campaign, row.offered, row.share) for row in rows] == [
        ("a", "spring", True, 0.9),
        ("b", "spring", False, 0.9),
    ]
    assert names == ["spring"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"offered": False, "share": 1},
        {"share": 0},
        {"share": 1.1},
        {"campaign": "a/b"},
        {"campaign": "x" * 65},
        {"customer_id": ""},
        {"at": "2126-11-01"},
        {"offered": "yes"},
        {"amount": 5},
    ],
)
def test_a_contact_that_cannot_be_is_refused(wrong: dict[str, Any], client: Any) -> None:
    refused = client.post("/contacts", json={"contacts": [CONTACT | wrong]})
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["loc"][:3] == ["body", "contacts", 0]


def test_contacts_that_cannot_be_kept_are_to_be_sent_again(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = client.app.state.service.log
    monkeypatch.setattr(log, "engine", connect(f"sqlite:///{tmp_path / 'missing/log.db'}"))
    refused = client.post("/contacts", json={"contacts": [CONTACT]})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")


def test_an_outcome_names_one_prediction_or_customer(client: Any) -> None:
    at = {"observed_at": "2026-11-01T00:00:00+02:00", "churned": False}
    for names in ({}, {"customer_id": "a", "request_id": "b"}, {"customer_id": ""}, {"customer_id": None}):
        refused = client.post("/feedback", json={"outcomes": [at | names]})
        assert refused.status_code == 422
        assert refused.json()["detail"][0]["loc"][:3] == ["body", "outcomes", 0]


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+23:00", "2026-11-01T00:00:00", "2026-11-01"])
def test_an_outcome_s_moment_may_be_any_of_the_past(at: str, client: Any) -> None:
    outcome = {"customer_id": "a", "churned": False, "observed_at": at}
    assert client.post("/feedback", json={"outcomes": [outcome]}).status_code == 200


def test_the_card_and_the_state_can_be_asked_for(client: Any) -> None:
    release = client.app.state.service.live.champion.release
    assert client.get("/model").json() == release.card
    assert client.get("/health").json() == {"status": "alive"}
    assert client.get("/ready").json() == {"status": "ready", "reason": "", "model_version": release.version}


def test_ready_says_what_is_wrong_and_whether_it_matters(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    log = client.app.state.service.log
    monkeypatch.setattr(log, "_recover", lambda: None)
    monkeypatch.setattr(log, "problem", "connection refused")
    degraded = client.get("/ready").json()
    assert (degraded["status"], degraded["reason"]) == (
        "degraded", "the log's database is down; rows go to the spool",
    )  # fmt: skip
    monkeypatch.setattr(log, "accepts", False)
    refused = client.get("/ready")
    assert (refused.status_code, refused.json()["status"]) == (503, "unready")
    assert refused.json()["reason"] == "the log's database is down, and the spool takes no rows"


def test_what_cannot_be_logged_is_not_answered(
    client: Any, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = client.app.state.service.log
    monkeypatch.setattr(log, "_recover", lambda: None)
    monkeypatch.setattr(log, "problem", "connection refused")
    monkeypatch.setattr(log.spool, "limit", 10)
    refused = client.post("/predict", json=customer)
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.json().keys() == {"detail"}


def test_the_documentation_needs_no_other_server(client: Any) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    for file in re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text):
        assert client.get(f"/{file}").status_code == 200
    assert not re.findall(r"https?://", page.text)
