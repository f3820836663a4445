"""What the releases' ledger says about now: since when things are as they are."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

Act = Mapping[str, Any]  # at, who, act, version, reason, and the state that it left


def now_in(acts: Sequence[Act]) -> Mapping[str, Any]:
    """The state that the last act left, empty without one."""
    state: Mapping[str, Any] = acts[-1]["state"] if acts else {}
    return state


def since(acts: Sequence[Act], *names: str) -> datetime:
    """When the named parts of the state took the values that they have now, all of them; acts oldest first, some."""
    return datetime.fromisoformat(acts[first_of(acts, *names)]["at"])


def first_of(acts: Sequence[Act], *names: str) -> int:
    """The place of the act by which they did."""

    def values(act: Act) -> list[Any]:
        return [act["state"].get(name) for name in names]

    first = len(acts) - 1
    while first and values(acts[first - 1]) == values(acts[-1]):
        first -= 1
    return first
