"""Middleware of every request: its id, API key, rate and size limits, headers, errors, log line and metrics."""

import logging
import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import orjson
from fastapi.routing import APIRoute
from starlette.datastructures import State
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from churn.script import InputError
from serve.http.auth import ApiKeys
from serve.http.rate_limit import RateLimit
from serve.log.tables import new_id
from serve.telemetry import metrics
from serve.telemetry.call import Call
from serve.telemetry.logs import raised_at, write_line

log = logging.getLogger("serve")

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
ADMIN = "/admin/"
CONSOLE = "/console/"  # its pages ask for a sign-in themselves
UPLOAD = ("POST", "/console/upload.json")  # the one request that may be larger than others
OPEN_PATHS = {"/health", "/ready", "/metrics", "/", "/openapi.json", "/docs"}  # need no API key
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


# the Prometheus client looks a label up under a lock, in three steps
requests, latency = cache(metrics.requests.labels), cache(metrics.latency.labels)


class Refused(Exception):
    """A request that is answered by an error: status, kind for the log, sentence, seconds until the next try."""

    def __init__(self, status: int, kind: str, detail: str, retry_after: float = 0):
        super().__init__(detail)
        self.status, self.kind, self.detail, self.retry_after = status, kind, detail, retry_after


@dataclass(frozen=True)
class Rules:
    """What a request must bring, from the settings."""

    keys: ApiKeys
    admin: ApiKeys  # these open /admin/* and all other routes
    rate: RateLimit | None
    max_body: int
    cors_origins: Sequence[str] = ()
    max_upload: int = 0


class RequestMiddleware:
    """ASGI middleware around all others; the rules are in `app.state.rules` once the service has started.

    Requests of `fast_routes`, (method, path) -> route, skip the other middlewares and the search for the route, which
    together take a fifth of a request.
    """

    def __init__(self, app: ASGIApp, fast_routes: dict[tuple[str, str], APIRoute], state: State):
        self.app, self.fast_routes, self.state = app, fast_routes, state
        self._cors: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            app = self.for_browsers() if self.state.rules.cors_origins else self.http
            await app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.lifespan(scope, receive, send)
        else:  # there are no websockets
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    def for_browsers(self) -> ASGIApp:
        """This middleware for pages of other origins: browsers ask first, without a key, what they may send."""
        if self._cors is None:
            self._cors = CORSMiddleware(
                self.http,
                allow_origins=self.state.rules.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["Content-Type", "X-API-Key", "X-Request-ID"],
                expose_headers=["X-Request-ID", "Retry-After"],
            )
        return self._cors

    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Report a failed start that an operator can fix in one sentence, without a traceback."""
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

        async def reply(message: Message) -> None:
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
                await route.app(scope, receive, reply)
            else:
                await self.app(scope, receive, reply)
        except ClientDisconnect:
            call.error = "disconnected"
        except Refused as refusal:
            call.error = refusal.kind
            await send_error(refusal, reply)
        except Exception as error:
            call.error = type(error).__name__
            log.error("failed", extra={"fields": {"request_id": call.request_id, "error": raised_at(error)}})
            if started:
                raise
            await send_error(Refused(500, "internal", "an error of the service; its log has the request id"), reply)
        finally:
            log_request(scope, call)

    def admit(self, scope: Scope, path: str, headers: dict[bytes, bytes], rules: Rules) -> None:
        """Refuse a client without a key, above its rate, or with too large a body."""
        length = headers.get(b"content-length", b"0")
        most = rules.max_upload if (scope["method"], path) == UPLOAD else rules.max_body
        if not length.isdigit() or int(length) > most:
            raise too_large(most)
        if not needs_key(path):
            if rules.rate and path.startswith(CONSOLE) and (wait := rules.rate.wait(address_of(scope))):
                raise Refused(429, "rate_limit", "too many requests", wait)
            return
        key = headers.get(b"x-api-key", b"")
        is_act = path.startswith(ADMIN)
        if is_act and not rules.admin:
            raise Refused(404, "admin_off", f"{ADMIN}* is off: the service has no CHURN_ADMIN_KEY")
        is_admin = bool(rules.admin) and rules.admin.accept(key)
        is_accepted = is_admin or (not is_act and (not rules.keys or rules.keys.accept(key)))
        if rules.rate:
            client = key if is_admin or (rules.keys and is_accepted) else address_of(scope)
            if wait := rules.rate.wait(client):
                raise Refused(429, "rate_limit", "too many requests", wait)
        if not is_accepted:
            which = "the admin key" if is_act else "one of the keys"
            raise Refused(401, "api_key", f"the header X-API-Key is missing or not {which}")


def route_path(scope: Scope) -> str:
    """The path that the router matches: without uvicorn's --root-path, which a proxy's clients send as well."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and (path == root or path.startswith(f"{root}/")) else path


def address_of(scope: Scope) -> bytes:
    host, *_ = scope.get("client") or ("",)
    return str(host).encode()


def needs_key(path: str) -> bool:
    return path not in OPEN_PATHS and not path.startswith(("/docs/", CONSOLE))


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
