"""A session is begun by a key, ends by itself and with the key, and is nobody else's."""

import time

import pytest

from serve.http.auth import ApiKeys
from serve.web.sessions import COOKIE, SESSION_SECONDS, Sessions, Visitor, is_from


def made(keys: tuple[str, ...] = ("r",), admin: tuple[str, ...] = ("a",)) -> Sessions:
    return Sessions(ApiKeys(keys), ApiKeys(admin, ("anna",)), [*keys, *admin])


def test_a_session_is_known_to_every_worker_with_the_same_keys() -> None:
    begun, cookie = made().begin(made().of_key(b"a"))
    assert made().of_request({}, {COOKIE: cookie}) == begun
    assert (begun.role, begun.name) == ("act", "anna")


@pytest.mark.parametrize("other", [made(("r2",)), made(admin=("a2",)), made(("r", "r2"))])
def test_a_session_ends_with_any_of_the_keys(other: Sessions) -> None:
    _, cookie = made().begin(Visitor("act", "anna"))
    assert other.of_request({}, {COOKIE: cookie}) == Visitor("none")


def test_a_session_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    _, cookie = made().begin(Visitor("read"))
    now = time.time()
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: now + SESSION_SECONDS + 2)
    assert made().of_request({}, {COOKIE: cookie}) == Visitor("none")


@pytest.mark.parametrize("change", [lambda text: text[:-1], lambda text: "x" + text, lambda text: "", str.swapcase])
def test_a_cookie_that_was_tampered_with_counts_as_none(change: object) -> None:
    assert callable(change)
    _, cookie = made().begin(Visitor("act", "anna"))
    assert made().of_request({}, {COOKIE: change(cookie)}) == Visitor("none")


def test_every_session_has_forms_of_its_own() -> None:
    first, second = (made().begin(Visitor("read"))[0] for _ in range(2))
    assert is_from(first, first.form)
    assert not is_from(second, first.form)
    assert not is_from(Visitor("read"), "")


def test_without_keys_everybody_reads_and_nobody_acts() -> None:
    assert made((), ()).of_request({}, {}) == Visitor("read")
    assert made((), ()).of_key(b"a") == Visitor("read")
    assert made((), ("a",)).of_key(b"b") == Visitor("read")
    assert made((), ("a",)).of_key(b"a").may_act


def test_what_is_kept_belongs_to_the_key_in_every_session() -> None:
    sessions = made()
    (first, cookie), (second, _) = (sessions.begin(sessions.of_key(b"r")) for _ in range(2))
    assert first.owner == second.owner == sessions.of_request({"x-api-key": "r"}, {}).owner != ""
    assert sessions.of_request({}, {COOKIE: cookie}).owner == first.owner
    assert first.owner != sessions.of_key(b"a").owner
    assert not sessions.of_key(b"none of them").owner
