"""Structured logs: one JSON object a line on stderr, without a traceback and without a customer's values."""

import asyncio
import logging
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

STDERR = 2
NEWLINE = orjson.OPT_APPEND_NEWLINE


class JsonFormatter(logging.Formatter):
    """Time, level, logger and sentence of a record, and what its `extra={"fields": {...}}` holds."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"at": at, "level": record.levelname.lower(), "logger": record.name}
        try:
            return self._text(line | self._said(record))
        except Exception as error:  # it shall not fail what it tells of
            return self._text(line | {"message": "a line that can't be told", "error": place(error)})

    @staticmethod
    def _said(record: logging.LogRecord) -> dict[str, Any]:
        said: dict[str, Any] = {}
        if message := record.getMessage():
            said["message"] = message.encode(errors="backslashreplace").decode()  # a file's name may hold any byte
        said |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1]:
            said["error"] = place(record.exc_info[1])
        return said

    @staticmethod
    def _text(line: dict[str, Any]) -> str:
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class StderrHandler(logging.Handler):
    """Writes where requests' lines are written, so that neither cuts into the other."""

    def emit(self, record: logging.LogRecord) -> None:
        write(self.format(record).encode() + b"\n")


def write(content: bytes) -> None:
    """Write to stderr; a full disk or a closed pipe behind it is no reason to fail."""
    with suppress(OSError):
        os.write(STDERR, content)


_lines: list[bytes] = []


def write_line(fields: dict[str, Any]) -> None:
    """One line for a request, written at the end of this turn of the event loop with the others of that turn.

    Not through `logging`, which takes as long as a tenth of the request.
    """
    if not _lines:
        asyncio.get_running_loop().call_soon(flush)
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    _lines.append(orjson.dumps({"at": at, "level": "info", "logger": "serve.access", **fields}, option=NEWLINE))


def flush() -> None:
    write(b"".join(_lines))
    _lines.clear()


def place(error: BaseException) -> str:
    """The error's type and where it was raised; its message may hold a customer's values."""
    where: TracebackType | None = error.__traceback__
    while where and where.tb_next:
        where = where.tb_next
    if where is None:
        return type(error).__name__
    code = where.tb_frame.f_code
    return f"{type(error).__name__} in {code.co_name}, {Path(code.co_filename).name}:{where.tb_lineno}"


def configure() -> None:
    """Send the service's and uvicorn's logs to stderr as JSON; the service's lines stand for uvicorn's access log."""
    handler = StderrHandler()
    handler.setFormatter(JsonFormatter())
    for name in ("serve", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel("INFO")
    logging.getLogger("uvicorn.error").handlers = []
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False
