"""The parts of a retraining that need no training: its commits, and the commands that it calls."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from churn.params import read_knobs
from churn.schema import WEIGHT, read_schema
from churn.script import InputError
from monitoring.retrain.policy import ACTOR, Policy
from monitoring.retrain.run import Reason, is_own, production, retrain, table_before
from monitoring.retrain.training_table import Production
from serve.releases.store import Store
from tests.conftest import ROOT
from tests.factories import START, act, customers, empty_log, fill, other_release, outcome, prediction, write_ledger

DAY = 24.0
SCHEMA = read_schema(ROOT / "schemas/telco.yaml")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Of a service whose knobs are the repository's."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHURN_RELEASES", str(tmp_path))
    monkeypatch.delenv("CHURN_LOG_URL", raising=False)
    return empty_log(tmp_path)


@pytest.mark.parametrize("is_selected", [False, True])
def test_customers_who_cannot_speak_for_the_others_are_not_learned_from(is_selected: bool, log: Engine) -> None:
    """Of 60 % the outcome is known: of any, or of those who were thought likely to leave."""
    p, churned = customers(1_000, seed=1)
    known = p > np.quantile(p, 0.4) if is_selected else np.random.default_rng(2).random(len(p)) < 0.6
    features = {
        column.name: (column.levels or [0 if column.type == "number" else False])[0] for column in SCHEMA.columns
    }
    fill(
        log,
        [prediction(DAY, f"c{i}", "champion", p[i], features=features) for i in range(len(p))],
        [outcome(2 * DAY, bool(churned[i]), customer=f"c{i}") for i in np.flatnonzero(known)],
    )
    knobs = replace(read_knobs("monitoring.retrain", Policy), min_labels=500)

    def read() -> Production:
        return production(Reason([], None, None), SCHEMA, START + timedelta(days=50), knobs)

    if is_selected:
        with pytest.raises(InputError, match=r"standard deviations off: they can't speak for the others"):
            read()
    else:
        assert len(read().table) == known.sum()


def test_the_table_before_keeps_its_weights_and_loses_its_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("{data: {path: table.csv, weight: stands for}, preprocess: {drop_duplicates: true}}")
    Path("table.csv").write_text("customerID,stands for\nA,1\nB,10\nA,1\n")
    assert table_before(SCHEMA)[WEIGHT].tolist() == ["1", "10"]
    Path("params.yaml").write_text("{data: {path: table.csv}, preprocess: {drop_duplicates: false}}")
    assert WEIGHT not in table_before(SCHEMA)
    assert len(table_before(SCHEMA)) == 3


def test_a_release_whose_retraining_was_ended_behind_its_adding_takes_its_part_in_the_next(
    released: Path, elsewhere: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would lie there, and for the time of the cooldown nothing would be trained."""
    folder = elsewhere({"gate.margins.profit": 1000})
    for name in ("CHURN_LOG_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CHURN_RELEASES", str(folder / "releases"))
    store = Store(folder / "releases")
    champion = store.add(released, "first")
    store.promote(champion, "first")
    version = store.add(other_release(released, folder / "other", 0.3), "trained again: asked for", ACTOR)
    for _ in range(2):  # once is enough
        with pytest.raises(InputError, match="there is no log"):  # the policy's turn
            retrain(True, datetime.now(UTC), 0)
    assert [(act["act"], act["version"]) for act in store.history()[2:]] == [("add", version), ("shadow", version)]
    assert store.history()[-1]["reason"] == "trained again: asked for; it passes the gate"


@pytest.mark.parametrize("is_changed", [False, True])
def test_a_challenger_that_a_person_took_up_stays(is_changed: bool, tmp_path: Path) -> None:
    acts = [act("promote", 0), act("add", 1), act("split", 2, challenger="new", share=0.1), act("add", 3)]
    acts[1]["who"] = acts[2]["who"] = acts[3]["who"] = ACTOR
    for entry in acts[3:]:
        entry["state"] = acts[2]["state"]
    if is_changed:
        acts.append(act("split", 4, challenger="new", share=0.5))
    write_ledger(tmp_path, acts)
    assert is_own(Store(tmp_path), "challenger") is not is_changed
