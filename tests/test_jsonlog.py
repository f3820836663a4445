"""A log line is one JSON object, and holds no more than it should."""

import json
import logging
import sys

import pytest

from serve.jsonlog import JsonFormatter, configure, place


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
    assert line("x", fields={"path": {1, 2}})["path"] == "{1, 2}"


def test_an_error_without_a_place_has_a_name() -> None:
    assert place(KeyError("secret")) == "KeyError"


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
