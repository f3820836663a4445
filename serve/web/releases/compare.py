"""Two releases side by side: scores and what differs; the gate and the replay compare them on the same customers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from serve.http import admin
from serve.releases.ledger import current_state
from serve.web.console import Form, Reader, TheConsole
from serve.web.pages import PageRoute
from serve.web.releases.comparisons import compared
from serve.web.releases.view import VERSION, Listed, Score, card_of, flat, listed_releases, scores_of, unknown

REPLAYED_DAYS = 30
PARTS = ("model", "parameters", "threshold", "calibration", "features", "data", "samples", "libraries")  # of a card

pages = APIRouter(prefix="/console", route_class=PageRoute, include_in_schema=False)

Chosen = Annotated[str | None, Query(pattern=VERSION)]


@dataclass(frozen=True)
class Pair:
    """A score of both; None where a card has none."""

    name: str
    a: Score | None
    b: Score | None
    difference: float | None  # b minus a


@dataclass(frozen=True)
class Differing:
    name: str  # dotted, of the card
    a: str
    b: str


@dataclass(frozen=True)
class Comparison:
    choice: list[Listed]  # the releases of the store
    a: Listed | None
    b: Listed | None
    same_table: bool  # whether both were trained and scored on the same table
    scores: list[Pair]
    differing: list[Differing]


def compare(console: TheConsole, a: Chosen = None, b: Chosen = None) -> Comparison:
    """Release b beside release a; left out, a is the champion and b the release added last."""
    store = console.service.store
    acts = store.history()
    choice = listed_releases(store, acts)
    a = a or current_state(acts)["champion"]
    b = b or next((row.version for row in choice if row.version != a), None)
    rows = {row.version: row for row in choice}
    if lacking := next((version for version in (a, b) if version and version not in rows), None):
        raise unknown(lacking)
    if a is None or b is None:
        return Comparison(choice, None, None, False, [], [])
    first, second = (card_of(store, version)[0] for version in (a, b))
    ours, theirs = ({score.name: score for score in scores_of(card)} for card in (first, second))
    tables = [card.get("data", {}).get("sha256") for card in (first, second)]
    return Comparison(
        choice=choice,
        a=rows[a],
        b=rows[b],
        same_table=tables[0] == tables[1],
        scores=[pair(name, ours.get(name), theirs.get(name)) for name in dict.fromkeys([*ours, *theirs])],
        differing=differing(first, second),
    )


def pair(name: str, a: Score | None, b: Score | None) -> Pair:
    return Pair(name, a, b, b.value - a.value if a and b else None)


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Differing]:
    """What the cards say otherwise, by dotted names."""
    ours, theirs = (flat({part: card[part] for part in PARTS if part in card}) for card in (a, b))
    names = [name for name in dict.fromkeys([*ours, *theirs]) if ours.get(name) != theirs.get(name)]
    return [Differing(name, ours.get(name, ""), theirs.get(name, "")) for name in names]


@pages.post("/compare/{command}")
def run(
    request: Request, console: TheConsole, fields: Form, visitor: Reader, command: Literal["gate", "replay"]
) -> Response:
    """The page with what the command says of the two; a visitor needs a session, no right to act."""
    versions = {name: fields.get(name, "") for name in ("a", "b")}
    content = compare(console, **versions)
    days = ["--days", str(REPLAYED_DAYS)] if command == "replay" else ["--force"]
    arguments = [command, versions["b"], "--against", versions["a"], *days]

    def work() -> Mapping[str, Any]:
        service = console.service
        return {command: admin.reported(service.store, service.log_url, *arguments)}

    return compared(request, "compare.html", "compare_result.html", work, content=content, command=command)
