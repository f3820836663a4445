"""What every request passes, and what every answer carries."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from serve.http.auth import ApiKeys
from serve.http.middleware import HEADERS, POLICY, Rules
from serve.http.rate_limit import RateLimit
from serve.settings import Rate

ANSWERS = [
    ("GET", "/health", None, 200),
    ("GET", "/docs", None, 200),
    ("GET", "/nothing", None, 404),
    ("POST", "/predict/", {}, 404),
    ("PUT", "/predict", {}, 405),
    ("POST", "/predict", {}, 422),
    ("POST", "/feedback", {"outcomes": []}, 422),
]


@pytest.fixture
def rules(client: Any) -> Iterator[Any]:
    """Sets the rules for a test."""
    state, before = client.app.state, client.app.state.rules

    def put(
        keys: tuple[str, ...] = (),
        rate: Rate | None = None,
        max_body: int = before.max_body,
        origins: tuple[str, ...] = (),
    ) -> None:
        state.rules = Rules(ApiKeys(keys), ApiKeys(()), RateLimit(rate, None) if rate else None, max_body, origins)

    yield put
    state.rules = before


@pytest.mark.parametrize(("method", "path", "content", "status"), ANSWERS)
def test_every_answer_has_the_security_headers_and_an_id(
    method: str, path: str, content: Any, status: int, client: Any
) -> None:
    answer = client.request(method, path, json=content)
    assert answer.status_code == status
    for name, value in HEADERS:
        assert answer.headers[name.decode()] == value.decode()
    assert "frame-ancestors 'none'" in answer.headers[POLICY[0].decode()]
    assert answer.headers["x-request-id"]
    if status >= 400:
        assert answer.json().keys() == {"detail"}


def test_an_id_is_kept_or_made(client: Any) -> None:
    for given in ("abc-1.2:3_x", "a" * 128):
        assert client.get("/health", headers={"X-Request-ID": given}).headers["x-request-id"] == given
    made = {client.get("/health").headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    for odd in ("", "a b", "a" * 129, 'a"b', "ü".encode("latin-1")):
        assert client.get("/health", headers={"X-Request-ID": odd}).headers["x-request-id"] not in {odd, *made}


def test_with_keys_only_they_open_and_machines_may_still_look(client: Any, customer: Any, rules: Any) -> None:
    rules(keys=("one", "two"))
    for key in ("one", "two"):
        assert client.post("/predict", json=customer, headers={"X-API-Key": key}).status_code == 200
    for headers in ({}, {"X-API-Key": "three"}, {"X-API-Key": ""}):
        refused = client.post("/predict", json=customer, headers=headers)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "ApiKey")
        assert client.get("/model", headers=headers).status_code == 401
    for path in ("/health", "/ready", "/metrics", "/docs", "/docs/swagger-ui.css", "/openapi.json"):
        assert client.get(path).status_code == 200


def test_each_key_has_a_rate_of_its_own_and_a_wrong_one_is_counted_by_address(client: Any, rules: Any) -> None:
    rules(keys=("one", "two"), rate=Rate(2, 3600))
    statuses = [
        client.get("/model", headers={"X-API-Key": key}).status_code
        for key in ("one", "one", "one", "two", "x", "y", "z")
    ]
    assert statuses == [200, 200, 429, 200, 401, 401, 429]
    refused = client.get("/model", headers={"X-API-Key": "one"})
    assert 1000 < int(refused.headers["retry-after"]) < 3600


def test_a_large_body_is_refused_before_it_is_read(client: Any, rules: Any) -> None:
    rules(max_body=1000)

    def body() -> Iterator[bytes]:
        raise AssertionError("nobody should ask for it")
        yield b""

    headers = {"Content-Length": "1001", "Content-Type": "application/json"}
    with client.stream("POST", "/predict", content=b"x" * 1001, headers=headers) as refused:
        assert refused.status_code == 413
    assert client.post("/predict", content=b" " * 1000, headers=headers | {"Content-Length": "1000"}).status_code == 422


def test_a_large_body_without_a_length_is_cut_off(client: Any, rules: Any) -> None:
    rules(max_body=1000)
    sent = []

    def body() -> Iterator[bytes]:
        for _ in range(100):
            sent.append(100)
            yield b" " * 100

    refused = client.post("/predict", content=body(), headers={"Content-Type": "application/json"})
    assert refused.status_code == 413
    assert refused.json() == {"detail": "the body has more than 1000 bytes"}


@pytest.mark.parametrize("length", ["-1", "ten", "1e3", "99999999999999999999", ""])
def test_a_length_that_is_none_is_refused(length: str, client: Any) -> None:
    headers = {"Content-Length": length, "Content-Type": "application/json"}
    assert client.post("/predict", content=b"{}", headers=headers).status_code == 413


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "json", "application/jsonx"])
def test_a_body_that_is_not_called_json_is_refused(kind: str, client: Any, customer: Any) -> None:
    refused = client.post("/predict", content=json.dumps(customer), headers={"Content-Type": kind})
    assert (refused.status_code, refused.json().keys()) == (415, {"detail"})


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"])
def test_json_by_any_of_its_names_is_read(kind: str, client: Any, customer: Any) -> None:
    answer = client.post("/predict", content=json.dumps(customer), headers={"Content-Type": kind})
    assert answer.status_code == 200


@pytest.mark.parametrize(("method", "path"), [("POST", "/predict"), ("POST", "/explain"), ("GET", "/ready")])
def test_an_error_of_the_service_shows_nothing_of_itself(
    method: str,
    path: str,
    client: Any,
    customer: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(f"a secret: {customer}")

    service = client.app.state.service
    monkeypatch.setattr(service.live.champion.scorer, "run", fail)
    monkeypatch.setattr(service.log, "state", fail)
    capfd.readouterr()
    answer = client.request(method, path, json=customer, headers={"X-Request-ID": "failed-1"})
    assert answer.status_code == 500
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.json() == {"detail": "an error of the service; its log has the request id"}
    said = capfd.readouterr().err
    failed, access = map(json.loads, said.splitlines())
    assert failed["request_id"] == access["request_id"] == "failed-1"
    assert failed["error"].startswith("RuntimeError in fail, test_middleware.py:")
    assert (access["status"], access["error"]) == (500, "RuntimeError")
    assert "secret" not in said


def test_a_client_that_leaves_before_its_body_is_whole_gets_nothing(client: Any, capfd: Any) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/predict", "headers": [(b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1), "query_string": b"",
    }  # fmt: skip
    asyncio.run(client.app(scope, receive, send))
    assert sent == []
    assert '"status":499' in capfd.readouterr().err


# what clients and what stands between say of a request


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_a_load_balancer_may_ask_for_the_head_alone(path: str, client: Any) -> None:
    answer = client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert client.head("/predict").status_code == 405


@pytest.mark.parametrize(
    ("header", "value", "words"),
    [
        ("Content-Type", "text/plain", "the body's Content-Type is not application/json"),
        ("Content-Type", "application/json; charset=latin-1", "the body's charset is not utf-8, the only one of JSON"),
        ("Content-Encoding", "gzip", "the body has a Content-Encoding; send it without one"),
        ("Content-Encoding", "br, identity", "the body has a Content-Encoding; send it without one"),
    ],
)
def test_a_body_in_another_form_is_refused_in_words(
    header: str, value: str, words: str, client: Any, customer: dict[str, Any]
) -> None:
    headers = {"Content-Type": "application/json", header: value}
    answer = client.post("/predict", content=json.dumps(customer), headers=headers)
    assert (answer.status_code, answer.json()) == (415, {"detail": words})


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [
        ("application/json", "identity"),
        ("application/json;charset=UTF-8", "identity"),
        ('Application/JSON; charset="utf-8"', "Identity"),
        ("application/problem+json; profile=x", "identity"),
    ],
)
def test_a_body_declared_as_json_is_read_also_with_a_byte_order_mark(
    kind: str, encoding: str, client: Any, customer: dict[str, Any]
) -> None:
    headers = {"Content-Type": kind, "Content-Encoding": encoding}
    for mark in (b"", b"\xef\xbb\xbf"):
        answer = client.post("/predict", content=mark + json.dumps(customer).encode(), headers=headers)
        assert answer.status_code == 200, answer.text


def test_a_websocket_is_closed_and_is_no_error(client: Any) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/predict"):
        pass


PAGE = {"Origin": "https://crm.example.org"}
PREFLIGHT = PAGE | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key,content-type"}


def test_pages_of_other_origins_may_not_call_unless_they_are_named(client: Any, rules: Any) -> None:
    answer = client.get("/health", headers=PAGE)
    assert "access-control-allow-origin" not in answer.headers
    assert client.options("/predict", headers=PREFLIGHT).status_code == 405


def test_a_page_of_a_named_origin_asks_first_without_a_key_and_then_calls_with_it(
    client: Any, rules: Any, customer: dict[str, Any]
) -> None:
    rules(keys=("key",), origins=("https://crm.example.org",))
    first = client.options("/predict", headers=PREFLIGHT)
    assert (first.status_code, first.headers["access-control-allow-origin"]) == (200, PAGE["Origin"])
    other = client.options("/predict", headers=PREFLIGHT | {"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    for headers, status in ((PAGE, 401), (PAGE | {"X-API-Key": "key"}, 200)):
        answer = client.post("/predict", json=customer, headers=headers)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == PAGE["Origin"]
