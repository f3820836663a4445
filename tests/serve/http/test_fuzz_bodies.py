"""Whatever bytes come as a body, the answer is a logged probability or a refusal that shows none of them."""

import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from serve.http.json_route import MAX_FIELDS
from serve.log.tables import predictions

NUMBERS = ["tenure", "monthly_charges", "total_charges"]
ODD = ["-0.0", "5e-324", "1e308", "1e309", "-1e400", "NaN", "Infinity", "-Infinity", "1e", "0x1", "+1", "01", ".5"]
ODD += ["1_0", "true", '"1"', "[1]", "{}", "null"]
JSON = {"Content-Type": "application/json"}
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def answered(client: Any, body: bytes, path: str = "/predict") -> Any:
    """The answer, after the law was checked."""
    answer = client.post(path, content=body, headers=JSON)
    content = answer.json()
    assert answer.headers["content-type"] == "application/json"
    if answer.status_code == 200:
        assert math.isfinite(content["churn_probability"])
        assert 0 <= content["churn_probability"] <= 1
        query = select(predictions.c.churn_probability).where(predictions.c.request_id == content["request_id"])
        with client.app.state.service.log.engine.connect() as connection:
            assert connection.scalars(query).all() == [content["churn_probability"]]
    else:
        assert answer.status_code in (413, 422)
        assert answer.status_code == 413 or all(mistake["loc"][0] == "body" for mistake in content["detail"])
    return answer


def with_raw(customer: dict[str, Any], name: str, raw: str) -> bytes:
    """The customer as JSON, one value replaced by this text."""
    return json.dumps(customer | {name: "MARK"}).replace('"MARK"', raw).encode()


@shared
@given(body=st.binary(max_size=200))
@example(body=b"")
@example(body=b"null")
@example(body=b"[" * 100_000)
@example(body=b'{"a":' * 100_000)
@example(body=b"\xef\xbb\xbf{}")
@example(body='{"tenure": "\ud800"}'.encode("utf-8", "surrogatepass"))
def test_any_bytes(client: Any, body: bytes) -> None:
    assert answered(client, body).status_code == 422


@shared
@given(
    name=st.sampled_from(NUMBERS),
    number=st.one_of(
        st.floats().map(repr), st.integers().map(str), st.integers(300, 400).map(lambda n: "9" * n),
        st.sampled_from(ODD),
    ),
)  # fmt: skip
def test_extreme_numbers(client: Any, customer: dict[str, Any], name: str, number: str) -> None:
    answer = answered(client, with_raw(customer, name, number))
    if answer.status_code == 422:
        places = [mistake["loc"] for mistake in answer.json()["detail"]]
        # a text that is no JSON has no field
        assert places in ([["body", name]], [["body"]])


@shared
@given(name=st.sampled_from(["contract", "customer_id", "gender"]), value=st.text(max_size=300))
@example(name="contract", value="\0")
@example(name="customer_id", value="a\u202eb\u0301\U0001f600")
def test_any_text(client: Any, customer: dict[str, Any], name: str, value: str) -> None:
    answer = answered(client, json.dumps(customer | {name: value}).encode())
    missing = client.app.state.service.live.champion.release.schema.missing  # no level: training reads none there
    is_name, is_level = 1 <= len(value) <= 128, len(value) <= 200 and value.strip() not in ("", *missing)
    fits = "\0" not in value and (is_name if name == "customer_id" else is_level)
    assert answer.status_code == (200 if fits else 422)
    if answer.status_code == 422:
        assert value == "" or json.dumps(value)[1:-1] not in "".join(m["msg"] for m in answer.json()["detail"])


@pytest.mark.parametrize("raw", ['"\\ud800"', '"\\udfff\\ud800"', '"\\x"', '"\n"', "'a'"])
def test_broken_texts_are_refused(client: Any, customer: dict[str, Any], raw: str) -> None:
    assert answered(client, with_raw(customer, "contract", raw)).status_code == 422


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@shared
@given(
    changes=st.dictionaries(st.one_of(st.sampled_from(["tenure", "partner", "contract"]), st.text(max_size=8)), values)
)
def test_any_json_in_any_field(client: Any, customer: dict[str, Any], changes: dict[str, Any]) -> None:
    answer = answered(client, json.dumps(customer | changes).encode())
    if answer.status_code == 422:
        assert {mistake["loc"][1] for mistake in answer.json()["detail"]} <= changes.keys()


@shared
@given(path=st.sampled_from(["/predict/batch", "/explain", "/feedback", "/contacts"]), content=values)
def test_any_json_anywhere(client: Any, path: str, content: Any) -> None:
    for body in (content, {"customers": content}, {"outcomes": content}, {"customers": [content]}):
        assert answered(client, json.dumps(body).encode(), path).status_code == 422


@pytest.mark.parametrize("name", NUMBERS)
def test_a_range_ends_where_the_schema_says(client: Any, customer: dict[str, Any], name: str) -> None:
    column = client.app.state.service.live.champion.release.schema.column(name)
    for value, status in (
        (column.low, 200),
        (column.high, 200),
        (math.nextafter(column.low, -math.inf), 422),
        (math.nextafter(column.high, math.inf), 422),
    ):
        assert answered(client, json.dumps(customer | {name: value}).encode()).status_code == status


def test_of_a_key_that_comes_twice_the_last_one_counts_in_answer_and_log(client: Any, customer: dict[str, Any]) -> None:
    twice = json.dumps(customer)[:-1] + ', "tenure": 7, "tenure": 8}'
    answer = answered(client, twice.encode()).json()
    assert (
        answer["churn_probability"]
        == answered(client, json.dumps(customer | {"tenure": 8}).encode()).json()["churn_probability"]
    )
    query = select(predictions.c.features).where(predictions.c.request_id == answer["request_id"])
    with client.app.state.service.log.engine.connect() as connection:
        assert connection.scalars(query).one()["tenure"] == 8


@pytest.mark.parametrize("wrap", ["{}", '{{"customers": [{}]}}', '{{"outcomes": [{}]}}'])
@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/feedback", "/contacts"])
def test_a_crowd_of_fields_is_one_mistake(client: Any, path: str, wrap: str) -> None:
    crowd = json.dumps({f"f{i}": 0 for i in range(MAX_FIELDS + 1)})
    assert len(answered(client, wrap.format(crowd).encode(), path).json()["detail"]) == 1


def test_a_field_that_is_repeated_is_one_mistake(client: Any, customer: dict[str, Any]) -> None:
    body = json.dumps(customer)[:-1] + ', "a": 0' * 200_000 + "}"
    (mistake,) = answered(client, body.encode()).json()["detail"]
    assert mistake["loc"] == ["body", "a"]


def test_a_huge_body_is_read_up_to_the_bound_and_no_further(client: Any, customer: dict[str, Any]) -> None:
    bound = client.app.state.rules.max_body
    body = json.dumps(customer).encode()
    assert answered(client, body + b" " * (bound - len(body))).status_code == 200
    assert answered(client, body + b" " * (bound - len(body) + 1)).status_code == 413
