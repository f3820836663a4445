"""Comparisons of two releases, for pages: each takes a whole core, so there is one at a time."""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from serve.http.middleware import Refused
from serve.web.streams import streamed

_one = threading.Semaphore()


def compared(
    request: Request, template: str, part: str, work: Callable[[], Mapping[str, Any]], **values: Any
) -> Response:
    """The page of `template`, whose result is `part` filled with what `work` returns, or with why it failed."""
    return streamed(request, template, part, partial(run_in_threadpool, _alone, work), **values)


def _alone(work: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    if not _one.acquire(blocking=False):
        raise Refused(503, "busy", "another comparison runs already; try again when it has ended")
    try:
        return work()
    finally:
        _one.release()
