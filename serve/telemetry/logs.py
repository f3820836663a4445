"""Structured logs: one JSON object per line on stderr, without tracebacks and without customers' values."""

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
    """Time, level, logger and message of a record, and the fields of its `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"at": at, "level": record.levelname.lower(), "logger": record.name}
        try:
            return self._text(line | self._fields(record))
        except Exception as error:  # logging must not fail the code that logs
            return self._text(line | {"message": "a record that can't be formatted", "error": raised_at(error)})

    @staticmethod
    def _fields(record: logging.LogRecord) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if message := record.getMessage():
            fields["message"] = message.encode(errors="backslashreplace").decode()  # a file's name may hold any byte
        fields |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1]:
            fields["error"] = raised_at(record.exc_info[1])
        return fields

    @staticmethod
    def _text(line: dict[str, Any]) -> str:
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class StderrHandler(logging.Handler):
    """Writes by the same call as the lines of requests, so that lines do not interleave."""

    def emit(self, record: logging.LogRecord) -> None:
        write(self.format(record).encode() + b"\n")


def write(content: bytes) -> None:
    """Write to stderr; ignore a full disk or a closed pipe."""
    with suppress(OSError):
        os.write(STDERR, content)


_lines: list[bytes] = []


def write_line(fields: dict[str, Any]) -> None:
    """Write the line of one request, together with all others of this turn of the event loop.

    `logging` would take a tenth of the request's time.
    """
    if not _lines:
        asyncio.get_running_loop().call_soon(flush)
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    _lines.append(orjson.dumps({"at": at, "level": "info", "logger": "serve.access", **fields}, option=NEWLINE))


def flush() -> None:
    write(b"".join(_lines))
    _lines.clear()


def raised_at(error: BaseException) -> str:
    """Return the error's type and the line that raised it, not its message, which may hold a customer's values."""
    where: TracebackType | None = error.__traceback__
    while where and where.tb_next:
        where = where.tb_next
    if where is None:
        return type(error).__name__
    code = where.tb_frame.f_code
    return f"{type(error).__name__} in {code.co_name}, {Path(code.co_filename).name}:{where.tb_lineno}"


def configure() -> None:
    """Send the service's and uvicorn's logs to stderr as JSON; the service's own lines replace uvicorn's access log."""
    handler = StderrHandler()
    handler.setFormatter(JsonFormatter())
    for name in ("serve", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel("INFO")
    logging.getLogger("uvicorn.error").handlers = []
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False
