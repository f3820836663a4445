"""The store of deployed releases: bundles in folders named by version, a ledger of every act, and the state it left.

An act is one file of the ledger, numbered, written whole and never again: a crash leaves the state before or after it.
The state file repeats the last act's state for a quick look; where they differ, the ledger counts.
"""

import getpass
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from churn.release import CARD, Release, ReleaseError, open_release
from churn.schema import Schema
from churn.scorer import Scorer
from churn.script import InputError
from serve.releases.ledger import EMPTY, Act, Lineage, State, added_at, addition, champions, done, is_act
from serve.releases.storage import files_at

log = logging.getLogger("serve.store")

STATE = "state.json"
LEDGER = "ledger"  # a folder: 00000001.json is the first act
ACT = re.compile(r"[0-9]{8}\.json")
MAX_TRIES = 20  # to be the next in the ledger, where there is no lock
MAX_NAMED = 3  # acts of others, or columns, in a refusal


Change = Callable[[State], State | None]  # the state after an act; None: it is so already


class UnknownRelease(InputError):
    """The store holds no release of that version."""


class Moved(InputError):
    """Another act came since the page that this one was decided on."""


class Store:
    """The releases at `where`, a folder or a URL of object storage. Simultaneous acts happen one after the other."""

    def __init__(self, where: str | Path):
        self.where, self.files = where, files_at(where)
        self._acts: dict[str, Act] = {}  # read once: no act is ever written again
        self._cards: dict[str, dict[str, Any]] = {}  # nor any card
        self._seen: str | None = None  # position of the ledger that an act must find; None: any

    @property
    def versions(self) -> list[str]:
        return self.files.bundles()

    def bundle(self, version: str) -> Path:
        """The folder of a release, on this machine."""
        if version not in (known := self.versions):
            raise UnknownRelease(f"{self.where} has no release {version!r}; it has {known}")
        return self.files.bundle(version)

    def card(self, version: str) -> dict[str, Any]:
        """The card of one of `versions`, read without the rest of its bundle, which opening verifies."""
        if version not in self._cards:
            try:
                self._cards[version] = dict(json.loads(self.files.read(f"{version}/{CARD}")))
            except (OSError, ValueError, TypeError) as error:
                raise ReleaseError(f"release {version}: {CARD} can't be read: {error}") from None
        return self._cards[version]

    def champion(self) -> Path:
        """The folder of the release that answers."""
        version = self.state()["champion"]
        if version is None:
            raise InputError(f"{self.where} has no champion; make one with: make serve")
        return self.bundle(version)

    def position(self) -> str:
        """The last act's name, which changes with every act."""
        return next(reversed(self._names()), "")

    def at(self, position: str) -> "Store":
        """This store for one act decided on at that position of the ledger: it is refused where another came first."""
        store = copy(self)
        store._seen = position
        return store

    def history(self) -> list[Act]:
        """Every act, the oldest first: at, who, act, version, reason, the state it left; a promotion's gate too."""
        names = self._names()
        expected = map(act_name, range(1, len(names) + 1))
        if lacking := next((wanted for wanted, name in zip(expected, names, strict=True) if name != wanted), None):
            raise InputError(f"{self.where}/{LEDGER} lacks {lacking}; restore the file")
        return [self._act(name) for name in names]

    def added(self, versions: Iterable[str]) -> dict[str, datetime]:
        """When these releases came, as far as the ledger says; read from its end, where those are that answer."""
        return added_at(map(self._act, reversed(self._names())), versions)

    def state(self) -> State:
        """The state that the last act left; a state file that differs is reported and corrected."""
        if self._is_written(state := self._last()):
            return state
        # wait for an act whose state file is not yet written
        with suppress(InputError, OSError), self.files.alone():
            if not self._is_written(state := self._last()):
                log.warning("%s/%s is not what the last act left; the ledger's %s counts", self.where, STATE, state)
                self._write(state)
        return state

    def add(self, bundle: Path, reason: str, who: str = "", lineage: Lineage | None = None) -> str:
        """Copy a bundle that verifies into the store; its version. A copy that is there and whole stays as it is.

        Its lineage is kept in the ledger: the commit that made it, and whatever else tells where it comes from.
        """
        release = Scorer.open(bundle).release
        version = release.version

        def check(copy: Path) -> None:
            if Scorer.open(copy).release.version != version:
                raise ReleaseError(f"release {bundle} changed while it was copied; add it again")

        def change(state: State) -> State | None:
            if version not in self.versions or not self._is_whole(version):
                self._fits(release, state)
                self.files.put(bundle, version, check)
            return None if addition(self.history(), version) else state

        self._append_act("add", version, reason, who, change, **_present(lineage=lineage))
        return version

    def promote(self, version: str, reason: str, who: str = "", gate: Mapping[str, Any] | None = None) -> State:
        """Make that release champion. `gate` is the report it passed, against the champion that must still be there."""
        Scorer.open(self.bundle(version))

        def change(state: State) -> State | None:
            if state["champion"] == version:
                return None
            if gate and gate["champion"] != state["champion"]:
                raise InputError(f"{state['champion']} became champion meanwhile; try again")
            return _with_champion(version, state["champion"], state)

        return self._append_act("promote", version, reason, who, change, **_present(gate=gate))

    def rollback(self, reason: str, who: str = "") -> State:
        """Make the champion before this one champion again; a second rollback goes one further back."""

        def change(state: State) -> State:
            *before, version, _ = [None, None, *champions(self.history())][-3:]
            if version is None:
                raise InputError(f"{self.where} has no earlier champion; promote one of {self.versions}")
            Scorer.open(self.bundle(version))
            return _with_champion(version, before[0], state)

        return self._append_act("rollback", None, reason, who, change)

    def refuse(self, version: str, reason: str, gate: Mapping[str, Any], who: str = "") -> State:
        """Record that the gate refused a release; the state stays."""
        return self._append_act("refuse", version, reason, who, lambda state: state, gate=gate)

    def split(
        self, version: str | None, share: float, reason: str, who: str = "", gate: Mapping[str, Any] | None = None
    ) -> State:
        """Let that release answer `share` of the customers, always the same ones; None or 0 ends the split."""
        if not 0 <= share <= 1:
            raise InputError(f"the share is {share:g}; expected 0 to 1")
        if version is None or share == 0:
            return self._append_act("split", None, reason, who, _without_split)

        def change(state: State) -> State | None:
            self._beside_champion(version, state)
            shadow = None if state["shadow"] == version else state["shadow"]
            return _if_changed(state, {**state, "challenger": version, "share": share, "shadow": shadow})

        return self._append_act("split", version, reason, who, change, **_present(gate=gate))

    def shadow(self, version: str | None, reason: str, who: str = "", gate: Mapping[str, Any] | None = None) -> State:
        """Let that release score the customers that others answer; None ends it."""

        def change(state: State) -> State | None:
            if version:
                self._beside_champion(version, state)
                if state["challenger"] == version:
                    raise InputError(f"{version} is the challenger; end that first: split off")
            return _if_changed(state, {**state, "shadow": version})

        return self._append_act("shadow", version, reason, who, change, **_present(gate=gate))

    def abort(self, reason: str, who: str = "", challenger: str | None = None) -> State:
        """End a split that does harm: of that challenger, or of any."""

        def change(state: State) -> State | None:
            return None if challenger not in (None, state["challenger"]) else _without_split(state)

        return self._append_act("abort", None, reason, who, change)

    def _beside_champion(self, version: str, state: State) -> None:
        if state["champion"] in (None, version):
            raise InputError(f"the champion is {state['champion']}; it takes another release to go with it")
        Scorer.open(self.bundle(version))

    def _fits(self, release: Release, state: State) -> None:
        """Refuse a release whose requests differ from those of the releases in the store."""
        others = [version for version in self.versions if version != release.version]
        for first in sorted(others, key=lambda version: version != state["champion"]):
            with suppress(InputError):  # a damaged one says nothing, and may be why another is added
                here, there = request_types(open_release(self.bundle(first)).schema), request_types(release.schema)
                break
        else:
            return
        if other := sorted(name for name in here | there if here.get(name) != there.get(name)):
            absent = "not there"
            named = [f"{name}: {here.get(name, absent)}, now {there.get(name, absent)}" for name in other[:MAX_NAMED]]
            said = "; ".join(named)
            said += f"; {len(other) - MAX_NAMED} more" if len(other) > MAX_NAMED else ""
            raise ReleaseError(
                f"release {release.version} takes other customers than {first} ({said}); "
                "keep it in a store of its own: CHURN_RELEASES=releases/NAME"
            )

    def _is_whole(self, version: str) -> bool:
        try:
            Scorer.open(self.files.bundle(version))
        except InputError as error:
            log.warning("%s; it is replaced", error)
            return False
        return True

    def _append_act(self, act: str, version: str | None, reason: str, who: str, change: Change, **more: Any) -> State:
        for _ in range(MAX_TRIES):
            with self.files.alone():
                names = self._names()
                self._refuse_stale(names)
                before = self._act(names[-1])["state"] if names else EMPTY
                if (after := change(before)) is None:
                    return before
                ended = before["shadow" if act == "shadow" else "challenger"]
                with suppress(FileExistsError):
                    named = version or (after["champion"] if act == "rollback" else ended)
                    # the number after the last one read: without a lock it may be taken by now
                    self._write_act(int(names[-1][:8]) + 1 if names else 1, act, named, reason, who, after, **more)
                    return after
        raise InputError(f"{self.where}: others act all the time; try again")

    def _refuse_stale(self, names: Sequence[str]) -> None:
        """Refuse an act that was decided on before the last ones came."""
        if self._seen is not None and (since := [name for name in names if name > self._seen]):
            acts = [self._act(name) for name in since[:MAX_NAMED]]
            more = f" and {len(since) - len(acts)} more acts" if len(since) > len(acts) else ""
            raise Moved(f"{', '.join(map(done, acts))}{more} since you opened this page; look again")

    def _write_act(
        self, number: int, act: str, version: str | None, reason: str, who: str, state: State, **more: Any
    ) -> None:
        """Write the act, then the state."""
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        entry = {
            "at": at,
            "who": printable(who or user()),
            "act": act,
            "version": version,
            "reason": printable(reason),
            "state": state,
            **more,
        }
        self.files.create(f"{LEDGER}/{act_name(number)}", json.dumps(entry, indent=1).encode() + b"\n")
        try:
            self._write(state)
        except (InputError, OSError) as error:  # the act is done: reporting a failure would have it done twice
            log.warning("%s/%s can't be written, the ledger counts: %s", self.where, STATE, error)

    def _names(self) -> list[str]:
        """Acts only: an editor's copy beside one is not an act."""
        return [name for name in self.files.names(LEDGER) if ACT.fullmatch(name)]

    def _act(self, name: str) -> Act:
        if name not in self._acts:
            try:
                act = json.loads(self.files.read(f"{LEDGER}/{name}"))
            except ValueError as error:
                raise InputError(f"{self.where}/{LEDGER}/{name} is not JSON: {error}; restore the file") from None
            if not is_act(act):
                raise InputError(f"{self.where}/{LEDGER}/{name} is no act; restore the file")
            self._acts[name] = act
        return self._acts[name]

    def _last(self) -> State:
        name = self.position()
        return self._act(name)["state"] if name else EMPTY

    def _is_written(self, state: State) -> bool:
        try:
            return bool(json.loads(self.files.read(STATE)) == state)
        except FileNotFoundError:
            return state == EMPTY
        except (ValueError, OSError, InputError):
            return False

    def _write(self, state: State) -> None:
        self.files.replace(STATE, json.dumps(state, indent=2).encode() + b"\n")


def act_name(number: int) -> str:
    return f"{number:08d}.json"


def _present(**parts: Any) -> dict[str, Any]:
    return {name: value for name, value in parts.items() if value}


def _with_champion(version: str, previous: str | None, state: State) -> State:
    """A new champion ends the split; the shadow stays, unless it is the new champion."""
    shadow = None if state["shadow"] == version else state["shadow"]
    return State(champion=version, previous=previous, challenger=None, share=0.0, shadow=shadow)


def _without_split(state: State) -> State | None:
    return _if_changed(state, {**state, "challenger": None, "share": 0.0})


def _if_changed(before: State, after: State) -> State | None:
    return None if after == before else after


def request_types(schema: Schema) -> dict[str, str]:
    """The type of each field of a request."""
    return {column.name: f"{column.type}{', may be missing' if column.nullable else ''}" for column in schema.columns}


def printable(text: str) -> str:
    """The text without halves of characters, as an argument of another encoding has them: no answer can hold one."""
    return text.encode("utf-8", "replace").decode()


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user has no name
        return f"uid {os.getuid()}"
