"""A route of FastAPI without its detours: bytes to a checked model, and what comes back to bytes."""

from collections.abc import Awaitable, Callable
from itertools import chain
from typing import Any

import orjson
from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError, from_json
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from serve.http.middleware import Refused, too_large
from serve.telemetry.call import Call

MISTAKES = 100  # of one request are named at most
FIELDS = 10_000  # of one object; to say what is wrong with a million takes seconds, and gigabytes
LARGE = 2**16  # bytes; less has no room for so many


class JSONRoute(APIRoute):
    """A route that FastAPI documents and pydantic alone checks.

    FastAPI's way from bytes to models and back costs twice the prediction. The endpoint takes what the body holds and
    the Request, and returns what orjson writes.
    """

    def __init__(self, path: str, endpoint: Callable[..., Awaitable[Any]], **options: Any):
        super().__init__(path, endpoint, **options)
        assert self.body_field is not None  # nosec B101: tells mypy that each of these routes takes a body
        validate = TypeAdapter[Any](self.body_field.field_info.annotation or Any).validator.validate_python

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            call: Call = scope["call"]
            try:
                given = validate(parse(await read_body(scope, receive, call)))
            except ValidationError as error:
                call.error = "validation"
                status, answer = 422, mistakes(error)
            else:
                status, answer = 200, orjson.dumps(await endpoint(given, Request(scope)))
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": answer})

        self.app = app


async def read_body(scope: Scope, receive: Receive, call: Call) -> bytes:
    kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    if not is_json(kind):
        raise Refused(415, "content_type", "the body's Content-Type is not application/json")
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > call.max_body:
            raise too_large(call.max_body)
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def is_json(content_type: bytes) -> bool:
    kind = content_type.partition(b";")[0].strip().lower()
    return kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))


def parse(body: bytes) -> Any:
    """What the JSON holds; of a key that comes twice the last one counts.

    Read before it is checked: a checker that reads reports every repetition, and copies what lacks a field.
    """
    try:
        given = from_json(body)
    except ValueError as error:
        raise wrong("json_invalid", f"Invalid JSON: {error}") from None
    if len(body) > LARGE and crowded(given):
        raise wrong("too_many_fields", f"An object has more than {FIELDS} fields")
    return given


def crowded(given: Any) -> bool:
    """Whether an object has too many fields, be it all there is or one of a list."""
    lists = [part for part in given.values() if isinstance(part, list)] if isinstance(given, dict) else []
    return any(isinstance(part, dict) and len(part) > FIELDS for part in chain([given], *lists))


def wrong(kind: str, words: str) -> ValidationError:
    """What is wrong with a body as a whole."""
    return ValidationError.from_exception_data("body", [{"type": PydanticCustomError(kind, words), "input": None}])


def mistakes(error: ValidationError) -> bytes:
    """What is wrong with a body, as FastAPI says it, without the values that are wrong."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[:MISTAKES]
    return orjson.dumps({"detail": [{**mistake, "loc": ["body", *mistake["loc"]]} for mistake in found]})
