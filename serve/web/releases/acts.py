"""Acts on releases in two steps: a page that says what will change, with the gate's report; then the act itself.

The second step's form carries what the page showed: the ledger's position and, signed, the report. Where another act
came meanwhile the store refuses, and the page is shown anew.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from itsdangerous import BadSignature
from starlette.responses import RedirectResponse, Response

from churn.script import InputError
from serve.http import admin
from serve.releases.ledger import Act, State, act_of, current_state
from serve.web.console import Actor, Console, Form, TheConsole
from serve.web.pages import PageRoute, root_of, shown
from serve.web.releases.comparisons import compared
from serve.web.releases.view import VERSION, unknown

SEEN_SECONDS = 3600  # that a page may be acted on
MAX_REASON = 1000  # characters
TITLES = {
    "promote": "Promote {}",
    "split": "Let {} answer a share",
    "shadow": "Let {} score in the shadow",
    "rollback": "Roll back to {}",
    "end-split": "End the split with {}",
    "end-shadow": "End the shadow of {}",
}
Name = Literal["promote", "split", "shadow", "rollback", "end-split", "end-shadow"]
GATED = ("promote", "split", "shadow")  # acts that give a release a new role: the gate is asked first

pages = APIRouter(prefix="/console", route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True)
class Look:
    """What an act would change, at a position of the ledger."""

    act: Name
    title: str  # names the release
    version: str  # the release that gets or loses a role
    position: str
    state: State
    changes: list[str]
    asks_gate: bool
    gate: Mapping[str, Any] | None  # by which the release that would step back came, where the gate is not asked


def look(console: TheConsole, act: Name, version: Annotated[str | None, Query(pattern=VERSION)] = None) -> Look:
    """What the act would change if it were done now; acts that end something need no version."""
    store = console.service.store
    position = store.position()  # first: an act that comes now makes the page stale, not wrong
    acts = store.history()
    state = current_state(acts)
    if version and version not in store.versions:
        raise unknown(version)
    changes = list(changes_of(act, version, state))
    concerned = version if act in GATED and version else str(concerned_by(act, state))
    return Look(
        act=act,
        title=TITLES[act].format(concerned),
        version=concerned,
        position=position,
        state=state,
        changes=changes,
        asks_gate=act in GATED,
        gate=None if act in GATED else last_gate(acts, act),
    )


def concerned_by(act: Name, state: State) -> str | None:
    """The release that an act without a version is about."""
    return {"rollback": state["previous"], "end-split": state["challenger"], "end-shadow": state["shadow"]}[act]


def last_gate(acts: list[Act], act: Name) -> Mapping[str, Any] | None:
    """The gate's report by which the release came that would step back."""
    role = {"rollback": "champion", "end-split": "challenger", "end-shadow": "shadow"}[act]
    return act_of(acts, role).get("gate")


def changes_of(act: Name, version: str | None, state: State) -> Iterator[str]:
    """Sentences; an InputError where the act is not possible."""
    champion, challenger, shadow = state["champion"], state["challenger"], state["shadow"]
    if act in GATED and not version:
        raise InputError("the address names no release: add ?version=")
    if act in GATED and version == champion:
        raise InputError(f"{version} is the champion already")
    match act:
        case "promote":
            yield f"{version} answers all customers, in place of {champion}, which a rollback brings back."
        case "rollback":
            if not state["previous"]:
                raise InputError("there is no champion before this one")
            yield f"{state['previous']} answers all customers again, in place of {champion}."
        case "split":
            yield f"{version} answers a share of the customers, always the same ones; {champion} answers the others."
            if challenger == version:
                yield f"The share is {100 * state['share']:.3g} % now."
            elif challenger:
                yield f"It takes the place of {challenger}, the challenger so far."
        case "shadow":
            if version == challenger:
                raise InputError(f"{version} is the challenger; end the split first")
            yield f"{version} scores what others answer; its scores are logged, and no answer waits for them."
            if shadow and shadow != version:
                yield f"It takes the place of {shadow}, the shadow so far."
        case "end-split":
            if not challenger:
                raise InputError("there is no split to end")
            yield f"{champion} answers all customers again; {challenger} answers none."
        case "end-shadow":
            if not shadow:
                raise InputError("there is no shadow to end")
            yield f"{shadow} scores no longer; who answers stays as it is."
    if act in ("promote", "rollback") and challenger:
        yield f"The split with {challenger} ends."
    if act in ("promote", "split") and version == shadow:
        yield f"{version} no longer scores in the shadow."


@pages.post("/acts/{act}/gate")
def ask_gate(request: Request, console: TheConsole, fields: Form, visitor: Actor, act: Name) -> Response:
    """The page of an act with the gate's report, and the form of the second step."""
    content = look(console, act, fields.get("version"))

    def work() -> Mapping[str, Any]:
        report = admin.passed(console.service.store, console.service.log_url, content.version, force=True)
        return {"gate": report, "signed": signed(console, content, report)}

    return compared(request, "look.html", "look_result.html", work, content=content)


@pages.post("/acts/{act}/done")
def act_on(request: Request, console: TheConsole, fields: Form, visitor: Actor, act: Name) -> Response:
    """Do what the page showed; where that can't be, the page as it is now says why."""
    try:
        perform(console, act, fields, visitor.name)
    except InputError as error:
        request.scope["call"].error = "act"
        return again(request, console, act, fields, str(error).splitlines())
    return RedirectResponse(f"{root_of(request)}/console/releases#history", 303)


def again(request: Request, console: Console, act: Name, fields: Mapping[str, str], failed: list[str]) -> Response:
    try:
        content = look(console, act, fields.get("version"))
    except InputError as error:  # it is not possible any more
        raise InputError("\n".join([*failed, str(error)])) from None
    return shown(request, "look.html", 409, content=content, failed=failed)


def perform(console: Console, act: Name, fields: Mapping[str, str], who: str) -> State:
    """The act, as the command line does it."""
    version, position, reason = (fields.get(name, "").strip() for name in ("version", "position", "reason"))
    store = console.service.store.at(position)
    if not reason or len(reason) > MAX_REASON:
        raise InputError(f"the reason is empty or has more than {MAX_REASON} characters")
    gate = report_of(console, fields.get("gate", ""), version, position) if act in GATED else None
    if gate and not gate["passed"] and act != "shadow" and fields.get("force") != "yes":
        raise InputError(f"{version} does not pass the gate; that it is done nevertheless was not ticked")
    match act:
        case "promote":
            return store.promote(version, reason, who, gate)
        case "split":
            return store.split(version, share_of(fields.get("share", "")), reason, who, gate)
        case "shadow":
            return store.shadow(version, reason, who, gate)
        case "rollback":
            return store.rollback(reason, who)
        case "end-split":
            return store.split(None, 0, reason, who)
        case "end-shadow":
            return store.shadow(None, reason, who)


def share_of(text: str) -> float:
    """A share of a text in percent, more than 0."""
    try:
        percent = float(text)
    except ValueError:
        percent = 0.0
    if not 0 < percent <= 100:
        raise InputError(f"the share is {text!r}; expected more than 0 and at most 100 percent")
    return percent / 100


def signed(console: Console, content: Look, report: Mapping[str, Any]) -> str:
    """The gate's report, for that release at that position of the ledger."""
    shown = {"version": content.version, "position": content.position, "report": report}
    return str(console.sessions.signer("gate").dumps(shown))


def report_of(console: Console, text: str, version: str, position: str) -> Mapping[str, Any]:
    """The report that the page showed."""
    try:
        shown: Mapping[str, Any] = console.sessions.signer("gate").loads(text, max_age=SEEN_SECONDS)
    except BadSignature:
        raise InputError("the gate was asked more than an hour ago, or not at all; ask it again") from None
    if (shown["version"], shown["position"]) != (version, position):
        raise InputError("the gate was asked about another release or state; ask it again")
    report: Mapping[str, Any] = shown["report"]
    return report
