"""The ledger of releases: the type of its acts, and what they say. Acts come oldest first."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NotRequired

from typing_extensions import TypedDict  # pydantic asks for this one on Python 3.11


class State(TypedDict):
    """Which releases answer, by version."""

    champion: str | None
    previous: str | None  # the one that a rollback brings back
    challenger: str | None  # answers `share` of the customers
    share: float  # in [0, 1]
    shadow: str | None  # scores what the others answer


EMPTY = State(champion=None, previous=None, challenger=None, share=0.0, shadow=None)


class Lineage(TypedDict, total=False):
    """Where a release comes from; all but the commit only for one trained on production's customers."""

    commit: str | None
    branch: str
    reasons: list[str]
    customers: int  # of production, with an outcome
    table: str  # the first customers' table: "joined", or "left out" after concept drift
    since: str | None  # ISO 8601: customers answered from then on count
    until: str  # the last customers of production were answered before then


class Act(TypedDict):
    """One file of the ledger."""

    at: str  # ISO 8601
    who: str
    act: str
    version: str | None
    reason: str
    state: State  # that the act left
    lineage: NotRequired[Lineage]  # of an add
    gate: NotRequired[Mapping[str, Any]]  # of what was promoted, split or refused by it


def time_of(act: Act) -> datetime:
    return datetime.fromisoformat(act["at"])


def current_state(acts: Sequence[Act]) -> State:
    """The state that the last act left."""
    return acts[-1]["state"] if acts else EMPTY


def since(acts: Sequence[Act], *names: str) -> datetime:
    """When the named parts of the state took the values that they have now, all of them; at least one act."""
    return time_of(act_of(acts, *names))


def act_of(acts: Sequence[Act], *names: str) -> Act:
    """The act by which they did."""

    def values(act: Act) -> list[Any]:
        state: Mapping[str, Any] = act["state"]
        return [state.get(name) for name in names]

    first = len(acts) - 1
    while first and values(acts[first - 1]) == values(acts[-1]):
        first -= 1
    return acts[first]


def done(act: Act) -> str:
    """The act as a sentence without its reason: anna promoted 2f5480987cc2."""
    state, version = act["state"], act["version"]
    match act["act"]:
        case "split" if state["challenger"]:
            what = f"let {version} answer {100 * state['share']:.3g} % of the customers"
        case "split":
            what = f"ended the split with {version}"
        case "abort":
            what = f"ended the split with {version}, which did harm"
        case "shadow" if state["shadow"]:
            what = f"let {version} score in the shadow"
        case "shadow":
            what = f"ended the shadow of {version}"
        case other:
            verbs = {"add": "added", "promote": "promoted", "rollback": "rolled back to", "refuse": "refused"}
            what = f"{verbs.get(other, other)} {version}"
    return f"{act['who']} {what}"


def additions(acts: Iterable[Act]) -> list[Act]:
    """The acts that brought a release."""
    return [act for act in acts if act["act"] == "add"]


def addition(acts: Sequence[Act], version: str) -> Act | None:
    """The act that brought this release; an addition that was cut short is in no ledger."""
    return next((act for act in additions(acts) if act["version"] == version), None)


def champions(acts: Iterable[Act]) -> list[str]:
    """The champions that rollbacks go back along, the current one last."""
    line: list[str] = []
    for act in acts:
        if act["act"] == "promote":
            line.append(str(act["version"]))
        elif act["act"] == "rollback":
            line.pop()
    return line


def newest_candidate(acts: Sequence[Act]) -> str | None:
    """The release added last, unless it has been champion."""
    newest = next((act["version"] for act in reversed(additions(acts))), None)
    return None if newest in {act["state"]["champion"] for act in acts} else newest


def retrainings(acts: Iterable[Act]) -> list[Act]:
    """The acts that brought a release trained on production's customers."""
    return [act for act in acts if "until" in act.get("lineage", {})]


def last_retraining(acts: Iterable[Act]) -> datetime | None:
    return max(map(time_of, retrainings(acts)), default=None)


def learned_until(acts: Iterable[Act], version: str) -> datetime | None:
    """The release was trained on production's customers answered before then, or on none."""
    until = [act["lineage"]["until"] for act in retrainings(acts) if act["version"] == version]
    return max(map(datetime.fromisoformat, until), default=None)


def is_act(content: object) -> bool:
    """Whether the content of a file is an act."""
    return (
        isinstance(content, dict)
        and content.keys() >= Act.__required_keys__
        and isinstance(content["state"], dict)
        and content["state"].keys() == EMPTY.keys()
    )


def added_at(acts_newest_first: Iterable[Act], versions: Iterable[str]) -> dict[str, datetime]:
    """When these releases came, as far as the acts say; only as many acts are read as it takes."""
    sought, times = set(versions), dict[str, datetime]()
    for act in acts_newest_first:
        if not sought:
            break
        if act["act"] == "add" and act["version"] in sought:
            sought.remove(act["version"])
            times[str(act["version"])] = time_of(act)
    return times
