"""How a page comes about: a view returns its content, a template shows it, and the same content is its JSON twin.

The twin of /console/releases is /console/releases.json. Pages need no script to be read, and nothing from elsewhere.
"""

import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, get_type_hints
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import URL
from starlette.responses import HTMLResponse, RedirectResponse, Response

from churn.page import environment
from churn.script import InputError
from serve.http.middleware import Refused
from serve.payloads import Refusal
from serve.telemetry.logs import raised_at
from serve.web.console import Reader, SignIn, console_of, reader_of, visitor_of

log = logging.getLogger("serve.web")

TEMPLATES = Path(__file__).parent / "templates"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# address and name of what stands in the head of each page, in its order
MENU = [
    ("/", "Overview"),
    ("/console/customers", "Customers"),
    ("/console/files", "Files"),
    ("/console/production", "Production"),
    ("/console/campaigns", "Campaigns"),
    ("/console/releases", "Releases"),
]
# pages that stand elsewhere than below their entry -> the entry
ENTRY = {
    "/console/plans": "/console/campaigns",
    "/console/compare": "/console/releases",
    "/console/acts": "/console/releases",
}
LOG_DOWN = "The log's database can't be asked now; predictions go on by the spool."
TITLES = {
    403: "Not allowed",
    404: "Not there",
    409: "Not done",
    413: "Too large",
    422: "Not understood",
    503: "Not now",
}
TWIN: dict[int | str, dict[str, Any]] = {
    401: {"model": Refusal, "description": "No valid API key"},
    404: {"model": Refusal, "description": "There is none of that name"},
    409: {"model": Refusal, "description": "Not possible as things are"},
    429: {"model": Refusal, "description": "Too many requests; see Retry-After"},
    503: {"model": Refusal, "description": "The log's database can't be asked now"},
}


class PageRoute(APIRoute):
    """A route whose errors are pages, and whose visitors without a key are sent to sign in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            # forms send "" for what was left empty; here, as for programs, it is left out
            request.scope["query_string"] = urlencode(parse_qsl(request.url.query)).encode()
            try:
                return await handler(request)
            except SignIn:
                wanted = URL(request.scope["path"]).replace(query=request.url.query or None)
                target = URL(f"{root_of(request)}/console/sign-in").include_query_params(to=str(wanted))
                return RedirectResponse(str(target), 303)
            except Refused as error:
                request.scope["call"].error = error.kind
                return failure(request, error.status, error.detail)
            except RequestValidationError as error:
                request.scope["call"].error = "validation"
                return failure(request, 422, *[f"{e['loc'][-1]}: {e['msg']}" for e in error.errors()])
            except InputError as error:
                return failure(request, 409, *str(error).splitlines())
            except (SQLAlchemyError, OSError) as error:
                request.scope["call"].error = type(error).__name__
                log.error("a page failed: %s", raised_at(error))
                return failure(request, 503, LOG_DOWN)
            except Exception as error:
                call = request.scope["call"]
                call.error = type(error).__name__
                fields = {"request_id": call.request_id, "error": raised_at(error)}
                log.error("failed", extra={"fields": fields})
                return failure(request, 500, f"An error of the service; its log has the request id {call.request_id}.")

        return handle


class TwinRoute(APIRoute):
    """A route for programs: what a page answers by a sentence, as JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except InputError as error:
                raise Refused(409, "state", str(error)) from None
            except SQLAlchemyError as error:
                log.error("a page failed: %s", raised_at(error))
                raise Refused(503, "log_down", "the log's database can't be asked now", 5) from None

        return handle


def add_page(
    router: APIRouter, path: str, template: str, view: Callable[..., Any], summary: str, twin: str = ""
) -> None:
    """Add the page at `path` and its twin. The view's parameters are the address's; it may be a plain function."""

    async def page(request: Request, visitor: Reader, content: Annotated[Any, Depends(view)]) -> Response:
        return shown(request, template, content=content)

    add_routes(router, path, page, view, summary, twin)


def add_routes(
    router: APIRouter, path: str, page: Callable[..., Any], view: Callable[..., Any], summary: str, twin: str = ""
) -> None:
    """Add a page, and the twin that answers what `view` returns."""

    answers = get_type_hints(view)["return"]
    documented: dict[str, Any] = {
        "response_model": answers, "responses": TWIN, "summary": summary, "tags": ["console"],
        "dependencies": [Depends(reader_of)],
    }  # fmt: skip
    # the twin first: a part of the page's address may be any text
    router.routes.append(TwinRoute(twin or f"{path}.json", view, methods=["GET"], **documented))
    router.routes.append(PageRoute(path, page, methods=["GET"], include_in_schema=False))


def shown(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A template's page."""
    return HTMLResponse(text_of(request, template, **values), status, {"content-security-policy": POLICY})


def text_of(request: Request, template: str, **values: Any) -> str:
    """A template's text, with what every page has."""
    path = request.scope["path"].removeprefix(root_of(request))
    return (
        environment(TEMPLATES)
        .get_template(template)
        .render(
            root=root_of(request),
            path=path,
            here=str(URL(path).replace(query=request.url.query or None)),
            menu=[(address, name, address == entry_of(path)) for address, name in MENU],
            visitor=visitor_of(request),
            console=console_of(request),
            **values,
        )
    )


def entry_of(path: str) -> str:
    """The address in the menu to which a page belongs, "" for none."""
    above = "/".join(path.split("/")[:3])
    return ENTRY.get(above, above)


def failure(request: Request, status: int, *sentences: str) -> HTMLResponse:
    return shown(request, "failure.html", status, title=TITLES.get(status, "An error"), sentences=sentences)


def root_of(request: Request) -> str:
    """Of all addresses, where a proxy serves this below a path of its own."""
    root: str = request.scope.get("root_path", "")
    return root.rstrip("/")
