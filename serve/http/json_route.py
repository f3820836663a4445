"""A FastAPI route on a short path: from bytes to a checked body, from the result to bytes."""

from collections.abc import Awaitable, Callable
from itertools import chain
from typing import Any

import orjson
from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, from_json
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from serve.http.middleware import Refused, too_large
from serve.telemetry.call import Call

CHARSETS = (b"utf-8", b"utf8", b"us-ascii", b"ascii")
BOM = b"\xef\xbb\xbf"  # which some programs put before UTF-8
MAX_MISTAKES = 100  # that the answer names
MAX_FIELDS = 10_000  # of one object; naming what is wrong with a million takes seconds and gigabytes
LARGE_BODY = 2**16  # bytes; a smaller body can't hold MAX_FIELDS


class JSONRoute(APIRoute):
    """A route documented by FastAPI and checked by pydantic alone.

    FastAPI's way from bytes to models and back costs twice the prediction. The endpoint takes the checked body and the
    Request, and returns what orjson can write.
    """

    def __init__(self, path: str, endpoint: Callable[..., Awaitable[Any]], **options: Any):
        super().__init__(path, endpoint, **options)
        assert self.body_field is not None  # nosec B101: tells mypy that each of these routes takes a body
        validate = TypeAdapter[Any](self.body_field.field_info.annotation or Any).validator.validate_python

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            call: Call = scope["call"]
            try:
                body = validate(parse(await read_body(scope, receive, call)))
                status, answer = 200, orjson.dumps(await endpoint(body, Request(scope)))
            except ValidationError as error:
                call.error = "validation"
                status, answer = 422, mistakes(error)
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": answer})

        self.app = app


async def read_body(scope: Scope, receive: Receive, call: Call) -> bytes:
    kind = b""
    for name, value in scope["headers"]:
        if name == b"content-type":
            kind = value
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            raise Refused(415, "content_encoding", "the body has a Content-Encoding; send it without one")
    if kind != b"application/json":
        check_content_type(kind)
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


def check_content_type(content_type: bytes) -> None:
    """Refuse what is not declared as JSON, or in another charset than JSON's."""
    kind, *parameters = (part.strip().lower() for part in content_type.split(b";"))
    if kind != b"application/json" and not (kind.startswith(b"application/") and kind.endswith(b"+json")):
        raise Refused(415, "content_type", "the body's Content-Type is not application/json")
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"charset" and value.strip(b' "') not in CHARSETS:
            raise Refused(415, "charset", "the body's charset is not utf-8, the only one of JSON")


def parse(body: bytes) -> Any:
    """Parse JSON; of a repeated key the last value counts.

    Parsing comes before checking: pydantic's JSON mode reports each repetition and copies faulty objects.
    """
    try:
        content = from_json(body.removeprefix(BOM))
    except ValueError as error:
        raise body_error("json_invalid", f"Invalid JSON: {error}") from None
    if len(body) > LARGE_BODY and has_crowded_object(content):
        raise body_error("too_many_fields", f"An object has more than {MAX_FIELDS} fields")
    return content


def has_crowded_object(content: Any) -> bool:
    """Whether the body, or an object in one of its lists, has too many fields."""
    lists = [part for part in content.values() if isinstance(part, list)] if isinstance(content, dict) else []
    return any(isinstance(part, dict) and len(part) > MAX_FIELDS for part in chain([content], *lists))


def body_error(kind: str, message: str, *places: tuple[str | int, ...]) -> ValidationError:
    """Return the error of a body as a whole, or of places in it."""
    error: Any = PydanticCustomError(kind, message)
    lines = [InitErrorDetails(type=error, loc=place, input=None) for place in places or ((),)]
    return ValidationError.from_exception_data("body", lines)


def mistakes(error: ValidationError) -> bytes:
    """Return the errors of a body in FastAPI's form, without the wrong values."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_MISTAKES]
    return orjson.dumps({"detail": [{**mistake, "loc": ["body", *mistake["loc"]]} for mistake in errors]})
