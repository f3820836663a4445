"""Acts on releases over HTTP, the same as the command line's; and what they came to."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from churn.script import InputError
from serve.http.auth import ApiKeys
from serve.http.json_route import JSONRoute
from serve.http.middleware import Refused
from serve.payloads import Acted, Deployed, Mistakes, Refusal
from serve.releases.commands import releases
from serve.releases.ledger import State
from serve.releases.store import Store, UnknownRelease

GATE_SECONDS = 120  # seconds that a comparison may take

Version = Annotated[str, Field(strict=True, pattern=r"^[0-9a-f]{12}$", examples=["2f5480987cc2"])]
Reason = Annotated[str, Field(strict=True, min_length=1, max_length=1000, examples=["better on the test customers"])]

ACTED: dict[int | str, dict[str, Any]] = {
    401: {"model": Refusal, "description": "Not the admin key"},
    404: {"model": Refusal, "description": "No such release, or the service has no admin key"},
    409: {"model": Refusal, "description": "Refused by the gate, with the numbers, or by the state"},
    413: {"model": Refusal, "description": "The body is too large"},
    415: {"model": Refusal, "description": "The body is not declared as JSON"},
    422: {"model": Mistakes, "description": "The body is not JSON, or fields are wrong; they are named"},
    429: {"model": Refusal, "description": "Too many requests; see Retry-After"},
}


class _Act(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Promote(_Act):
    version: Version
    reason: Reason
    force: Annotated[bool, Field(strict=True, description="even if the gate refuses; the ledger records it")] = False


class Rollback(_Act):
    reason: Reason


class Split(_Act):
    version: Annotated[Version | None, Field(description="null ends the split")]
    share: Annotated[float, Field(strict=True, ge=0, le=1, description="of the customers; 0 ends the split")] = 0.0
    reason: str = ""


class Shadow(_Act):
    version: Annotated[Version | None, Field(description="null ends it")]
    reason: str = ""


def actor(request: Request) -> str:
    """The owner of the request's admin key, for the ledger."""
    admin: ApiKeys = request.app.state.rules.admin
    return admin.owner(request.headers.get("x-api-key", "").encode("latin-1")) or ""


def routes(store: Store, log_url: str) -> list[APIRoute]:
    """GET /releases and POST /admin/*."""

    def deployed() -> Deployed:
        """The releases, the state and every act that led to it."""
        return {"state": store.state(), "releases": releases(store), "history": [dict(act) for act in store.history()]}

    async def promote(act: Promote, request: Request) -> Acted:
        """Compared with the champion first, on customers whose outcome is known."""
        gate = await run_in_threadpool(passed, store, log_url, act.version, act.force)
        return {"state": await done(store.promote, act.version, act.reason, actor(request), gate), "gate": gate}

    async def rollback(act: Rollback, request: Request) -> Acted:
        """Again, and it is the one before that."""
        return {"state": await done(store.rollback, act.reason, actor(request)), "gate": None}

    async def split(act: Split, request: Request) -> Acted:
        """A customer stays in one arm; a larger share moves customers to the challenger alone."""
        return {"state": await done(store.split, act.version, act.share, act.reason, actor(request)), "gate": None}

    async def shadow(act: Shadow, request: Request) -> Acted:
        """Its scores are logged, and no answer waits for them."""
        return {"state": await done(store.shadow, act.version, act.reason, actor(request)), "gate": None}

    shared: dict[str, Any] = {"tags": ["releases"]}
    open_to_users: dict[str, Any] = {"responses": {401: ACTED[401], 429: ACTED[429]}, "response_model": Deployed}
    found = [
        APIRoute("/releases", deployed, methods=["GET"], summary="Who answers, and why", **open_to_users, **shared)
    ]
    for path, act, summary in (
        ("/admin/promote", promote, "Let a release answer"),
        ("/admin/rollback", rollback, "Let the champion before this one answer again"),
        ("/admin/split", split, "Let a challenger answer a share of the customers"),
        ("/admin/shadow", shadow, "Let a release score what others answer"),
    ):
        documented: dict[str, Any] = {"response_model": Acted, "responses": ACTED, "summary": summary, **shared}
        found.append(JSONRoute(path, act, methods=["POST"], **documented))
    return found


async def done(act: Callable[..., State], *arguments: Any) -> State:
    """The state that the act left; what it refuses is an answer."""
    try:
        return await run_in_threadpool(act, *arguments)
    except InputError as error:
        raise refused(str(error), is_unknown=isinstance(error, UnknownRelease)) from None


def passed(store: Store, log_url: str, version: str, force: bool) -> dict[str, Any]:
    """The gate's report."""
    return reported(store, log_url, "gate", version, *(["--force"] if force else []))


def reported(store: Store, log_url: str, *arguments: str) -> dict[str, Any]:
    """What a command on releases says, from a process of its own: it takes a whole core and the memory of several
    workers."""
    places = {"CHURN_RELEASES": str(store.where), "CHURN_LOG_URL": log_url}
    options: dict[str, Any] = {
        "env": os.environ | places,
        "capture_output": True,
        "text": True,
        "timeout": GATE_SECONDS,
    }
    command = ["-m", "serve.releases", *arguments]
    try:
        done = subprocess.run([sys.executable, *command, "--json"], check=False, **options)
    except subprocess.TimeoutExpired:
        detail = f"the comparison takes longer than {GATE_SECONDS} seconds; make it by python {' '.join(command)}"
        raise refused(detail) from None
    if done.returncode and not done.stdout:
        raise RuntimeError(f"the {arguments[0]} ended with exit status {done.returncode}: {done.stderr[-500:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    if error := report.get("error"):
        raise refused("; ".join(error["reasons"]), is_unknown=error["unknown_release"])
    return report


def refused(detail: str, is_unknown: bool = False) -> Refused:
    return Refused(404 if is_unknown else 409, "act", detail)
