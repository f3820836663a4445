"""A customer's page: the answer is /predict's bit for bit, no what-if is an answer, and what is wrong is named."""

import json
import math
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from churn.schema import Schema
from serve.log.tables import predictions
from serve.web.customers.fields import customer_of, field_of, texts_of
from tests.serve.web.conftest import READER

WHAT_IF = "/what-if"


def sent(client: Any, customer: dict[str, Any], path: str = "/console/customers", **changes: str) -> Any:
    form = {"unchanged": json.dumps(customer), "customer_id": "", "version": "", **texts_of(customer), **changes}
    return client.post(path, data=form)


def rows(client: Any) -> int:
    with client.app.state.service.log.engine.connect() as connection:
        return int(connection.scalar(select(func.count()).select_from(predictions)) or 0)


def values(schema: Schema) -> Any:
    """Customers anywhere in the schema's bounds."""
    parts = {}
    for column in schema.columns:
        if column.type == "number":
            part: Any = st.floats(max(column.low, -1e15), min(column.high, 1e15))
        elif column.type == "boolean":
            part = st.booleans()
        else:
            part = st.sampled_from([*(column.levels or ()), "another one"])
        parts[column.name] = st.one_of(st.none(), part) if column.nullable else part
    return st.fixed_dictionaries(parts)


def test_what_if_is_what_predict_answers_bit_for_bit(client: Any) -> None:
    schema = client.app.state.service.live.champion.release.schema

    @settings(max_examples=60, deadline=None)
    @given(values(schema))
    def holds(customer: dict[str, Any]) -> None:
        answered = client.post("/predict", json=customer).json()
        asked = client.post(WHAT_IF, json=customer).json()
        assert asked["churn_probability"].hex() == answered["churn_probability"].hex()
        assert [asked[key] for key in ("prediction", "threshold", "model_version", "warnings")] == [
            answered[key] for key in ("prediction", "threshold", "model_version", "warnings")
        ]
        again = customer_of(texts_of(customer), schema)  # by the texts of a form
        assert client.post(WHAT_IF, json=again).json()["churn_probability"] == answered["churn_probability"]

    holds()


def test_the_reasons_are_those_of_explain(client: Any, customer: dict[str, Any]) -> None:
    explained = client.post("/explain", json=customer).json()
    asked = client.post(WHAT_IF, json=customer).json()
    for key in ("base_probability", "contributions", "reasons"):
        assert asked[key] == explained[key]


def test_no_what_if_is_logged_or_counted(client: Any, customer: dict[str, Any]) -> None:
    def counted() -> list[str]:
        return re.findall(
            r"^churn_(?:predictions|probability|unseen|missing)\S* .+$", client.get("/metrics").text, re.M
        )

    before = rows(client), counted()
    assert sent(client, customer, tenure="3").status_code == 200
    assert client.post(WHAT_IF, json=customer).status_code == 200
    assert (rows(client), counted()) == before


def test_a_change_is_shown_beside_the_unchanged_answer(client: Any, customer: dict[str, Any]) -> None:
    page = sent(client, customer, tenure="1").text
    before, after = (client.post(WHAT_IF, json=each).json() for each in (customer, {**customer, "tenure": 1.0}))
    shown = re.findall(r'class="figure">([\d.]+%)', page)
    assert shown == [f"{each['churn_probability']:.1%}" for each in (before, after)]
    assert "Changed: Tenure" in page
    assert "Changed" not in sent(client, customer).text


def test_what_is_wrong_stands_beside_its_field(client: Any, customer: dict[str, Any]) -> None:
    answer = sent(client, customer, tenure="-1", monthly_charges="many", partner="perhaps")
    assert answer.status_code == 422
    for name in ("tenure", "monthly_charges", "partner"):
        (mistake,) = re.findall(rf'id="f-{name}-mistake">([^<]+)<', answer.text)
        assert mistake
        assert f'href="#f-{name}"' in answer.text
    assert "many" not in re.sub(r'value="many"', "", answer.text)


def test_texts_are_escaped(client: Any, customer: dict[str, Any]) -> None:
    evil = '"><script>alert(1)</script>'
    changed = sent(client, customer, contract=evil).text
    looked = client.post("/console/customers/look-up", data={"customer_id": evil}).text
    for page in (changed, looked):
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page


def test_the_log_tells_what_became_of_a_customer(client: Any, customer: dict[str, Any]) -> None:
    now = datetime.now(UTC).isoformat()
    for tenure in (2.0, 3.0):
        client.post("/predict", json={**customer, "customer_id": "c-past", "tenure": tenure})
    contact = {"customer_id": "c-past", "campaign": "autumn", "offered": False, "share": 0.5, "at": now}
    assert client.post("/contacts", json={"contacts": [contact]}).status_code == 200
    outcome = {"customer_id": "c-past", "churned": True, "observed_at": now}
    assert client.post("/feedback", json={"outcomes": [outcome]}).status_code == 200
    page = client.post("/console/customers/look-up", data={"customer_id": " c-past "}).text
    assert 'name="tenure" type="number" value="3"' in page
    assert page.count('<td class="text">champion</td>') == 2
    assert "autumn, held back as control" in page
    assert ": left</li>" in page


def test_an_unknown_customer_is_a_sentence(client: Any) -> None:
    page = client.post("/console/customers/look-up", data={"customer_id": "nobody"}).text
    assert "The log has no answer for the customer nobody" in page
    assert "Write a customer&#39;s id" in client.post("/console/customers/look-up", data={"customer_id": ""}).text


def test_a_page_of_another_release_says_so(client: Any, customer: dict[str, Any]) -> None:
    assert "the page was opened with 0123456789ab" in sent(client, customer, version="0123456789ab").text
    assert "the page was opened with" not in sent(client, customer).text


@pytest.mark.parametrize("unchanged", ["", "[]", "{", "1"])
def test_a_tampered_form_is_a_page(unchanged: str, client: Any, customer: dict[str, Any]) -> None:
    page = sent(client, customer, unchanged=unchanged)
    assert page.status_code == 422
    assert "the form lacks the customer as it was" in page.text


def test_forms_of_other_sites_and_without_a_key_are_refused(console: Any, client: Any) -> None:
    foreign = {"sec-fetch-site": "cross-site"}
    assert client.post("/console/customers", data={"a": "b"}, headers=foreign).status_code == 403
    assert console.post("/console/customers/look-up", data={"customer_id": "c"}).status_code == 303
    assert console.post(WHAT_IF, json={}).status_code == 401
    assert console.post(WHAT_IF, json={}, headers={"X-API-Key": READER}).status_code == 422


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e15, -1.5e-12, 72.0, math.pi, 0.0])
def test_a_number_survives_the_form(value: float) -> None:
    schema = Schema.model_validate(
        {"target": {"name": "churned", "positive": "1", "negative": "0"}, "columns": [{"name": "n", "type": "number"}]}
    )
    assert customer_of(texts_of({"n": value}), schema) == {"n": value}


def test_a_field_tells_its_unit_and_range(client: Any) -> None:
    columns = {column.name: column for column in client.app.state.service.live.champion.release.schema.columns}
    tenure = field_of(columns["tenure"], ())
    assert (tenure.kind, tenure.required) == ("number", True)
    assert tenure.note.endswith("in months; 0 to 1,200")
    assert field_of(columns["total_charges"], ()).note.endswith("may be missing")
    assert field_of(columns["contract"], ()).options[0] == ("Month-to-month", "Month-to-month")
