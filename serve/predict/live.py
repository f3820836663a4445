"""The live models: loaded and verified as the store's state names them, reloaded when it changes."""

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

POLL_SECONDS = 0.2  # between looks at the store
RETRY_SECONDS = 5.0  # between attempts to load a release that was refused

Arm = Literal["champion", "challenger", "shadow"]


class Model:
    """A loaded release: its scorer, threshold and arm."""

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
    """The models of one state; the previous champion stays loaded, so that a rollback is immediate."""

    champion: Model
    challenger: Model | None = None
    share: float = 0.0
    shadow: Model | None = None
    previous: Model | None = None
    problem: str = ""  # why they differ from those that the store names
    added: Mapping[str, float] = field(default_factory=dict)  # version -> seconds since 1970, if known

    @property
    def models(self) -> list[Model]:
        """The models that score customers."""
        return [model for model in (self.champion, self.challenger, self.shadow) if model]

    @property
    def loaded(self) -> list[LoadedModel]:
        """The models as the metrics need them."""
        return [
            LoadedModel(model.version, model.arm, list(model.levels), model.nullable, self.added.get(model.version))
            for model in self.models
        ]

    def model_for(self, customer_id: str | None) -> Model:
        """Return the model for a customer: always the same one, until the share of the challenger shrinks."""
        if self.challenger and customer_id is not None and bucket(self.challenger.version, customer_id) < self.share:
            return self.challenger
        return self.champion  # also for customers without an id, as no arm could keep them


def bucket(challenger: str, customer_id: str) -> float:
    """Return the customer's place in [0, 1), drawn anew for each challenger, which answers those below its share."""
    digest = blake2b(f"{challenger}:{customer_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


class Reloader:
    """Loads the models that the store names; in place of a champion that can't be loaded, the live one stays."""

    def __init__(self, store: Store):
        self.store = store
        self._position, self._tried = store.position(), time.monotonic()
        state = store.state()
        self.live = self._load_all(state, self._start(state))

    def poll(self) -> LiveModels | None:
        """Return new live models, None if nothing changed. Loading is slow: call it in a thread."""
        position = self.store.position()
        is_retry = self.live.problem and time.monotonic() > self._tried + RETRY_SECONDS
        if position == self._position and not is_retry:
            return None
        self.live = self._load_all(self.store.state(), self.live)
        self._position, self._tried = position, time.monotonic()  # after reading: an error above is retried
        return self.live

    def _start(self, state: State) -> LiveModels:
        """Load the champion; fall back to the previous one if it can't be loaded."""
        if state["champion"] is None:
            self.store.champion()  # raises the error that names the way out
        problems = []
        for version in filter(None, (state["champion"], state["previous"])):
            try:
                model = open_model(self.store.bundle(version), "champion")
                return LiveModels(model, added=self._added([version]))
            except (InputError, OSError) as error:
                problems.append(str(error))
        raise InputError("\n".join(problems))

    def _load_all(self, state: State, live: LiveModels) -> LiveModels:
        """Load the models of `state`; leave out what can't be loaded. Without its champion, `live` stays."""
        loaded: dict[str, Model] = {}
        problems = []
        for role, arm in ROLES.items():
            if version := state[role]:
                try:
                    loaded[role] = self._load(version, arm, live)
                except (InputError, OSError) as error:
                    log.error("%s is not used as %s: %s", version, role, error)
                    if role != "previous":  # no problem yet: a rollback loads it, or is refused
                        problems.append(f"{role} {version} can't be used")
        if "champion" not in loaded:
            return replace(live, problem=f"{'; '.join(problems)}; {live.champion.version} answers")
        share = state["share"] if "challenger" in loaded else 0.0
        added = self._added([model.version for model in loaded.values()])
        return LiveModels(**loaded, share=share, problem="; ".join(problems), added=added)

    def _added(self, versions: Sequence[str]) -> dict[str, float]:
        try:
            return {version: at.timestamp() for version, at in self.store.added(versions).items()}
        except (InputError, OSError, ValueError) as error:  # predictions do not depend on ages
            log.warning("the ages of the models are not known: %s", error)
            return {}

    def _load(self, version: str, arm: Arm, live: LiveModels) -> Model:
        """Return the model from `live` if it is there, else load it from the store and verify it."""
        loaded = [model for model in (*live.models, live.previous) if model and model.version == version]
        if same := next((model for model in loaded if model.arm == arm), None):
            return same
        return Model(loaded[0].scorer, arm) if loaded else open_model(self.store.bundle(version), arm)


def open_model(folder: Path, arm: Arm) -> Model:
    """Open a bundle as a model; ReleaseError also if its card lacks a field that predictions need."""
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
