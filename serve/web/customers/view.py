"""A customer: its probability with the reasons, what it would be with another value, and what the log holds.

A customer's id and values are personal, and an address is written into logs: so both are sent as forms, which change
nothing and need no session.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from churn.schema import ID
from serve.http.middleware import Refused
from serve.web.console import Console, Reader, TheConsole, read_fields
from serve.web.customers.fields import Field, checked, customer_of, fields_of, texts_of
from serve.web.customers.past import Past, past
from serve.web.customers.what_if import Answer, answer, model_for
from serve.web.pages import PageRoute, shown

UNCHANGED = "unchanged"  # the form's own field: the customer before any change, as JSON

pages = APIRouter(prefix="/console", route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True)
class Customer:
    """The page: a form with its texts and what is wrong with them, and the answers before and after the change."""

    customer_id: str
    fields: list[Field]
    texts: Mapping[str, str]
    mistakes: Mapping[str, str]
    unchanged: str
    before: Answer | None
    after: Answer | None
    version: str
    notice: str
    past: Past | None

    @property
    def changed(self) -> list[str]:
        """Labels of what is not as it was."""
        before = texts_of(json.loads(self.unchanged))
        return [field.label for field in self.fields if self.texts.get(field.name, "") != before.get(field.name, "")]


@pages.get("/customers")
def begin(request: Request, console: TheConsole, visitor: Reader) -> Response:
    """The form with a customer of the release as the example."""
    example = console.service.live.champion.release.golden()[0]["customer"]
    return page(request, console, texts_of(example), example)


@pages.post("/customers")
async def change(request: Request, console: TheConsole, visitor: Reader) -> Response:
    sent = await read_fields(request)
    return await run_in_threadpool(changed, request, console, sent)


@pages.post("/customers/look-up")
async def look_up(request: Request, console: TheConsole, visitor: Reader) -> Response:
    sent = await read_fields(request)
    return await run_in_threadpool(found, request, console, sent.get(ID, "").strip())


def changed(request: Request, console: Console, sent: Mapping[str, str]) -> Response:
    try:
        unchanged = json.loads(sent.get(UNCHANGED, ""))
    except ValueError:
        unchanged = None
    if not isinstance(unchanged, dict):
        raise Refused(422, "form", "the form lacks the customer as it was; open the page again")
    version = model_for(console.service.live, sent.get(ID, "")).version
    notice = ""
    if sent.get("version") not in ("", None, version):
        notice = f"Release {version} answers now; the page was opened with {sent['version']}."
    return page(request, console, sent, unchanged, sent.get(ID, ""), notice)


def found(request: Request, console: Console, customer_id: str) -> Response:
    example = console.service.live.champion.release.golden()[0]["customer"]
    if not customer_id:
        return page(request, console, texts_of(example), example, notice="Write a customer's id to look it up.")
    with console.engine.connect() as connection:
        known = past(connection, customer_id)
    if known is None:
        notice = f"The log has no answer for the customer {customer_id}; below is an example."
        return page(request, console, texts_of(example), example, notice=notice)
    return page(request, console, texts_of(known.customer), known.customer, customer_id, known=known)


def page(
    request: Request,
    console: Console,
    texts: Mapping[str, str],
    unchanged: Mapping[str, Any],
    customer_id: str = "",
    notice: str = "",
    known: Past | None = None,
) -> Response:
    model = model_for(console.service.live, customer_id)
    schema = model.release.schema
    names = {column.name for column in schema.columns} | {str(schema.moment)}
    customer, mistakes = checked(customer_of(texts, schema), model)
    before, _ = checked({name: value for name, value in unchanged.items() if name in names}, model)
    content = Customer(
        customer_id,
        fields_of(model),
        texts,
        mistakes,
        json.dumps(dict(unchanged)),
        answer(before, model) if before else None,
        answer(customer, model) if customer else None,
        model.version,
        notice,
        known,
    )
    return shown(request, "customer.html", 422 if mistakes else 200, content=content)
