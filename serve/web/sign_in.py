"""Signing in with an API key, and out again."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from serve.web.console import Form, TheConsole
from serve.web.pages import PageRoute, root_of, shown
from serve.web.sessions import COOKIE, SESSION_SECONDS, Visitor

pages = APIRouter(prefix="/console", route_class=PageRoute, include_in_schema=False)


@pages.get("/sign-in")
async def ask(request: Request, console: TheConsole, to: Annotated[str, Query(max_length=1000)] = "/") -> Response:
    """The form, whose token a session without rights holds: so no other site can sign a visitor in."""
    visitor, cookie = console.sessions.begin(Visitor("none"))
    page = shown(request, "sign_in.html", to=own_page(to), form=visitor.form, refused=False)
    set_cookie(request, page, cookie)
    return page


@pages.post("/sign-in")
async def sign_in(request: Request, console: TheConsole, fields: Form) -> Response:
    visitor = console.sessions.of_key(fields.get("key", "").encode())
    to = own_page(fields.get("to", "/"))
    if not fields.get("key") or not (visitor.may_act or (visitor.may_read and console.sessions.keys)):
        request.scope["call"].error = "api_key"
        return shown(request, "sign_in.html", 401, to=to, form=fields["form"], refused=True)
    answer = RedirectResponse(f"{root_of(request)}{to}", 303)
    set_cookie(request, answer, console.sessions.begin(visitor)[1])
    return answer


@pages.post("/sign-out")
async def sign_out(request: Request, fields: Form) -> Response:
    answer = RedirectResponse(f"{root_of(request)}/", 303)
    answer.delete_cookie(COOKIE, path=cookie_path(request))
    return answer


def set_cookie(request: Request, answer: Response, cookie: str) -> None:
    is_safe = request.url.scheme == "https"
    answer.set_cookie(
        COOKIE, cookie, SESSION_SECONDS, path=cookie_path(request), secure=is_safe, httponly=True, samesite="lax"
    )


def cookie_path(request: Request) -> str:
    return f"{root_of(request)}/"


def own_page(address: str) -> str:
    """The page of this service to go to; the first one where the address names another site."""
    parts = urlsplit(address)
    is_own = not parts.scheme and not parts.netloc and address.startswith("/") and not address.startswith(("//", "/\\"))
    return address if is_own and address.isprintable() else "/"
