"""What pages stand on: the service, the log's database for reading, and the visitor."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from sqlalchemy import Engine, event

from serve.http.middleware import Refused
from serve.log.database import connect, wait_impatiently
from serve.predict.service import Service
from serve.web.files.kept import KeptFiles
from serve.web.processes import Processes
from serve.web.sessions import Sessions, Visitor, is_from

MAX_FORM = 100_000  # bytes
OWN_SITE = ("same-origin", "none")  # of the header Sec-Fetch-Site, which browsers set


class SignIn(Exception):
    """The page is for visitors with a key, and this one has none."""


@dataclass(frozen=True)
class Console:
    service: Service
    sessions: Sessions
    engine: Engine  # of the log's database; not the service's, whose connections no page may use up
    processes: Processes
    scores: Path | None  # folder of scored files
    files: KeptFiles

    @property
    def can_act(self) -> bool:
        """Whether there is a key to act with."""
        return bool(self.sessions.admin)

    @property
    def has_keys(self) -> bool:
        """Whether there is anything to sign in with."""
        return bool(self.sessions.keys or self.sessions.admin)

    def close(self) -> None:
        self.files.close()
        self.processes.close()
        self.engine.dispose()


def reading_engine(url: str) -> Engine:
    """An engine that gives up on a database that does not answer, as the service's does."""
    engine = connect(url)
    if engine.dialect.name != "sqlite":
        event.listen(engine, "do_connect", wait_impatiently)
    return engine


def console_of(request: Request) -> Console:
    console: Console = request.app.state.console
    return console


def visitor_of(request: Request) -> Visitor:
    return console_of(request).sessions.of_request(request.headers, request.cookies)


def reader_of(request: Request) -> Visitor:
    """The visitor; without a valid key a page is a SignIn, its twin a Refused."""
    visitor = visitor_of(request)
    if visitor.may_read:
        return visitor
    if request.url.path.endswith(".json"):
        raise Refused(401, "api_key", "the header X-API-Key is missing or not one of the keys")
    raise SignIn


TheConsole = Annotated[Console, Depends(console_of)]
Reader = Annotated[Visitor, Depends(reader_of)]


async def read_fields(request: Request) -> Mapping[str, str]:
    """The fields of a form; a Refused for one that another site sent, or that is no form."""
    refuse_foreign(request)
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise Refused(415, "content_type", "the form's Content-Type is not application/x-www-form-urlencoded")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM:
            raise Refused(413, "too_large", f"the form has more than {MAX_FORM} bytes")
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def refuse_foreign(request: Request) -> None:
    if request.headers.get("sec-fetch-site", "none") not in OWN_SITE:
        raise Refused(403, "foreign_form", "the form was sent from another site")


def refuse_stale(visitor: Visitor, token: str) -> None:
    if not is_from(visitor, token):
        raise Refused(403, "stale_form", "the form is not of this session, which may have ended; open the page again")


async def form_of(request: Request) -> Mapping[str, str]:
    """The fields of a form that acts; a Refused for one that did not stand on a page of the visitor's session."""
    fields = await read_fields(request)
    refuse_stale(visitor_of(request), fields.get("form", ""))
    return fields


Form = Annotated[Mapping[str, str], Depends(form_of)]


def actor_of(request: Request) -> Visitor:
    """The visitor, if an admin key signed it in; else a Refused."""
    visitor = reader_of(request)
    if not console_of(request).can_act:
        raise Refused(404, "admin_off", "acts are off: the service has no CHURN_ADMIN_KEY")
    if not visitor.may_act:
        raise Refused(403, "api_key", "this key is for reading; sign in with an admin key to act")
    return visitor


Actor = Annotated[Visitor, Depends(actor_of)]


def is_there(module: str) -> bool:
    """Whether a part of this repository, or a package, that the slim image leaves out is there."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
