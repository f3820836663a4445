"""Who answers: the models that the store's state names, loaded and verified, and exchanged when it names others."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from churn.release import ReleaseError
from churn.scorer import Scorer
from churn.script import InputError
from serve.predict.explain import Explainer
from serve.releases.ledger import State
from serve.releases.store import Store
from serve.telemetry.check_metrics import LoadedModel

log = logging.getLogger("serve.live")

POLL_SECONDS = 0.2  # seconds between looks at the store
RETRY_SECONDS = 5.0  # seconds between attempts to load a release that was refused

Arm = Literal["champion", "challenger", "shadow"]


class Model:
    """A release as it answers: its scorer, threshold and arm."""

    def __init__(self, scorer: Scorer, arm: Arm):
        self.scorer, self.release, self.version = scorer, scorer.release, scorer.release.version
        self.arm: Arm = arm
        self.threshold = float(self.release.card["threshold"]["value"])
        columns = self.release.schema.columns
        learned: Mapping[str, Sequence[str]] = self.release.card["inputs"]["categories"]
        self.levels = {column.name: frozenset(learned[column.name]) for column in columns if column.name in learned}
        self.nullable = [column.name for column in columns if column.nullable]
        self.explainer = Explainer(scorer)


@dataclass(frozen=True)
class LiveModels:
    """The models of one state; the previous champion is at hand, so that a rollback waits for no loading."""

    champion: Model
    challenger: Model | None = None
    share: float = 0.0
    shadow: Model | None = None
    previous: Model | None = None
    problem: str = ""  # why these are not the ones that the store names
    added: Mapping[str, float] = field(default_factory=dict)  # version -> seconds since 1970, as far as known

    @property
    def models(self) -> list[Model]:
        """Those that score."""
        return [model for model in (self.champion, self.challenger, self.shadow) if model]

    @property
    def loaded(self) -> list[LoadedModel]:
        """For the metrics."""
        return [
            LoadedModel(model.version, model.arm, list(model.levels), model.nullable, self.added.get(model.version))
            for model in self.models
        ]

    def model(self, customer_id: str | None) -> Model:
        """Who answers this customer: the same model always, as long as the challenger's share does not shrink below."""
        if self.challenger and customer_id is not None and bucket(self.challenger.version, customer_id) < self.share:
            return self.challenger
        return self.champion  # also of customers without an id, who could not be kept in one arm


def bucket(challenger: str, customer_id: str) -> float:
    """Where in [0, 1) a customer stands in the line from which a challenger takes its share; each has its own line."""
    digest = blake2b(f"{challenger}:{customer_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


class Reloader:
    """Keeps a live at what the store says; a release that can't be used is refused, and who answers stays."""

    def __init__(self, store: Store):
        self.store = store
        self._position, self._tried = store.position(), time.monotonic()
        self.live = self._first(store.state())

    def poll(self) -> LiveModels | None:
        """The new live if there is one; for a thread, since loading takes a while."""
        position = self.store.position()
        again = self.live.problem and time.monotonic() > self._tried + RETRY_SECONDS
        if position == self._position and not again:
            return None
        self.live = self._next(self.store.state())
        self._position, self._tried = position, time.monotonic()  # not before: what could not be read is read again
        return self.live

    def _first(self, state: State) -> LiveModels:
        """At the start the champion before stands in for one that can't be used."""
        if state["champion"] is None:
            self.store.champion()  # which says what to do
        problems = []
        for version in filter(None, (state["champion"], state["previous"])):
            try:
                model = opened(self.store.bundle(version), "champion")
                self.live = LiveModels(model, added=self._added([version]))
            except (InputError, OSError) as error:
                problems.append(str(error))
            else:
                return self._next(state)
        raise InputError("\n".join(problems))

    def _next(self, state: State) -> LiveModels:
        """The live of a state; who can't be loaded is left out, but for the champion, whose place is taken."""
        loaded: dict[str, Model] = {}
        problems = []
        for role, arm in ROLES.items():
            if version := state[role]:
                try:
                    loaded[role] = self._load(version, arm)
                except (InputError, OSError) as error:
                    log.error("%s is not used as %s: %s", version, role, error)
                    if role != "previous":  # nobody waits for it: a rollback to it would be refused or load it
                        problems.append(f"{role} {version} can't be used")
        if "champion" not in loaded:
            return replace(self.live, problem=f"{'; '.join(problems)}; {self.live.champion.version} answers")
        share = state["share"] if "challenger" in loaded else 0.0
        added = self._added([model.version for model in loaded.values()])
        return LiveModels(**loaded, share=share, problem="; ".join(problems), added=added)

    def _added(self, versions: Sequence[str]) -> dict[str, float]:
        try:
            return {version: at.timestamp() for version, at in self.store.added(versions).items()}
        except (InputError, OSError, ValueError) as error:  # to answer takes no ages
            log.warning("the ages of the models are not known: %s", error)
            return {}

    def _load(self, version: str, arm: Arm) -> Model:
        """The model as it is loaded already, or from the store, verified."""
        now = self.live
        known = [model for model in (*now.models, now.previous) if model and model.version == version]
        if same := next((model for model in known if model.arm == arm), None):
            return same
        return Model(known[0].scorer, arm) if known else opened(self.store.bundle(version), arm)


def opened(folder: Path, arm: Arm) -> Model:
    """The model of a bundle, else a ReleaseError: also where the card lacks what an answer needs."""
    scorer = Scorer.open(folder)
    try:
        return Model(scorer, arm)
    except Exception as error:
        raise ReleaseError(f"release {folder} can't answer: {type(error).__name__}: {error}") from error


ROLES: dict[Literal["champion", "challenger", "shadow", "previous"], Arm] = {
    "champion": "champion",
    "challenger": "challenger",
    "shadow": "shadow",
    "previous": "champion",
}
