"""Plans of campaigns: what each budget would bring, a plan made from a page, and its list to download.

Scored files are folders in CHURN_SCORES; a plan is a folder in its folder `plans`, named like its campaign. They are
read and written by python -m campaigns curve and plan.
"""

import json
from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field, TypeAdapter, ValidationError
from starlette.responses import FileResponse, RedirectResponse, Response

from churn.scored import MANIFEST
from churn.script import InputError
from serve.http.middleware import Refused
from serve.web.campaigns.view import CampaignName, Name
from serve.web.charts import Chart, Series, by_number
from serve.web.console import Actor, Console, Form, Reader, TheConsole, is_there
from serve.web.pages import PageRoute, root_of
from serve.web.processes import Failed

LISTED = 30  # folders, the newest
PLAN = "plan.json"  # is written last
PATIENCE_SECONDS = 5.0  # for a failure: the page of the plan may be another worker's
PLANS = "plans"  # of the folders in CHURN_SCORES the one that holds no scores
FOLDER = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
UNSET = "CHURN_SCORES is not set: it names the folder in which scored files lie, each run in a folder of its own."
MISSING = "This image has no campaigns/ or lacks its packages; where they are, python -m campaigns plan makes plans."

Folder = Annotated[str, Field(pattern=FOLDER)]
Share = Annotated[float, Field(ge=0, lt=1)]
State = Literal["known", "running", "failed", "none"]

pages = APIRouter(prefix="/console", route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True)
class Kept:
    """A folder of scored files, or of a plan."""

    name: str
    at: datetime  # when it was written


@dataclass(frozen=True)
class Point:
    """What the plan of a budget expects."""

    budget: float
    offered: int
    control: int  # customers who are held back
    churn_avoided: float
    profit: float


@dataclass(frozen=True)
class Curve:
    campaign: str
    model_version: str
    scored: int
    control: float  # share of the selected customers that is held back
    points: list[Point]

    @property
    def chart(self) -> Chart:
        line = Series("expected profit", [one.budget for one in self.points], [one.profit for one in self.points])
        chart = by_number("Expected profit by budget", "budget", [line], ",.0f", ",.0f")
        rows = [
            [
                f"{one.budget:,.2f}",
                f"{one.offered:,}",
                f"{one.control:,}",
                f"{one.churn_avoided:,.1f}",
                f"{one.profit:,.2f}",
            ]
            for one in self.points
        ]
        return replace(chart, head=["budget", "offers", "held back", "customers kept", "expected profit"], rows=rows)

    @property
    def values(self) -> list[list[Any]]:
        """For the slider."""
        return [[one.budget, one.offered, one.control, one.churn_avoided, one.profit] for one in self.points]


@dataclass(frozen=True)
class Plans:
    """Scored files to plan with, the plans that were made, and what budgets would bring of what was asked for."""

    problem: str  # why nothing can be planned here, "" where it can
    folders: list[Kept]
    made: list[Kept]
    scores: str | None
    campaign: str | None
    control: float | None
    state: State
    failure: str
    curve: Curve | None


@dataclass(frozen=True)
class Plan:
    """A plan that was made, or is being made; its content is that of plan.json.

    Where another budget was asked for since then, `failure` says why the plan stays.
    """

    name: str
    state: State
    failure: str
    content: dict[str, Any] | None


def plans(
    console: TheConsole,
    scores: Annotated[Folder | None, Query(description="a folder of scored files")] = None,
    campaign: Annotated[CampaignName | None, Query(description="who is held back hangs on its name")] = None,
    control: Annotated[Share | None, Query(description="held back, else campaigns.control")] = None,
) -> Plans:
    """What can be planned with; with `scores` and `campaign` what each budget would bring."""
    if console.scores is None or not (is_there("campaigns") and is_there("pyarrow")):
        return Plans(MISSING if console.scores else UNSET, [], [], None, None, None, "none", "", None)
    state, failure, curve = curve_of(console, scores, campaign, control)
    folders, made = kept(console.scores, MANIFEST), kept(console.scores / PLANS, PLAN)
    return Plans("", list(folders), list(made), scores, campaign, control, state, failure, curve)


def curve_of(
    console: Console, scores: str | None, campaign: str | None, control: float | None
) -> tuple[State, str, Curve | None]:
    if not (scores and campaign):
        return "none", "", None
    command = ["campaigns", "curve", str(scores_in(console, scores)), *options(campaign, control)]
    try:
        curve = console.processes.json_of(*command)
    except Failed as error:
        return "failed", by_name(console, str(error)), None
    if curve is None:
        return "running", "", None
    return "known", "", TypeAdapter(Curve).validate_python(curve)


def one_plan(console: TheConsole, name: Name) -> Plan:
    """What a plan expects, and why customers are not in it."""
    folder = plan_in(console, name)
    state, failure = console.processes.state_of(str(folder))
    content = json.loads((folder / PLAN).read_text(encoding="utf-8")) if (folder / PLAN).is_file() else None
    if content is None and state == "none":
        raise Refused(404, "plan", "there is no plan of that name, or it is still being made; look again in a minute")
    return Plan(name, "known" if content and state != "running" else state, by_name(console, failure), content)


@dataclass(frozen=True)
class Wanted:
    """What the form asks for."""

    scores: Folder
    campaign: CampaignName
    budget: Annotated[Decimal, Field(ge=0, le=10**12, allow_inf_nan=False)]
    control: Share | None = None


@pages.post("/plans")
def make_plan(request: Request, console: TheConsole, fields: Form, visitor: Actor) -> Response:
    """Have the command make it; the page of the plan waits for what takes longer."""
    try:
        wanted = TypeAdapter(Wanted).validate_python({key: text for key, text in fields.items() if text})
    except ValidationError as error:
        raise Refused(422, "form", "; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in error.errors())) from None
    scores, out = scores_in(console, wanted.scores), plan_in(console, wanted.campaign)
    limit = ["--budget", f"{wanted.budget:f}"]
    command = ["campaigns", "plan", str(scores), str(out), *options(wanted.campaign, wanted.control), *limit]
    made = console.processes.start(*command)
    wait([made], timeout=PATIENCE_SECONDS)
    if made.done() and (failure := made.exception()):
        raise InputError(by_name(console, str(failure)))
    return RedirectResponse(f"{root_of(request)}/console/plans/{wanted.campaign}", 303)


@pages.get("/plans/{name}/list.csv")
def download(console: TheConsole, visitor: Reader, name: Name) -> Response:
    """The list for a spreadsheet."""
    path = plan_in(console, name) / "list.csv"
    if not path.is_file():
        raise Refused(404, "plan", "there is no plan of that name")
    return FileResponse(path, media_type="text/csv", filename=f"{name}.csv", headers={"cache-control": "no-store"})


def by_name(console: Console, complaint: str) -> str:
    """What a command says, with folders by their names and not where they lie."""
    return complaint.replace(f"{inside(console)}/", "")


def options(campaign: str, control: float | None) -> list[str]:
    return ["--campaign", campaign, *([] if control is None else ["--control", f"{control:.12g}"])]


def scores_in(console: Console, name: str) -> Path:
    """The folder of scored files of that name; none that a link leads to elsewhere."""
    path = inside(console, name)
    if name == PLANS or not (path / MANIFEST).is_file():
        raise Refused(404, "scores", "there are no scored files of that name")
    return path


def plan_in(console: Console, name: str) -> Path:
    return inside(console, PLANS, name)


def inside(console: Console, *names: str) -> Path:
    """A path below CHURN_SCORES."""
    if console.scores is None:
        raise Refused(404, "scores", UNSET)
    root = console.scores.resolve()
    path = root.joinpath(*names)
    if path.resolve() != path:
        raise Refused(404, "scores", "there is no folder of that name")
    return path


def kept(folder: Path, mark: str) -> Iterator[Kept]:
    """Folders that hold this file, which is written last; the newest first."""
    try:
        marks = [path / mark for path in folder.iterdir() if not path.is_symlink()]
    except FileNotFoundError:
        return
    times = {path: path.stat().st_mtime for path in marks if path.is_file()}
    for path in sorted(times, key=lambda path: -times[path])[:LISTED]:
        yield Kept(path.parent.name, datetime.fromtimestamp(times[path], UTC))
