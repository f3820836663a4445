"""A log line is one JSON object, and holds no more than it should."""

import asyncio
import json
import logging
import os
import sys

import pytest

from serve.telemetry import logs as jsonlog
from serve.telemetry.logs import JsonFormatter, StderrHandler, configure, raised_at, write_line


def line(message: str, *args: object, **more: object) -> dict[str, object]:
    record = logging.LogRecord("serve", logging.WARNING, __file__, 1, message, args, None)
    vars(record).update(more)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    found: dict[str, object] = json.loads(text)
    return found


def test_a_line_says_when_who_how_and_what() -> None:
    said = line("%d rows\nin all", 3, fields={"route": "/predict"})
    assert said.pop("at", "")
    assert said == {"level": "warning", "logger": "serve", "message": "3 rows\nin all", "route": "/predict"}


def test_an_error_is_told_by_its_type_and_place_alone() -> None:
    try:
        raise ValueError("tenure of Ms Secret is 3")
    except ValueError:
        said = line("failed", exc_info=sys.exc_info())
    assert "Secret" not in json.dumps(said)
    assert str(said["error"]).startswith("ValueError in test_an_error_is_told")


def test_what_json_cannot_say_is_said_as_text() -> None:
    said = line("%s", "caf\udce9", fields={"path": {1, 2}, 7: 8})
    assert (said["message"], said["path"], said["7"]) == ("caf\\udce9", "{1, 2}", 8)


class Mute:
    def __str__(self) -> str:
        raise ValueError("a secret")


@pytest.mark.parametrize(("message", "fields"), [("%d", {}), ("x %s", {"n": 2**64}), ("x %s", {"m": Mute()})])
def test_a_record_that_can_not_be_formatted_fails_nobody(message: str, fields: dict[str, object]) -> None:
    said = line(message, "a secret", fields=fields)
    assert (said["logger"], said["message"]) == ("serve", "a record that can't be formatted")
    assert "secret" not in json.dumps(said)


def test_requests_of_one_turn_are_lines_in_order(capfd: pytest.CaptureFixture[str]) -> None:
    async def requests() -> None:
        write_line({"status": 200})
        write_line({"status": 422, "route": "é"})

    asyncio.run(requests())
    first, second = map(json.loads, capfd.readouterr().err.splitlines())
    assert (first["status"], second["status"], second["route"]) == (200, 422, "é")
    assert first["logger"] == "serve.access"


def test_a_full_disk_behind_stderr_stops_neither_requests_nor_later_lines(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def request(status: int) -> None:
        write_line({"status": status})

    full = os.open("/dev/full", os.O_WRONLY)
    with monkeypatch.context() as patch:
        patch.setattr(jsonlog, "STDERR", full)
        asyncio.run(request(1))
        handler = StderrHandler()
        handler.setFormatter(JsonFormatter())
        handler.emit(logging.LogRecord("serve", logging.INFO, __file__, 1, "x", (), None))
    os.close(full)
    asyncio.run(request(2))
    (said,) = capfd.readouterr().err.splitlines()
    assert json.loads(said)["status"] == 2


def test_an_error_without_a_place_has_a_name() -> None:
    assert raised_at(KeyError("secret")) == "KeyError"


def test_uvicorn_speaks_json_too_and_its_access_lines_are_off(capfd: pytest.CaptureFixture[str]) -> None:
    names = ("serve", "uvicorn", "uvicorn.error", "uvicorn.access")
    before = {name: vars(logging.getLogger(name)).copy() for name in names}
    try:
        configure()
        logging.getLogger("uvicorn.error").info("started")
        logging.getLogger("uvicorn.access").info("GET /")
        (said,) = capfd.readouterr().err.splitlines()
        assert json.loads(said)["message"] == "started"
        assert not logging.getLogger("uvicorn.access").hasHandlers()
    finally:
        for name, kept in before.items():
            vars(logging.getLogger(name)).update(kept)
