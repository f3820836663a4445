"""The store of releases as pages: what is there, who did what and why, and a page for each release."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Path as PathPart
from pydantic import Field
from starlette.responses import HTMLResponse, Response

from churn.release import PAGE, Release, open_release
from churn.script import InputError
from serve.http.middleware import Refused
from serve.http.model_card import policy
from serve.releases.commands import role
from serve.releases.ledger import Act, Lineage, State, addition, additions, current_state, done, time_of
from serve.releases.store import Store, UnknownRelease
from serve.web.console import Reader, TheConsole
from serve.web.pages import PageRoute

ACTS = 50  # on one page of the history
VERSION = r"^[0-9a-f]{12}$"
Version = Annotated[str, PathPart(pattern=VERSION)]

pages = APIRouter(prefix="/console", route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True)
class Score:
    """On held-out customers, with its interval of 95 %."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Listed:
    """A release of the store; what its card or the ledger does not say is None or ""."""

    version: str
    role: str
    model: str
    added: datetime | None
    by: str
    reason: str
    roc_auc: Score | None
    threshold: float | None
    problem: str


@dataclass(frozen=True)
class Done:
    """An act of the ledger."""

    number: int
    at: datetime
    version: str | None
    text: str  # who did what
    reason: str
    verdict: str  # of the gate: "passed", "refused", or "" where it was not asked
    gate: Mapping[str, Any] | None  # its report, on the page of the release


@dataclass(frozen=True)
class Releases:
    state: State
    releases: list[Listed]  # the newest first
    acts: list[Done]  # the newest first
    all_acts: int
    older: int | None  # the address's `before` for the acts before these


@dataclass(frozen=True)
class OneRelease:
    version: str
    role: str
    problem: str  # why the card can't be read
    card: dict[str, Any]
    scores: list[Score]
    parameters: dict[str, str]  # by dotted names
    has_page: bool  # whether the bundle holds the model card as a page
    lineage: Lineage
    acts: list[Done]
    possible: list[str]  # acts that make sense now
    champion: str | None


# pydantic reads an int with white space around
Number = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")]


def list_releases(console: TheConsole, before: Annotated[Number | None, Query()] = None) -> Releases:
    """Every release with its role, its score and the act that brought it; and the acts before a number, the newest
    first."""
    store = console.service.store
    acts = store.history()
    state, end = current_state(acts), min(int(before) - 1 if before else len(acts), len(acts))
    first = max(end - ACTS, 0)
    return Releases(
        state=state,
        releases=listed_releases(store, acts),
        acts=[done_act(number, acts[number - 1]) for number in range(end, first, -1)],
        all_acts=len(acts),
        older=first + 1 if first else None,
    )


def one_release(console: TheConsole, version: Version) -> OneRelease:
    """A release's card, its lineage, and every act on it with the gate's report."""
    store = console.service.store
    acts = store.history()
    if version not in store.versions:
        raise unknown(version)
    state, (card, problem) = current_state(acts), card_of(store, version)
    added = addition(acts, version)
    return OneRelease(
        version=version,
        role=role(version, state),
        problem=problem,
        card=card,
        scores=scores_of(card),
        parameters=flat(card.get("parameters", {})),
        has_page=PAGE in store.files.names(version),
        lineage=added.get("lineage", Lineage()) if added else Lineage(),
        acts=[done_act(n, acts[n - 1], True) for n in range(len(acts), 0, -1) if acts[n - 1]["version"] == version],
        possible=list(possible_acts(version, state)),
        champion=state["champion"],
    )


@pages.get("/releases/{version}/card")
def card_page(console: TheConsole, visitor: Reader, version: Version) -> Response:
    """The model card for people, as the bundle holds it."""
    text = opened(console.service.store, version).page
    if text is None:
        raise Refused(
            404, "no_page", f"release {version} has no model card as a page: it was made before there were any"
        )
    return HTMLResponse(text, headers={"content-security-policy": policy(text)})


def opened(store: Store, version: str) -> Release:
    try:
        return open_release(store.bundle(version))
    except UnknownRelease:
        raise unknown(version) from None


def unknown(version: str) -> Refused:
    return Refused(404, "unknown_release", f"the store has no release {version}")


def card_of(store: Store, version: str) -> tuple[dict[str, Any], str]:
    """The card, or none and why it can't be read."""
    try:
        return store.card(version), ""
    except InputError as error:
        return {}, str(error)


def listed_releases(store: Store, acts: Sequence[Act]) -> list[Listed]:
    """Every release of the store, the newest first."""
    state, added = current_state(acts), {act["version"]: act for act in reversed(additions(acts))}
    listed = [listed_release(store, version, state, added.get(version)) for version in store.versions]
    return sorted(listed, key=lambda row: row.added.timestamp() if row.added else 0.0, reverse=True)


def listed_release(store: Store, version: str, state: State, act: Act | None) -> Listed:
    card, problem = card_of(store, version)
    return Listed(
        version=version,
        role=role(version, state),
        model=card.get("model", ""),
        added=time_of(act) if act else None,
        by=act["who"] if act else "",
        reason=act["reason"] if act else "",
        roc_auc=next((score for score in scores_of(card) if score.name == "roc_auc"), None),
        threshold=card.get("threshold", {}).get("value"),
        problem=problem,
    )


def done_act(number: int, act: Act, with_report: bool = False) -> Done:
    gate = act.get("gate")
    verdict = "" if gate is None else "passed" if gate.get("passed") else "refused"
    return Done(number, time_of(act), act["version"], done(act), act["reason"], verdict, gate if with_report else None)


def scores_of(card: Mapping[str, Any]) -> list[Score]:
    test: Mapping[str, float] = card.get("test", {})
    return [
        Score(name, value, test[f"{name}_low"], test[f"{name}_high"])
        for name, value in test.items()
        if f"{name}_low" in test
    ]


def flat(parts: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values as texts under dotted names."""
    rows: dict[str, str] = {}
    for key, value in parts.items():
        rows |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": text_of(value)}
    return rows


def text_of(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(text_of, value))
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def possible_acts(version: str, state: State) -> Iterator[str]:
    """Names of acts on that release, for links."""
    if version == state["champion"]:
        if state["previous"]:
            yield "rollback"
        return
    yield from ("promote", "split")
    if version == state["challenger"]:
        yield "end-split"
    else:
        yield "end-shadow" if version == state["shadow"] else "shadow"
