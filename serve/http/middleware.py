"""Middleware of every request: its id, API key, rate and size limits, headers, errors, log line and metrics."""

import logging
import math
import re
import time
from dataclasses import dataclass
from functools import cache

import orjson
from fastapi.routing import APIRoute
from starlette._utils import get_route_path
from starlette.datastructures import State
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from churn.script import InputError
from serve.http.auth import ApiKeys
from serve.http.rate_limit import RateLimit
from serve.log.tables import new_id
from serve.telemetry import metrics
from serve.telemetry.call import Call
from serve.telemetry.logs import place, write_line

log = logging.getLogger("serve")

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
ADMIN = "/admin/"
OPEN_PATHS = {"/health", "/ready", "/metrics", "/", "/openapi.json", "/docs"}  # no key is asked for
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


# the client looks a label up under a lock, in three steps
requests, latency = cache(metrics.requests.labels), cache(metrics.latency.labels)


class Refused(Exception):
    """An error to answer with: its status, a sentence, and the seconds after which to try again."""

    def __init__(self, status: int, kind: str, detail: str, retry_after: float = 0):
        super().__init__(detail)
        self.status, self.kind, self.detail, self.retry_after = status, kind, detail, retry_after


@dataclass(frozen=True)
class Rules:
    keys: ApiKeys
    admin: ApiKeys  # opens the acts on releases
    rate: RateLimit | None
    max_body: int


class RequestMiddleware:
    """ASGI middleware around all others; the rules are in `app.state.rules` once the service has started.

    Requests of `fast_routes`, (method, path) -> route, go straight there: without the other middlewares and the search
    for the route, which together take a fifth of a request.
    """

    def __init__(self, app: ASGIApp, fast_routes: dict[tuple[str, str], APIRoute], state: State):
        self.app, self.fast_routes, self.state = app, fast_routes, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.lifespan(scope, receive, send)
        # websockets: there are none

    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Report a start that fails for a reason a person can mend in one sentence, without a traceback."""
        failed: list[Message] = []

        async def hold(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                failed.append(message)
            else:
                await send(message)

        try:
            await self.app(scope, receive, hold)
        except InputError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
        except OSError as error:
            await send({"type": "lifespan.startup.failed", "message": f"{error.filename or 'start'}: {error.strerror}"})
        except BaseException:
            for message in failed:
                await send(message)
            raise

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        by_name = dict(headers)
        rules: Rules = self.state.rules
        request_id = by_name.get(b"x-request-id", b"")
        call = Call(
            request_id.decode() if REQUEST_ID.fullmatch(request_id) else new_id(), time.perf_counter(), rules.max_body
        )
        scope["call"] = call
        path = route_path(scope)
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                call.status = message["status"]
                own = message.setdefault("headers", [])
                own += [*HEADERS, (b"x-request-id", call.request_id.encode())]
                if not any(name == POLICY[0] for name, _ in own):
                    own.append(POLICY)
            await send(message)

        try:
            self.admit(scope, path, by_name, rules)
            if route := self.fast_routes.get((scope["method"], path)):
                scope["route"] = route
                await route.app(scope, receive, answer)
            else:
                await self.app(scope, receive, answer)
        except ClientDisconnect:
            call.error = "disconnected"
        except Refused as refusal:
            call.error = refusal.kind
            await send_error(refusal, answer)
        except Exception as error:
            call.error = type(error).__name__
            log.error("failed", extra={"fields": {"request_id": call.request_id, "error": place(error)}})
            if started:
                raise
            await send_error(Refused(500, "internal", "an error of the service; its log has the request id"), answer)
        finally:
            log_request(scope, call)

    def admit(self, scope: Scope, path: str, headers: dict[bytes, bytes], rules: Rules) -> None:
        """Refuse a client without a key, above its rate, or with too large a body."""
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > rules.max_body:
            raise too_large(rules.max_body)
        if not asks_for_key(path):
            return
        key = headers.get(b"x-api-key", b"")
        acts = path.startswith(ADMIN)
        if acts and not rules.admin:
            raise Refused(404, "admin_off", f"{ADMIN}* is off: the service has no CHURN_ADMIN_KEY")
        is_admin = bool(rules.admin) and rules.admin.accept(key)
        known = is_admin or (not acts and (not rules.keys or rules.keys.accept(key)))
        if rules.rate:
            client = key if is_admin or (rules.keys and known) else str((scope.get("client") or ("",))[0]).encode()
            if wait := rules.rate.wait(client):
                raise Refused(429, "rate_limit", "too many requests", wait)
        if not known:
            which = "the admin key" if acts else "one of the keys"
            raise Refused(401, "api_key", f"the header X-API-Key is missing or not {which}")


def route_path(scope: Scope) -> str:
    """The path that the router goes by: behind a proxy, uvicorn's --root-path stands before it."""
    path: str = scope["path"]
    return get_route_path(scope) if scope.get("root_path") else path


def asks_for_key(path: str) -> bool:
    return path not in OPEN_PATHS and not path.startswith("/docs/")


def too_large(max_body: int) -> Refused:
    return Refused(413, "too_large", f"the body has more than {max_body} bytes")


async def send_error(refusal: Refused, send: Send) -> None:
    headers = [(b"content-type", b"application/json")]
    if refusal.retry_after:
        headers.append((b"retry-after", str(math.ceil(refusal.retry_after)).encode()))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"ApiKey"))
    body = orjson.dumps({"detail": refusal.detail})
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def log_request(scope: Scope, call: Call) -> None:
    """Write the request's line of the log and count it."""
    seconds = time.perf_counter() - call.arrived
    route = getattr(scope.get("route"), "path", "unmatched")
    status = call.status or 499  # the client left before an answer
    requests(route, scope["method"], status).inc()
    latency(route).observe(seconds)
    line = {"request_id": call.request_id, "route": route, "method": scope["method"], "status": status}
    line["milliseconds"] = round(seconds * 1000, 3)
    if call.arm:
        line |= {"model_version": call.model_version, "arm": call.arm}
    if call.error or status >= 400:
        kind = call.error or str(status)
        metrics.errors.labels(kind).inc()
        line["error"] = kind
    write_line(line)
