"""Pages that wait for a command: sent at once as far as they are known, then the seconds that pass, then the result.

So a page shows its progress without a script, no proxy waits in silence, and nothing is kept between two requests.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from churn.script import InputError
from serve.http.middleware import Refused
from serve.telemetry.logs import raised_at
from serve.web.pages import POLICY, text_of

log = logging.getLogger("serve.web")

SECONDS, RESULT = "<!-- seconds -->", "<!-- result -->"  # places of a page's text
TICK_SECONDS = 2.0
HEADERS = {"content-security-policy": POLICY, "x-accel-buffering": "no"}  # nginx passes on what comes, when it comes

_one = threading.Semaphore()  # a comparison takes a whole core


def streamed(
    request: Request, template: str, part: str, work: Callable[[], Mapping[str, Any]], **values: Any
) -> StreamingResponse:
    """The page of `template`, whose result is `part` filled with what `work` returns, or with why it failed."""
    before, rest = text_of(request, template, is_running=True, **values).split(SECONDS)
    between, after = rest.split(RESULT)

    async def pieces() -> AsyncIterator[str]:
        yield before
        begun = time.monotonic()
        task = asyncio.ensure_future(run_in_threadpool(_alone, work))
        while not (await asyncio.wait({task}, timeout=TICK_SECONDS))[0]:
            yield f"{time.monotonic() - begun:.0f} s … "
        yield between + _result(request, part, task, values) + after

    return StreamingResponse(pieces(), media_type="text/html; charset=utf-8", headers=HEADERS)


def _alone(work: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    if not _one.acquire(blocking=False):
        raise Refused(503, "busy", "another comparison runs already; try again when it has ended")
    try:
        return work()
    finally:
        _one.release()


def _result(request: Request, part: str, task: "asyncio.Future[Mapping[str, Any]]", values: Mapping[str, Any]) -> str:
    """The status is sent already: what fails is told on the page."""
    call = request.scope["call"]
    try:
        return text_of(request, part, failures=[], **values, **task.result())
    except Refused as error:
        call.error, failures = error.kind, [error.detail]
    except InputError as error:
        call.error, failures = "act", str(error).splitlines()
    except Exception as error:
        call.error = type(error).__name__
        log.error("failed", extra={"fields": {"request_id": call.request_id, "error": raised_at(error)}})
        failures = [f"An error of the service; its log has the request id {call.request_id}"]
    return text_of(request, part, failures=failures, **values)
