"""Pages that wait for a command: sent at once as far as they are known, then the seconds that pass, then the result.

So a page shows its progress without a script, and no proxy waits in silence.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial, wraps
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from churn.script import InputError
from serve.http.middleware import Refused
from serve.telemetry.logs import raised_at
from serve.web.console import Reader
from serve.web.pages import LOG_DOWN, POLICY, add_routes, shown, text_of

log = logging.getLogger("serve.web")

SECONDS, RESULT = "<!-- seconds -->", "<!-- result -->"  # places of a page's text
TICK_SECONDS = 2.0
LOOK_SECONDS = 0.5
HEADERS = {"content-security-policy": POLICY, "x-accel-buffering": "no"}  # nginx passes on what comes, when it comes


def add_waiting_page(
    router: APIRouter, path: str, template: str, part: str, view: Callable[..., Any], summary: str, twin: str = ""
) -> None:
    """Add a page and its twin; while the state of the view's content is "running", `part` of the page is to come."""

    @wraps(view)
    def asked(**of_address: Any) -> Callable[[], Any]:
        return partial(view, **of_address)

    def page(request: Request, visitor: Reader, ask: Annotated[Callable[[], Any], Depends(asked)]) -> Response:
        if (content := ask()).state != "running":
            return shown(request, template, content=content, failures=[])

        async def work() -> Mapping[str, Any]:
            while (known := await run_in_threadpool(ask)).state == "running":
                await asyncio.sleep(LOOK_SECONDS)
            return {"content": known}

        return streamed(request, template, part, work, content=content)

    add_routes(router, path, page, view, summary, twin)


def streamed(
    request: Request, template: str, part: str, work: Callable[[], Awaitable[Mapping[str, Any]]], **values: Any
) -> StreamingResponse:
    """The page of `template`, whose result is `part` filled with what `work` returns, or with why it failed."""
    before, rest = text_of(request, template, is_running=True, **values).split(SECONDS)
    between, after = rest.split(RESULT)

    async def pieces() -> AsyncIterator[str]:
        yield before
        begun = time.monotonic()
        task = asyncio.ensure_future(work())
        try:
            while not (await asyncio.wait({task}, timeout=TICK_SECONDS))[0]:
                yield f"{time.monotonic() - begun:.0f} s … "
        finally:
            task.cancel()  # nobody waits for it where the reader has left
        yield between + _result(request, part, task, values) + after

    return StreamingResponse(pieces(), media_type="text/html; charset=utf-8", headers=HEADERS)


def _result(request: Request, part: str, task: "asyncio.Future[Mapping[str, Any]]", values: Mapping[str, Any]) -> str:
    """The status is sent already: what fails is told on the page."""
    call = request.scope["call"]
    try:
        return text_of(request, part, failures=[], **{**values, **task.result()})
    except Refused as error:
        call.error, failures = error.kind, [error.detail]
    except InputError as error:
        call.error, failures = "act", str(error).splitlines()
    except (SQLAlchemyError, OSError) as error:
        call.error, failures = type(error).__name__, [LOG_DOWN]
        log.error("a page failed: %s", raised_at(error))
    except Exception as error:
        call.error = type(error).__name__
        log.error("failed", extra={"fields": {"request_id": call.request_id, "error": raised_at(error)}})
        failures = [f"An error of the service; its log has the request id {call.request_id}"]
    return text_of(request, part, failures=failures, **values)
